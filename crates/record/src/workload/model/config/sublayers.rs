//! Mixtures of experts, latent attention, states and kinds of layers as a config.json has them.

use super::keys::Keys;
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::sublayers::{ExpertsShape, IndexShape, LatentShape, LinearShape, StateSpaceShape};
use serde_json::Value;

/// The names of the keys of a mixture, which differ between families.
pub struct ExpertKeys {
    /// How many experts there are.
    pub count: &'static str,
    /// How many each token goes through.
    pub active: &'static str,
    /// Width of one.
    pub width: &'static str,
}

/// Qwen's.
pub const QWEN: ExpertKeys =
    ExpertKeys { count: "num_experts", active: "num_experts_per_tok", width: "moe_intermediate_size" };

/// DeepSeek's.
pub const DEEPSEEK: ExpertKeys =
    ExpertKeys { count: "n_routed_experts", active: "num_experts_per_tok", width: "moe_intermediate_size" };

/// Mixtral's.
pub const MIXTRAL: ExpertKeys =
    ExpertKeys { count: "num_local_experts", active: "num_experts_per_tok", width: "intermediate_size" };

/// Experts in every layer, none shared; `None` where the file says that there are none.
pub fn experts(keys: &Keys<'_>, names: &ExpertKeys) -> Result<Option<ExpertsShape>, String> {
    let count = keys.size(names.count, None)?;
    if count == 0 {
        return Ok(None);
    }
    let active = keys.size(names.active, None)?;
    let width = keys.size(names.width, None)?;
    Ok(Some(ExpertsShape { count, active, width, shared_width: 0, shared_gate: false, dense_layers: 0, every: 1 }))
}

/// The same with the shared ones of DeepSeek and what is built like it, and its dense layers at the beginning.
pub fn experts_of_deepseek(keys: &Keys<'_>) -> Result<Option<ExpertsShape>, String> {
    let Some(experts) = experts(keys, &DEEPSEEK)? else { return Ok(None) };
    if let Some(every) = keys.optional_size("moe_layer_freq")?.filter(|every| *every != 1) {
        return Err(format!(
            "`moe_layer_freq` is {every}; only 1, experts in every layer behind the dense ones, is known"
        ));
    }
    let shared = keys.size_within("n_shared_experts", Some(1), 1 << 10);
    let shared = if keys.optional_size("n_shared_experts")?.unwrap_or(0) == 0 { 0 } else { shared? };
    Ok(Some(ExpertsShape {
        shared_width: shared.saturating_mul(experts.width),
        dense_layers: keys.size("first_k_dense_replace", Some(0))?,
        ..experts
    }))
}

/// The same of Qwen: a layer has experts where `decoder_sparse_step` says so, unless it is among `mlp_only_layers`.
pub fn experts_of_qwen(keys: &Keys<'_>) -> Result<Option<ExpertsShape>, String> {
    let Some(experts) = experts(keys, &QWEN)? else { return Ok(None) };
    let every = keys.size("decoder_sparse_step", Some(1))?;
    let plain = match keys.get("mlp_only_layers") {
        None => Vec::new(),
        Some(Value::Array(layers)) => layers.clone(),
        Some(value) => return Err(format!("`mlp_only_layers` is {value}, not a list")),
    };
    // Plain layers at the beginning are known; others in between are not.
    let is_first = plain.iter().enumerate().all(|(index, layer)| layer.as_u64() == Some(index as u64));
    if !is_first {
        return Err("`mlp_only_layers` is not supported: only the first layers can be without experts".to_string());
    }
    let shared_width = keys.size("shared_expert_intermediate_size", Some(0))?;
    Ok(Some(ExpertsShape { shared_width, shared_gate: shared_width > 0, dense_layers: plain.len(), every, ..experts }))
}

/// Latent attention, with what chooses positions where the file has it.
pub fn latent(keys: &Keys<'_>) -> Result<LatentShape, String> {
    let index = match keys.optional_size("index_topk")? {
        Some(positions) => Some(IndexShape {
            heads: keys.size("index_n_heads", None)?,
            head_dim: keys.size("index_head_dim", None)?,
            positions,
        }),
        None => None,
    };
    Ok(LatentShape {
        query_rank: keys.optional_size("q_lora_rank")?,
        key_value_rank: keys.size("kv_lora_rank", None)?,
        plain_dim: keys.size("qk_nope_head_dim", None)?,
        rotary_dim: keys.size("qk_rope_head_dim", None)?,
        value_dim: keys.size("v_head_dim", None)?,
        index,
    })
}

/// Linear attention of Qwen3-Next and Qwen3.5.
pub fn linear(keys: &Keys<'_>) -> Result<LinearShape, String> {
    Ok(LinearShape {
        key_heads: keys.size("linear_num_key_heads", None)?,
        value_heads: keys.size("linear_num_value_heads", None)?,
        key_dim: keys.size("linear_key_head_dim", None)?,
        value_dim: keys.size("linear_value_head_dim", None)?,
        convolution: keys.size("linear_conv_kernel_dim", Some(4))?,
    })
}

