//! The names under which records keep what tells one system from another of the same engine, device and model. A name is
//! there only where the value is not the usual one, so that files which do not speak of it stay comparable.

use std::collections::BTreeMap;

/// The backend that computes, as llama.cpp calls it: `CUDA`, `Vulkan`, `MTL`.
pub const BACKEND: &str = "backend";
/// Type of the keys in the cache, where it is not `f16`.
pub const CACHE_K: &str = "cache_k";
/// Type of the values in the cache, where it is not `f16`.
pub const CACHE_V: &str = "cache_v";
/// Type of the whole cache of a server, where it is not the model's.
pub const CACHE: &str = "cache";
/// Layers on the accelerator, where not all are.
pub const GPU_LAYERS: &str = "gpu_layers";
/// The cache stays with the host.
pub const CACHE_ON_HOST: &str = "cache_on_host";
/// Layers whose experts the CPU computes.
pub const CPU_MOE: &str = "cpu_moe";
/// Which tensors are kept where.
pub const TENSOR_PLACES: &str = "tensor_places";
/// How a model is spread over cards, where it is spread over several and not by layers.
pub const SPLIT_MODE: &str = "split_mode";
/// The shares of the cards, where they are not alike.
pub const TENSOR_SPLIT: &str = "tensor_split";
/// Tokens of a prompt that are computed at once, where they are not 512.
pub const CHUNK: &str = "prompt_chunk";
/// Products on the host stay there.
pub const NO_OFFLOAD: &str = "no_op_offload";
/// Which cores the engine's threads run on.
pub const CPU_MASK: &str = "cpu_mask";
/// Kernels that were chosen by an option.
pub const KERNELS: &str = "kernels";
/// Several tokens a step by guessing: the method, or `yes`.
pub const SPECULATION: &str = "speculation";
/// The model that guesses.
pub const DRAFT_MODEL: &str = "draft_model";
/// Tokens that are guessed at once.
pub const DRAFT_TOKENS: &str = "draft_tokens";
/// Cards that the experts are spread over, where they are.
pub const EXPERT_PARALLEL: &str = "expert_parallel";
/// Copies of the model that share the load.
pub const DATA_PARALLEL: &str = "data_parallel";
/// Attention is computed for different sequences on different cards.
pub const DP_ATTENTION: &str = "dp_attention";
/// Cards that the context is spread over while decoding.
pub const DECODE_CONTEXT_PARALLEL: &str = "decode_context_parallel";
/// Cards that the context is spread over during prefills.
pub const PREFILL_CONTEXT_PARALLEL: &str = "prefill_context_parallel";
/// Cards that the layers are spread over one behind the other.
pub const PIPELINE_PARALLEL: &str = "pipeline_parallel";
/// Several machines serve one model.
pub const MULTINODE: &str = "multinode";
/// The cluster that the cards stand in, where a file names it.
pub const CLUSTER: &str = "cluster";
/// Most sequences that a server runs together.
pub const MAX_SEQUENCES: &str = "max_sequences";
/// Most tokens of a step of a server.
pub const MAX_BATCHED_TOKENS: &str = "max_batched_tokens";
/// Graphs of kernels are not used.
pub const EAGER: &str = "eager";
/// A compiler that was used.
pub const COMPILER: &str = "compiler";
/// Implementation of attention, where one was asked for.
pub const ATTENTION: &str = "attention";

/// The settings of one record.
#[derive(Debug, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Keeps a value that is there.
    pub fn put(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value.map(|value| value.to_string()).filter(|value| !value.is_empty()) {
            self.0.insert(name.to_string(), value);
        }
    }

    /// Keeps that something is so.
    pub fn flag(&mut self, name: &str, is_so: bool) {
        self.put(name, is_so.then_some("yes"));
    }

    /// Keeps a number of things that are one where nothing is special.
    pub fn above_one(&mut self, name: &str, count: Option<usize>) {
        self.put(name, count.filter(|count| *count > 1));
    }

    /// All of them.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}
