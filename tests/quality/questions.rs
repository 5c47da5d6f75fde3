//! Quality: the shipped model against the exact entropy of its source, measures on models whose answers are known, and
//! the command from its arguments to the files that it leaves.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use sizewell::engine::EngineError;
use sizewell::engine::backend::ops::Kernels;
use sizewell::engine::language::{LanguageModel, SequencePosition, TakeLogits};
use sizewell::engine::session::candle::CandleEngine;
use sizewell::engine::weights as source;
use sizewell::evaluation::data::DataSet;
use sizewell::evaluation::inputs::TokenFrequencies;
use sizewell::evaluation::tasks;
use sizewell::evaluation::text::{self, ReferenceLogits};
use sizewell::evaluation::windows::{Windowing, bos_of};
use sizewell::record::Evaluation;
use sizewell::record::Run;
use sizewell::workload::{Pruning, Quant, chronicle};
use std::path::Path;
use std::process::{Command, Output};

fn reference() -> source::OpenedModel {
    source::open("reference", 1, false).unwrap()
}

fn set(name: &str, text: String) -> DataSet {
    DataSet::embedded(name, text.into_bytes().leak()).unwrap()
}

fn evaluate(model: &mut dyn LanguageModel, set: &DataSet, plan: Windowing, against: ReferenceLogits<'_>) -> Evaluation {
    let tokenizer = reference().tokenizer.unwrap();
    let inputs = TokenFrequencies::of(vec![0; model.vocab_size()]);
    text::evaluate(model, &tokenizer, set, plan, &inputs, against, &mut |_| true).unwrap()
}

fn figure(evaluation: &Evaluation, metric: &str) -> f64 {
    let series = evaluation.series.iter().find(|series| series.metric == metric).unwrap();
    series.summary.of(sizewell::statistics::paired::ratio(&series.parts))
}

/// A model that holds every token equally probable.
struct Uniform(usize);

impl LanguageModel for Uniform {
    fn vocab_size(&self) -> usize {
        self.0
    }

    fn max_context(&self) -> usize {
        256
    }

    fn logits(&mut self, _: &[Vec<u32>], places: &[SequencePosition], take: TakeLogits<'_>) -> Result<(), EngineError> {
        take(0, &vec![0.5; places.len() * self.0]);
        Ok(())
    }

    fn embed(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        Ok(sequences.iter().map(|sequence| vec![sequence.len() as f32, 1.0]).collect())
    }

    fn generate(&mut self, prompts: &[Vec<u32>], tokens: usize) -> Result<Vec<Vec<u32>>, EngineError> {
        Ok(prompts.iter().map(|_| vec![0; tokens]).collect())
    }
}

#[test]
fn the_reference_model_is_within_three_percent_of_its_source_and_loses_by_fewer_bits() {
    let model = reference();
    let bos = bos_of(model.tokenizer.as_ref().unwrap());
    assert_eq!(bos, Some(0));
    let tokenizer = model.tokenizer.clone().unwrap();
    let length = |piece: &str| sizewell::evaluation::windows::encode(&tokenizer, piece).unwrap().len() as f64;
    let exact = chronicle::entropy(&mut |piece| length(piece)).rate();
    let text = chronicle::text(150_000, &mut Xoshiro256PlusPlus::seed_from_u64(77));
    let set = set("fresh.txt", text);
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("fresh.topk");
    let plan = Windowing { context: 512, stride: None, bos };
    let mut engine = CandleEngine::new(model, Kernels::Own);
    let mut f16 = engine.language_model(Quant::F16, None, &[]).unwrap();
    let whole = evaluate(&mut f16, &set, plan, ReferenceLogits::Write(&kept));
    let above = figure(&whole, "perplexity").ln() / exact - 1.0;
    // The text itself is above or below its expectation by about one percent.
    assert!((-0.01..0.03).contains(&above), "{:.2} % above the source", above * 100.0);

    let mut divergences = Vec::new();
    for quant in [Quant::Int8, Quant::Int4, Quant::Q2K] {
        let mut fewer = engine.language_model(quant, None, &[]).unwrap();
        divergences.push(figure(&evaluate(&mut fewer, &set, plan, ReferenceLogits::Read(&kept)), "kl_divergence_mean"));
    }
    assert!(divergences.is_sorted() && divergences[0] > 0.0 && divergences[2] > 0.005, "{divergences:?}");
    let again = evaluate(&mut f16, &set, plan, ReferenceLogits::Read(&kept));
    assert!(figure(&again, "kl_divergence_mean") < 1e-6 && figure(&again, "top1_agreement") == 1.0);

    // Of the activations' text Wanda has something to know: at 80 % it does better than by magnitude alone.
    let other = chronicle::text(30_000, &mut Xoshiro256PlusPlus::seed_from_u64(78));
    let tokens = sizewell::evaluation::windows::encode(&tokenizer, &other).unwrap();
    let windows: Vec<Vec<u32>> = tokens.chunks_exact(256).take(16).map(<[u32]>::to_vec).collect();
    let mut pruned = |text: &str| {
        let pruning: Pruning = text.parse().unwrap();
        let mut model = engine.language_model(Quant::F16, Some(&pruning), &windows).unwrap();
        assert!(model.zeros > 900_000, "{}", model.zeros);
        figure(&evaluate(&mut model, &set, plan, ReferenceLogits::Read(&kept)), "perplexity")
    };
    let (wanda, magnitude) = (pruned("wanda:0.8"), pruned("magnitude:0.8"));
    assert!(wanda < magnitude, "{wanda} {magnitude}");
}