/// State-space layers by the keys of Nemotron-H.
pub fn state_space_of_nemotron(keys: &Keys<'_>) -> Result<StateSpaceShape, String> {
    Ok(StateSpaceShape {
        heads: keys.size("mamba_num_heads", None)?,
        head_dim: keys.size("mamba_head_dim", None)?,
        groups: keys.size("n_groups", None)?,
        state: keys.size("ssm_state_size", None)?,
        convolution: keys.size("conv_kernel", Some(4))?,
    })
}

/// State-space layers by the keys of Granite 4.
pub fn state_space_of_granite(keys: &Keys<'_>) -> Result<StateSpaceShape, String> {
    Ok(StateSpaceShape {
        heads: keys.size("mamba_n_heads", None)?,
        head_dim: keys.size("mamba_d_head", None)?,
        groups: keys.size("mamba_n_groups", Some(1))?,
        state: keys.size("mamba_d_state", None)?,
        convolution: keys.size("mamba_d_conv", Some(4))?,
    })
}

/// The kinds that `layer_types` names, where the file lists them.
pub fn layer_kinds(keys: &Keys<'_>, layers: usize) -> Result<Option<LayerKinds>, String> {
    let Some(value) = keys.get("layer_types") else { return Ok(None) };
    let names = value.as_array().ok_or(format!("`layer_types` is {value}, not a list"))?;
    if names.len() != layers {
        return Err(format!("`layer_types` names {} layers, but `num_hidden_layers` is {layers}", names.len()));
    }
    let kind = |name: &Value| match name.as_str() {
        Some("full_attention" | "attention") => Ok(LayerKind::Full),
        Some("sliding_attention") => Ok(LayerKind::Window),
        Some("chunked_attention") => Ok(LayerKind::Chunk),
        Some("linear_attention") => Ok(LayerKind::Linear),
        Some("mamba" | "mamba2") => Ok(LayerKind::StateSpace),
        _ => Err(format!("`layer_types`: {name} is not a kind of layer that is known")),
    };
    LayerKinds::of(names.iter().map(kind).collect::<Result<_, _>>()?).map(Some)
}

/// Of so many layers the last has no positions, where a file does not list them (Llama 4, SmolLM3).
const NO_POSITIONS_EVERY: usize = 4;

/// Layers without positions, by `no_rope_layers` (0 where a layer has none) or else by their interval; the others are `turned`.
pub fn layers_without_positions(keys: &Keys<'_>, layers: usize, turned: LayerKind) -> Result<LayerKinds, String> {
    match keys.get("no_rope_layers").and_then(Value::as_array).filter(|listed| !listed.is_empty()) {
        Some(listed) if listed.len() == layers => {
            let kind = |layer: &Value| if layer.as_u64() == Some(0) { LayerKind::NoPositions } else { turned };
            LayerKinds::of(listed.iter().map(kind).collect())
        }
        Some(listed) => Err(format!("`no_rope_layers` names {} layers, but there are {layers}", listed.len())),
        None => {
            let every = keys.size("no_rope_layer_interval", Some(NO_POSITIONS_EVERY))?;
            LayerKinds::last_of(every, turned, LayerKind::NoPositions)
        }
    }
}

/// Windows in some layers: by `layer_types`, or else of `pattern` layers the last sees everything. Without a window all layers
/// are alike.
pub fn window_in_some(
    keys: &Keys<'_>,
    layers: usize,
    pattern: usize,
    last: LayerKind,
) -> Result<(Option<usize>, Option<LayerKinds>), String> {
    let Some(window) = keys.optional_size("sliding_window")? else { return Ok((None, None)) };
    let kinds = match layer_kinds(keys, layers)? {
        Some(kinds) => kinds,
        None => {
            let every = keys.size("sliding_window_pattern", Some(pattern))?;
            LayerKinds::last_of(every, LayerKind::Window, last)?
        }
    };
    Ok((Some(window), Some(kinds)))
}

/// Dimensions of a head that positions turn, by `partial_rotary_factor`; `None` where they are all.
pub fn rotary_dim(keys: &Keys<'_>, head_dim: usize, default: f64) -> Result<Option<usize>, String> {
    let within = ["rope_parameters", "rope_scaling"];
    let mut share = keys.optional_number("partial_rotary_factor")?;
    for name in within {
        if share.is_none()
            && let Some(object) = keys.get(name).and_then(Value::as_object)
        {
            share = object.get("partial_rotary_factor").and_then(Value::as_f64);
        }
    }
    let share = share.unwrap_or(default);
    if !(share > 0.0 && share <= 1.0) {
        return Err(format!("`partial_rotary_factor` is {share}; it must be above 0 and at most 1"));
    }
    let dims = (head_dim as f64 * share) as usize;
    Ok((dims != head_dim).then_some(dims))
}
