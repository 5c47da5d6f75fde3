//! Families of models.

use crate::workload::task::Task;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The families of models that are known by their shape. The engine runs [`Architecture::RUNNABLE`]; the others can be
/// sized and projected from what others measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Llama 1 to 3, TinyLlama, SmolLM.
    Llama,
    /// Mistral 7B: Llama with an optional sliding window.
    Mistral,
    /// Qwen 2 and 2.5: Llama with a bias on query, key and value.
    Qwen2,
    /// Qwen 3: Llama with a norm on each query and key head.
    Qwen3,
    /// Gemma 1: gated by GELU, with a large vocabulary.
    Gemma,
    /// Gemma 2: the same with a norm behind attention and feed-forward too.
    Gemma2,
    /// Phi 3 and 4: query, key and value in one matrix, gate and up in another.
    Phi3,
    /// BERT and what is built like it: an encoder of texts, norms behind its parts.
    Bert,
    /// ViT and DeiT: an encoder of images cut into patches, norms before its parts.
    Vit,
}

impl Architecture {
    /// Decoders that the engine runs, in the order that messages list them.
    pub const RUNNABLE: [Architecture; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    /// Encoders that the engine runs.
    pub const ENCODERS: [Architecture; 2] = [Self::Bert, Self::Vit];

    /// What models of it do.
    pub fn task(self) -> Task {
        match self {
            Self::Bert => Task::Embed,
            Self::Vit => Task::ClassifyImage,
            _ => Task::Generate,
        }
    }

    /// The name in GGUF files (`general.architecture`) and in config.json (`model_type`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Phi3 => "phi3",
            Self::Bert => "bert",
            Self::Vit => "vit",
        }
    }

    /// The architecture of this name that the engine runs, or a message that lists those that it does.
    pub fn from_name(name: &str) -> Result<Self, String> {
        if Self::ENCODERS.iter().any(|a| a.name() == name) {
            return Err(format!(
                "architecture `{name}` is an encoder, which generates no text: `run`, `profile` and `rank` measure it from a \
                 preset or a folder with config.json and safetensors files, on the CPU"
            ));
        }
        Self::RUNNABLE.into_iter().find(|a| a.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::RUNNABLE.iter().map(|a| a.name()).collect();
            let encoders: Vec<_> = Self::ENCODERS.iter().map(|a| a.name()).collect();
            format!(
                "architecture `{name}` is not supported; supported are {}, and of encoders {}",
                known.join(", "),
                encoders.join(", ")
            )
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