/// Levels of cards that nobody here owns: what they cost is had by rounding as they do.
#[test]
fn levels_of_other_engines_lose_as_much_as_their_numbers_are_coarse() {
    let model = reference();
    let plan = Windowing { context: 256, stride: None, bos: bos_of(model.tokenizer.as_ref().unwrap()) };
    let set = set("x.txt", chronicle::text(20_000, &mut Xoshiro256PlusPlus::seed_from_u64(7)));
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("x.topk");
    let mut engine = CandleEngine::new(model, Kernels::Own);
    let mut whole = engine.language_model(Quant::F32, None, &[]).unwrap();
    evaluate(&mut whole, &set, plan, ReferenceLogits::Write(&kept));
    let mut loss = |level: &str| {
        let mut rounded = engine.language_model(level.parse().unwrap(), None, &[]).unwrap();
        assert!(rounded.notes.iter().any(|note| note.contains("rounded as the level has them")), "{:?}", rounded.notes);
        figure(&evaluate(&mut rounded, &set, plan, ReferenceLogits::Read(&kept)), "kl_divergence_mean")
    };
    let [w8a16, w8a8, fp8, fp8_block] = ["w8a16", "w8a8", "fp8", "fp8_block"].map(&mut loss);
    let [nvfp4_weights, nvfp4, mxfp4, nf4] = ["nvfp4a16", "nvfp4", "mxfp4", "bnb-nf4"].map(&mut loss);
    let found = format!("{w8a16} {w8a8} {fp8} {fp8_block} {nvfp4_weights} {nvfp4} {mxfp4} {nf4}");
    let eight = [w8a16, w8a8, fp8, fp8_block].into_iter().fold(0.0, f64::max);
    let four = [nvfp4_weights, nvfp4, mxfp4, nf4].into_iter().fold(f64::MAX, f64::min);
    assert!(w8a16 > 0.0 && eight < four, "{found}");
    // 8-bit integers with a scale for each row are finer than floats of 3 bits; activations in 4 bits cost beside weights.
    assert!(w8a8 < fp8 && nvfp4 > nvfp4_weights, "{found}");
    let pruning: Pruning = "magnitude:0.5".parse().unwrap();
    let refused = engine.language_model("fp8".parse().unwrap(), Some(&pruning), &[]).err().unwrap();
    assert!(refused.to_string().contains("not rounded as fp8"), "{refused}");
}

#[test]
fn a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary() {
    let vocab = reference().shape.vocab_size;
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("x.topk");
    let set = set("x.txt", chronicle::text(20_000, &mut Xoshiro256PlusPlus::seed_from_u64(1)));
    let plan = Windowing { context: 64, stride: None, bos: None };
    let found = evaluate(&mut Uniform(vocab), &set, plan, ReferenceLogits::Write(&kept));
    assert!((figure(&found, "perplexity") / vocab as f64 - 1.0).abs() < 1e-5);
    assert_eq!(found.samples, found.tokens.unwrap() / 64 * 31);
    // Uniform probabilities are all tail: none is lost by keeping few of them.
    let again = evaluate(&mut Uniform(vocab), &set, plan, ReferenceLogits::Read(&kept));
    assert!(figure(&again, "kl_divergence_mean") < 1e-5);
}

