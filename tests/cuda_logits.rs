//! The bits of the logits that a card computes, for every family and level, on fake cards of three generations, as they were
//! recorded: a change of structure is one that leaves them as they are. `SIZEWELL_UPDATE_LOGITS=1` writes the record anew,
//! after a change that is meant to compute something else. The fake computes with the host's functions, so that the record is
//! of one kind of machine; on others the test says so and passes.

// A program exports nothing.
#![allow(unreachable_pub)]

mod support;

use candle_core::{DType, Device, Tensor};
use sizewell::device::cuda::{self, Card};
use sizewell::engine::backend::cuda::{CudaEngine, CudaModel};
use sizewell::engine::language::{LanguageModel, SequencePosition};
use sizewell::engine::scheduler::{BatchModel, Segment};
use sizewell::engine::session::encoder::EncoderEngine;
use sizewell::engine::weights::{self as source, synthetic};
use sizewell::workload::{Architecture, ModelShape, Quant};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::{tensors, write_folder};

/// In a child process: the generation of its card, whose record is printed.
const CHILD: &str = "SIZEWELL_CUDA_LOGITS_OF";
const GENERATIONS: [&str; 3] = ["75", "80", "90"];
const LEVELS: [Quant; 6] = [Quant::F16, Quant::Bf16, Quant::Int8, Quant::Int4, Quant::Q4_0, Quant::Q6K];

/// Models of every family whose widths suit every kernel, and heads of another width.
fn models() -> Vec<(&'static str, ModelShape)> {
    let wide = |architecture| ModelShape {
        hidden_size: 256,
        intermediate_size: 256,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        ..support::shape(architecture)
    };
    vec![
        ("llama", wide(Architecture::Llama)),
        ("llama-narrow", ModelShape { heads: 6, head_dim: 16, ..wide(Architecture::Llama) }),
        ("mistral-window", ModelShape { sliding_window: Some(6), ..wide(Architecture::Mistral) }),
        ("qwen2", wide(Architecture::Qwen2)),
        ("qwen3", wide(Architecture::Qwen3)),
    ]
}

fn ids(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|index| ((index * 37 + 11) % vocabulary) as u32).collect()
}

