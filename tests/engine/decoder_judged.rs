//! The decoder against candle-transformers: same weights, batch 1, the same logits.

use super::decoder::{TOLERANCE, load, open, row, tokens};
use crate::support;
use crate::support::{relative_error, shape, tensors, write_folder, write_gguf};
use candle_core::quantized::{GgmlDType, gguf_file};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{gemma3, llama, mistral, quantized_llama, qwen2, qwen3};
use sizewell::engine::model::Logits;
use sizewell::workload::{Architecture, CacheType, ModelShape, Quant, RopeScaling};
use std::path::Path;

/// Logits after each of `tokens`, from position `from` on, by a judge that is fed a prompt and then single tokens.
type Judge = Box<dyn FnMut(&Tensor, usize) -> Tensor>;

fn judge(shape: &ModelShape, folder: &Path) -> Judge {
    let file = folder.join("model.safetensors");
    let device = Device::Cpu;
    // SAFETY: the file is not changed while it is mapped.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[file], DType::F32, &device).unwrap() };
    let last = |t: Tensor| t.reshape(((), t.dims()[t.rank() - 1])).unwrap();
    match shape.architecture {
        Architecture::Llama => {
            let config: llama::LlamaConfig = serde_json::from_value(support::config_json(shape)).unwrap();
            let config = config.into_config(false);
            let model = llama::Llama::load(weights, &config).unwrap();
            let mut cache = llama::Cache::new(true, DType::F32, &config, &device).unwrap();
            Box::new(move |tokens, past| last(model.forward(tokens, past, &mut cache).unwrap()))
        }
        Architecture::Mistral => {
            let mut json = support::config_json(shape);
            json["hidden_act"] = "silu".into();
            json["use_flash_attn"] = false.into();
            let config: mistral::Config = serde_json::from_value(json).unwrap();
            let mut model = mistral::Model::new(&config, weights).unwrap();
            Box::new(move |tokens, past| last(model.forward(tokens, past).unwrap()))
        }
        Architecture::Qwen2 => {
            let mut json = support::config_json(shape);
            json["hidden_act"] = "silu".into();
            json["sliding_window"] = 4096.into();
            json["max_window_layers"] = 0.into();
            json["use_sliding_window"] = false.into();
            let config: qwen2::Config = serde_json::from_value(json).unwrap();
            let mut model = qwen2::ModelForCausalLM::new(&config, weights).unwrap();
            Box::new(move |tokens, past| last(model.forward(tokens, past).unwrap()))
        }
        Architecture::Qwen3 => {
            let mut json = support::config_json(shape);
            json["hidden_act"] = "silu".into();
            json["attention_bias"] = false.into();
            json["max_window_layers"] = 0.into();
            json["use_sliding_window"] = false.into();
            let config: qwen3::Config = serde_json::from_value(json).unwrap();
            let mut model = qwen3::ModelForCausalLM::new(&config, weights).unwrap();
            Box::new(move |tokens, past| last(model.forward(tokens, past).unwrap()))
        }
        Architecture::Gemma3 => {
            let mut json = support::config_json(shape);
            json["hidden_activation"] = "gelu_pytorch_tanh".into();
            json["attention_bias"] = false.into();
            let config: gemma3::Config = serde_json::from_value(json).unwrap();
            let mut model = gemma3::Model::new(false, &config, weights).unwrap();
            // Its mask of a prompt sees one position more than its cache keeps and the window says: token by token it is right.
            Box::new(move |tokens, past| {
                let each = (0..tokens.dim(1).unwrap())
                    .map(|index| model.forward(&tokens.narrow(1, index, 1).unwrap(), past + index).unwrap());
                last(each.last().unwrap())
            })
        }
        other => panic!("the engine does not run {other}"),
    }
}

/// Prefill, then several single tokens, each compared.
fn agrees_with_judge(shape: ModelShape) {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut judge = judge(&shape, folder.path());
    let mut model = open(folder.path());
    assert_eq!(model.shape, shape);
    let mut decoder = load(&mut model, Quant::F32);
    decoder.allocate(1, 64, CacheType::F32).unwrap();
    let text = tokens(40, shape.vocab_size);
    let prompt = 33;
    let mut past = 0;
    for end in std::iter::once(prompt).chain(prompt + 1..=text.len()) {
        let input = row(&text[past..end]);
        let ours = decoder.forward(&input, Logits::Last).unwrap();
        let theirs = judge(&input, past);
        let theirs = theirs.narrow(0, theirs.dim(0).unwrap() - 1, 1).unwrap();
        let error = relative_error(&ours, &theirs);
        assert!(error < TOLERANCE, "{:?} at {past}: {error}", shape.architecture);
        past = end;
    }
}

#[test]
fn llama_agrees_with_candle_transformers() {
    agrees_with_judge(shape(Architecture::Llama));
}

#[test]
fn llama_3_rope_scaling_agrees_with_candle_transformers() {
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };
    agrees_with_judge(ModelShape { rope_scaling: Some(scaling), tied_embeddings: true, ..shape(Architecture::Llama) });
}

#[test]
fn gemma_3_agrees_with_candle_transformers() {
    agrees_with_judge(shape(Architecture::Gemma3));
}

#[test]
fn mistral_agrees_with_candle_transformers() {
    agrees_with_judge(shape(Architecture::Mistral));
}

#[test]
fn qwen2_agrees_with_candle_transformers() {
    agrees_with_judge(shape(Architecture::Qwen2));
}

#[test]
fn qwen3_agrees_with_candle_transformers() {
    agrees_with_judge(shape(Architecture::Qwen3));
}

#[test]
fn quantized_llama_agrees_with_candle_transformers() {
    let shape = shape(Architecture::Llama);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let weights = tensors(&shape);
    for (dtype, quant) in [(GgmlDType::Q8_0, Quant::Int8), (GgmlDType::Q4_0, Quant::Int4), (GgmlDType::F32, Quant::F32)]
    {
        write_gguf(&path, &shape, &weights, dtype);
        let mut file = std::fs::File::open(&path).unwrap();
        let content = gguf_file::Content::read(&mut file).unwrap();
        let mut theirs = quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
        let mut model = open(&path);
        assert_eq!(model.weights.native_quant(), Some(quant));
        let mut ours = load(&mut model, quant);
        ours.allocate(1, 64, CacheType::F32).unwrap();
        let text = tokens(20, shape.vocab_size);
        for (range, past) in [(0..18, 0), (18..19, 18), (19..20, 19)] {
            let input = row(&text[range]);
            let got = ours.forward(&input, Logits::Last).unwrap();
            let error = relative_error(&got, &theirs.forward(&input, past).unwrap());
            // Both round activations to 8 bits, but not by the same scales: each is off by about 1 % after three blocks.
            assert!(error < 0.04, "{dtype:?} at {past}: {error}");
        }
    }
}
