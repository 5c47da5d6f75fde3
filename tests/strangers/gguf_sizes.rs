//! Sizes from GGUF files of models that the engine does not run: the keys that llama.cpp's converter writes of each family.

use crate::support::save_gguf;
use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use sizewell::engine::weights::model_shape;
use sizewell::workload::model::tensors::TensorName;
use sizewell::workload::{Architecture, ModelShape};
use std::path::Path;

/// Metadata under the name of an architecture.
struct Keys(&'static str, Vec<(String, Value)>);

impl Keys {
    fn of(arch: &'static str) -> Self {
        let name = ("general.architecture".to_string(), Value::String(arch.to_string()));
        Self(arch, vec![name])
            .sizes(&[("embedding_length", 64), ("block_count", 4), ("context_length", 4096)])
            .numbers(&[("attention.layer_norm_rms_epsilon", 1e-5), ("rope.freq_base", 10_000.0)])
    }

    fn sizes(mut self, sizes: &[(&str, u32)]) -> Self {
        self.1.extend(sizes.iter().map(|(key, size)| (format!("{}.{key}", self.0), Value::U32(*size))));
        self
    }

    fn numbers(mut self, numbers: &[(&str, f32)]) -> Self {
        self.1.extend(numbers.iter().map(|(key, number)| (format!("{}.{key}", self.0), Value::F32(*number))));
        self
    }

    fn lists(mut self, lists: &[(&str, &[u32])]) -> Self {
        let list = |values: &[u32]| Value::Array(values.iter().copied().map(Value::U32).collect());
        self.1.extend(lists.iter().map(|(key, values)| (format!("{}.{key}", self.0), list(values))));
        self
    }
}

/// A file with tensors of as many numbers as the shape says, under names that matter to a reader, and a few beside.
fn write(path: &Path, keys: &Keys, shape: &ModelShape, beside: &[&str]) {
    let tensor = |name: String, dims: &[usize]| {
        let tensor = Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        (name, QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
    };
    let name = |of: TensorName, index: usize| match of {
        TensorName::TokenEmbedding => "token_embd.weight".to_string(),
        TensorName::Output => "output.weight".to_string(),
        _ => format!("tensor.{index}"),
    };
    let specs = shape.tensors();
    let mut all: Vec<_> =
        specs.iter().enumerate().map(|(index, spec)| tensor(name(spec.name, index), &spec.dims)).collect();
    all.extend(beside.iter().map(|name| tensor(name.to_string(), &[1])));
    save_gguf(path, &keys.1, &all);
}

fn base(architecture: Architecture) -> ModelShape {
    ModelShape {
        hidden_size: 64,
        intermediate_size: 128,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        vocab_size: 300,
        max_context: 4096,
        norm_eps: f64::from(1e-5_f32),
        rope_theta: 10_000.0,
        ..ModelShape::of(architecture)
    }
}

const HEADS: [(&str, u32); 4] = [
    ("attention.head_count", 4),
    ("attention.head_count_kv", 2),
    ("attention.key_length", 16),
    ("feed_forward_length", 128),
];

/// What `models show` would tell of a file with such keys, where its tensors are those of `shape`.
fn read(keys: Keys, shape: &ModelShape, beside: &[&str]) -> Result<ModelShape, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write(&path, &keys, shape, beside);
    model_shape(&path, false).map(|known| known.shape).map_err(|error| error.to_string())
}

#[test]
fn mixtures_are_read_by_the_keys_of_the_converter() {
    let experts = |text: &str| Some(serde_json::from_str(text).unwrap());
    let mixtral =
        ModelShape { experts: experts(r#"{"count":8,"active":2,"width":128}"#), ..base(Architecture::Mixtral) };
    let routed = [("expert_count", 8), ("expert_used_count", 2)];
    assert_eq!(read(Keys::of("llama").sizes(&HEADS).sizes(&routed), &mixtral, &[]), Ok(mixtral.clone()));
    let qwen = ModelShape {
        qk_norm: true,
        experts: experts(r#"{"count":8,"active":2,"width":32}"#),
        ..base(Architecture::Qwen3Moe)
    };
    let keys = || Keys::of("qwen3moe").sizes(&HEADS).sizes(&routed).sizes(&[("expert_feed_forward_length", 32)]);
    assert_eq!(read(keys(), &qwen, &["blk.0.attn_q_norm.weight"]), Ok(qwen.clone()));
    // Tensors of another model than the metadata says.
    let fewer = ModelShape { experts: experts(r#"{"count":7,"active":2,"width":32}"#), ..qwen };
    let message = read(keys(), &fewer, &["blk.0.attn_q_norm.weight"]).unwrap_err();
    assert!(message.contains("the tensors hold") && message.contains("`qwen3moe`"), "{message}");
}

#[test]
fn latent_attention_is_read_by_old_keys_and_new() {
    let shape = ModelShape {
        kv_heads: 4,
        head_dim: 24,
        latent: Some(
            serde_json::from_str(r#"{"key_value_rank":32,"plain_dim":16,"rotary_dim":8,"value_dim":16}"#).unwrap(),
        ),
        experts: Some(
            serde_json::from_str(r#"{"count":8,"active":2,"width":32,"shared_width":64,"dense_layers":1}"#).unwrap(),
        ),
        ..base(Architecture::DeepSeek2)
    };
    let common = || {
        Keys::of("deepseek2").sizes(&[
            ("attention.head_count", 4),
            ("feed_forward_length", 128),
            ("attention.kv_lora_rank", 32),
            ("rope.dimension_count", 8),
            ("expert_count", 8),
            ("expert_used_count", 2),
            ("expert_shared_count", 2),
            ("expert_feed_forward_length", 32),
            ("leading_dense_block_count", 1),
        ])
    };
    let old = [("attention.head_count_kv", 4), ("attention.key_length", 24), ("attention.value_length", 16)];
    assert_eq!(read(common().sizes(&old), &shape, &[]), Ok(shape.clone()));
    let new = [
        ("attention.head_count_kv", 1),
        ("attention.key_length", 40),
        ("attention.value_length", 32),
        ("attention.key_length_mla", 24),
        ("attention.value_length_mla", 16),
    ];
    assert_eq!(read(common().sizes(&new), &shape, &[]), Ok(shape.clone()));
    let message = read(common(), &shape, &[]).unwrap_err();
    assert!(message.contains("`deepseek2.attention.key_length` is missing"), "{message}");
}

#[test]
fn kinds_of_layers_are_those_that_readers_know() {
    let experts = Some(serde_json::from_str(r#"{"count":8,"active":2,"width":128}"#).unwrap());
    let gpt = ModelShape {
        qkv_bias: true,
        sliding_window: Some(64),
        layer_kinds: Some("wf".parse().unwrap()),
        experts,
        ..base(Architecture::GptOss)
    };
    let keys = Keys::of("gpt-oss").sizes(&HEADS).sizes(&[
        ("expert_count", 8),
        ("expert_used_count", 2),
        ("attention.sliding_window", 64),
    ]);
    assert_eq!(read(keys, &gpt, &["blk.0.attn_q.bias"]), Ok(gpt.clone()));
    let gemma = ModelShape {
        tied_embeddings: true,
        sliding_window: Some(64),
        layer_kinds: Some("wf".parse().unwrap()),
        ..base(Architecture::Gemma2)
    };
    let keys = Keys::of("gemma2").sizes(&HEADS).sizes(&[("attention.sliding_window", 64)]);
    assert_eq!(read(keys, &gemma, &[]), Ok(gemma.clone()));
    let phi = base(Architecture::Phi3);
    assert_eq!(read(Keys::of("phi3").sizes(&HEADS), &phi, &[]), Ok(phi.clone()));
    let nemotron = ModelShape {
        layer_kinds: Some("m-n".parse().unwrap()),
        state_space: Some(
            serde_json::from_str(r#"{"heads":8,"head_dim":16,"groups":2,"state":16,"convolution":4}"#).unwrap(),
        ),
        ..base(Architecture::NemotronH)
    };
    let keys = Keys::of("nemotron_h")
        .sizes(&[
            ("attention.head_count", 4),
            ("attention.key_length", 16),
            ("ssm.conv_kernel", 4),
            ("ssm.state_size", 16),
            ("ssm.group_count", 2),
            ("ssm.inner_size", 128),
            ("ssm.time_step_rank", 8),
        ])
        .lists(&[("attention.head_count_kv", &[0, 0, 2, 0]), ("feed_forward_length", &[0, 128, 0, 0])]);
    assert_eq!(read(keys, &nemotron, &[]), Ok(nemotron.clone()));
    let endless = Keys(
        "nemotron_h",
        vec![
            ("general.architecture".to_string(), Value::String("nemotron_h".to_string())),
            ("nemotron_h.embedding_length".to_string(), Value::U32(64)),
            ("nemotron_h.block_count".to_string(), Value::U32(u32::MAX)),
        ],
    );
    let message = read(endless.sizes(&HEADS), &nemotron, &[]).unwrap_err();
    assert!(message.contains("`nemotron_h.block_count` is 4294967295"), "{message}");
    let message = read(Keys::of("gemma5").sizes(&HEADS), &gpt, &[]).unwrap_err();
    assert!(message.contains("`gemma5` is not known; did you mean `gemma"), "{message}");
}