/// A prefill of few rows and one of many, each with decode steps behind it; chosen tokens are hashed as well.
fn bits(card: &Arc<Card>, path: &Path, quant: Quant) -> String {
    let mut model = source::open(path, 0, false).unwrap();
    let weights = model.weights.as_mut();
    let mut decoder = CudaModel::load(card.clone(), &model.shape, weights, quant, None, &mut |_, _| ()).unwrap();
    let mut hasher = blake3::Hasher::new();
    for (batch, seq) in [(1, 3), (2, 11)] {
        decoder.allocate(batch, seq + 2, seq).unwrap();
        decoder.set_ids(&ids(batch * seq, model.shape.vocab_size)).unwrap();
        for step in 0..3 {
            decoder.step(if step == 0 { seq } else { 1 }).unwrap();
            decoder.logits().unwrap().iter().for_each(|bits| {
                hasher.update(&bits.to_le_bytes());
            });
            let chosen = decoder.ids().unwrap().download::<u32>(batch).unwrap();
            chosen.iter().for_each(|token| {
                hasher.update(&token.to_le_bytes());
            });
        }
        assert!(decoder.was_finite().unwrap());
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// Chunks of prompts beside what decodes, by the engine of the scheduler, and hidden states and logits of any rows.
fn bits_of_pieces(card: &Arc<Card>, path: &Path, quant: Quant) -> String {
    let mut hasher = blake3::Hasher::new();
    let engine = || CudaEngine::new(card.clone(), source::open(path, 0, false).unwrap());
    let vocabulary = source::open(path, 0, false).unwrap().shape.vocab_size;
    let (mut batch, _) = engine().batch_model(quant, 3, 30, 20).unwrap();
    let prompt = ids(19, vocabulary);
    let piece = |row, past, tokens, sampled| Segment { row, past, tokens, sampled };
    for segments in [
        vec![piece(0, 0, &prompt[..7], true), piece(2, 0, &prompt[..11], false)],
        vec![piece(0, 7, &prompt[3..4], true), piece(2, 11, &prompt[11..], true)],
    ] {
        let chosen = batch.pass(&segments).unwrap();
        hasher.update(&chosen.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>());
    }
    let mut model = engine().language_model(quant, None).unwrap();
    let sequences = [prompt[..19].to_vec(), prompt[4..9].to_vec()];
    let places = [(0, 3), (0, 18), (1, 4)].map(|(sequence, position)| SequencePosition { sequence, position });
    let mut take = |_: usize, values: &[f32]| {
        values.iter().for_each(|value| {
            hasher.update(&value.to_le_bytes());
        });
    };
    model.logits(&sequences, &places, &mut take).unwrap();
    model.embed(&sequences).unwrap().iter().for_each(|mean| take(0, mean));
    hasher.finalize().to_hex()[..16].to_string()
}

/// Embeddings of texts, or logits of images at two resolutions.
fn bits_of_encoder(card: &Arc<Card>, architecture: Architecture, quant: Quant) -> String {
    let mut hasher = blake3::Hasher::new();
    let preset = support::preset(support::encoder_shape(architecture));
    let mut engine = EncoderEngine::on_card(synthetic::open(&preset, 7), card.clone());
    let mut add = |values: &[f32]| {
        values.iter().for_each(|value| {
            hasher.update(&value.to_le_bytes());
        });
    };
    if architecture == Architecture::Bert {
        let texts = [ids(9, 131), ids(9, 130), ids(40, 131)];
        engine.embed(quant, &texts).unwrap().iter().for_each(|vector| add(vector));
    } else {
        for side in [32, 40] {
            let pixels: Vec<f32> = (0..2 * 3 * side * side).map(|i| (i * 31 % 97) as f32 / 48.0 - 1.0).collect();
            let pixels = Tensor::from_vec(pixels, (2, 3, side, side), &Device::Cpu).unwrap();
            add(&engine.classify(quant, &pixels).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// Everything that the card of this process computes, a line for each.
fn all(generation: &str, library: &Path) -> Vec<(String, String)> {
    cuda::use_library(library).unwrap();
    let card = Arc::new(Card::open(0).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for (name, shape) in models() {
        let path = folder.path().join(name);
        write_folder(&path, &shape, &tensors(&shape), DType::F32, 1);
        for quant in LEVELS {
            all.push((format!("sm_{generation} {name} {quant}"), bits(&card, &path, quant)));
            if matches!(name, "qwen2" | "mistral-window") && matches!(quant, Quant::Bf16 | Quant::Int8) {
                all.push((format!("sm_{generation} {name} {quant} pieces"), bits_of_pieces(&card, &path, quant)));
            }
        }
    }
    for architecture in [Architecture::Bert, Architecture::Vit] {
        for quant in [Quant::F16, Quant::Int8] {
            let bits = bits_of_encoder(&card, architecture, quant);
            all.push((format!("sm_{generation} {architecture} {quant}"), bits));
        }
    }
    all
}

fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/logits/cuda-{}.txt", std::env::consts::ARCH))
}

#[test]
fn every_bit_of_a_cards_logits_is_as_it_was() {
    let Some(library) = support::fake_cuda::library() else { return };
    if let Ok(generation) = std::env::var(CHILD) {
        all(&generation, library).iter().for_each(|(name, bits)| println!("\nBITS {bits} {name}"));
        return;
    }
    let children = GENERATIONS.map(|generation| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "every_bit_of_a_cards_logits_is_as_it_was", "--nocapture"]);
        command.envs([(CHILD, generation), ("FAKE_CUDA_SM", generation)]);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    });
    let mut all = BTreeMap::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        let lines = said.lines().filter_map(|line| line.strip_prefix("BITS ")?.split_once(' '));
        all.extend(lines.map(|(bits, name)| (name.to_string(), bits.to_string())));
    }
    let each = models().len() * LEVELS.len() + 2 * 2 + 2 * 2;
    assert_eq!(all.len(), GENERATIONS.len() * each);
    let text: String = all.iter().map(|(name, bits)| format!("{bits} {name}\n")).collect();
    if std::env::var_os("SIZEWELL_UPDATE_LOGITS").is_some() {
        std::fs::write(record(), &text).unwrap();
    }
    let Ok(recorded) = std::fs::read_to_string(record()) else {
        eprintln!("skipped: there is no record for {}", record().display());
        return;
    };
    let known = recorded.lines().filter_map(|line| line.split_once(' '));
    let differ: Vec<_> = known.filter(|(bits, name)| all.get(*name).map(String::as_str) != Some(bits)).collect();
    assert!(differ.is_empty(), "{} of {} differ: {differ:?}", differ.len(), all.len());
    assert_eq!(recorded.lines().count(), all.len(), "what is new has no record yet");
}