#[test]
fn questions_are_answered_as_their_source_has_them() {
    let tokenizer = reference().tokenizer.unwrap();
    let mut engine = CandleEngine::new(reference(), Kernels::Own);
    let mut model = engine.language_model(Quant::F16, None, &[]).unwrap();
    let entry = "On Monday the old baker of Aldmoor sold 4 fine loaves to Ada at 6 coins each. She paid";
    let choice = format!(
        "{}\n{}\n",
        serde_json::json!({"context": entry, "choices": [" 20 coins", " 24 coins", " 30 coins"], "answer": 1}),
        serde_json::json!({"context": format!("{entry} 24 coins. The road to"), "choices": [" Marwick", " Aldmoor"], "answer": 1}),
    );
    let inputs = TokenFrequencies::of(Vec::new());
    let found = tasks::evaluate(&mut model, &tokenizer, &set("c.jsonl", choice), &inputs, &mut |_| true).unwrap();
    assert_eq!(figure(&found, "choice_accuracy"), 1.0);
    let prompt = serde_json::json!({"prompt": entry, "answer": "24 coins", "stop": ["."]}).to_string();
    let found = tasks::evaluate(&mut model, &tokenizer, &set("g.jsonl", prompt), &inputs, &mut |_| true).unwrap();
    assert_eq!(figure(&found, "exact_match"), 1.0);
}

fn sizewell(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sizewell")).current_dir(folder).args(arguments).output().unwrap()
}

#[test]
fn the_command_leaves_figures_that_the_report_and_the_gate_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
    std::fs::write(folder.path().join("held.txt"), chronicle::text(30_000, &mut rng)).unwrap();
    let asked =
        ["quality", "--model", "reference", "--data", "held.txt", "--quant", "f16,q2_k", "--prune", "magnitude:2:4"];
    let rest = ["--context", "128", "--no-speed", "-o", "run"];
    let done = sizewell(folder.path(), &[&asked[..], &rest[..]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(shown.contains("degraded") && shown.contains("unchanged (dense kernels)"), "{shown}");
    assert!(!shown.to_lowercase().contains("lossless"));
    let run = Run::read(&folder.path().join("run")).unwrap();
    let figures = run.quality().unwrap();
    let fewer_bits = figures.iter().find(|row| row.metric == "perplexity" && row.quant == Quant::Q2K).unwrap();
    assert!(fewer_bits.verdict == "degraded" && fewer_bits.delta_lo.unwrap() > 0.0, "{fewer_bits:?}");
    let items = run.quality_items().unwrap();
    let record = run.record.quality.clone().unwrap();
    assert_eq!(items.len() % record.variants.len(), 0);
    let pruned = &record.variants[2];
    assert!(pruned.stored_bytes.0 < pruned.resident_bytes.0 * 0.65, "{pruned:?}");
    let again = sizewell(folder.path(), &[&asked[..], &rest[..]].concat());
    assert_eq!(again.status.code(), Some(1), "a folder that holds a run is not written over");
    let report = sizewell(folder.path(), &["report", "run", "-o", "r.md"]);
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
}

#[test]
fn what_cannot_be_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.jsonl"), "{\"a\":\"x\",\"b\":\"y\",\"score\":1}\n{\"a\":\"x\"}\n").unwrap();
    for (arguments, code, said) in [
        (&["--model", "smollm2-135m", "--data", "bad.jsonl"][..], 2, "random weights"),
        (&["--model", "reference", "--prune", "wanda"], 2, "wanda:0.5"),
        (&["--model", "reference", "--quant", "f16,f16"], 2, "twice"),
        (&["--model", "reference", "--reference", "reference", "--quant", "f16"], 2, "is in f16 too"),
        (&["--model", "reference", "--context", "4096"], 2, "--context"),
        (&["--model", "reference", "--stride", "600"], 2, "--stride"),
        (&["--model", "reference", "--margin", "2"], 2, "--margin"),
        (&["--model", "reference", "--data", "missing.txt"], 1, "missing.txt"),
        (&["--model", "reference", "--data", "bad.jsonl", "--no-speed", "-o", "x"], 1, "bad.jsonl:2: missing field"),
    ] {
        let done = sizewell(folder.path(), &[&["quality"], arguments].concat());
        let error = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
}
