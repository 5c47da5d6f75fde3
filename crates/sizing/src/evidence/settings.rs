//! The names under which records keep what tells one system from another of the same engine, device and model. A name is
//! there only where the value is not the usual one, so that files which do not speak of it stay comparable.

use std::collections::BTreeMap;

/// The backend that computes, as llama.cpp calls it: `CUDA`, `Vulkan`, `MTL`.
pub(crate) const BACKEND: &str = "backend";
/// Type of the keys in the cache, where it is not `f16`.
pub(crate) const CACHE_K: &str = "cache_k";
/// Type of the values in the cache, where it is not `f16`.
pub(crate) const CACHE_V: &str = "cache_v";
/// Type of the whole cache of a server, where it is not the model's.
pub(crate) const CACHE: &str = "cache";
/// Layers on the accelerator, where not all are.
pub(crate) const GPU_LAYERS: &str = "gpu_layers";
/// The cache stays with the host.
pub(crate) const CACHE_ON_HOST: &str = "cache_on_host";
/// Layers whose experts the CPU computes.
pub(crate) const CPU_MOE: &str = "cpu_moe";
/// Which tensors are kept where.
pub(crate) const TENSOR_PLACES: &str = "tensor_places";
/// How a model is spread over cards, where it is spread over several and not by layers.
pub(crate) const SPLIT_MODE: &str = "split_mode";
/// The shares of the cards, where they are not alike.
pub(crate) const TENSOR_SPLIT: &str = "tensor_split";
/// Tokens of a prompt that are computed at once, where they are not 512.
pub(crate) const CHUNK: &str = "prompt_chunk";
/// Products on the host stay there.
pub(crate) const NO_OFFLOAD: &str = "no_op_offload";
/// Which cores the engine's threads run on.
pub(crate) const CPU_MASK: &str = "cpu_mask";
/// Kernels that were chosen by an option.
pub(crate) const KERNELS: &str = "kernels";
/// Several tokens a step by guessing: the method, or `yes`.
pub(crate) const SPECULATION: &str = "speculation";
/// The model that guesses.
pub(crate) const DRAFT_MODEL: &str = "draft_model";
/// Tokens that are guessed at once.
pub(crate) const DRAFT_TOKENS: &str = "draft_tokens";
/// Cards that the experts are spread over, where they are.
pub(crate) const EXPERT_PARALLEL: &str = "expert_parallel";
/// Copies of the model that share the load.
pub(crate) const DATA_PARALLEL: &str = "data_parallel";
/// Attention is computed for different sequences on different cards.
pub(crate) const DP_ATTENTION: &str = "dp_attention";
/// Cards that the context is spread over while decoding.
pub(crate) const DECODE_CONTEXT_PARALLEL: &str = "decode_context_parallel";
/// Cards that the context is spread over during prefills.
pub(crate) const PREFILL_CONTEXT_PARALLEL: &str = "prefill_context_parallel";
/// Cards that the layers are spread over one behind the other.
pub(crate) const PIPELINE_PARALLEL: &str = "pipeline_parallel";
/// Several machines serve one model.
pub(crate) const MULTINODE: &str = "multinode";
/// The cluster that the cards stand in, where a file names it.
pub(crate) const CLUSTER: &str = "cluster";
/// Most sequences that a server runs together.
pub(crate) const MAX_SEQUENCES: &str = "max_sequences";
/// Most tokens of a step of a server.
pub(crate) const MAX_BATCHED_TOKENS: &str = "max_batched_tokens";
/// Graphs of kernels are not used.
pub(crate) const EAGER: &str = "eager";
/// A compiler that was used.
pub(crate) const COMPILER: &str = "compiler";
/// Implementation of attention, where one was asked for.
pub(crate) const ATTENTION: &str = "attention";

/// The settings of one record.
#[derive(Debug, Default)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Keeps a value that is there.
    pub(crate) fn put(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value.map(|value| value.to_string()).filter(|value| !value.is_empty()) {
            self.0.insert(name.to_string(), value);
        }
    }

    /// Keeps that something is so.
    pub(crate) fn flag(&mut self, name: &str, is_so: bool) {
        self.put(name, is_so.then_some("yes"));
    }

    /// Keeps a number of things that are one where nothing is special.
    pub(crate) fn above_one(&mut self, name: &str, count: Option<usize>) {
        self.put(name, count.filter(|count| *count > 1));
    }

    /// All of them.
    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}
