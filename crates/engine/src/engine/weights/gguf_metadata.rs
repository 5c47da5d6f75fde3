//! The metadata of a GGUF file as a model shape, and what it asks for that the engine does not do.

use super::gguf::gguf_name;
use super::gguf_header::TensorEntry;
use crate::workload::model::family::GgufRules;
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::names::is_qkv_bias;
use crate::workload::model::tensors::TensorName;
use crate::workload::{Architecture, ModelShape, RopeScaling};
use candle_core::quantized::gguf_file::Value;
use std::collections::HashMap;

/// The metadata as a model shape.
pub(super) struct Metadata<'a> {
    pub values: &'a HashMap<String, Value>,
    pub tensors: &'a HashMap<String, TensorEntry>,
}

fn number_of(value: &Value) -> Option<f64> {
    use Value::*;
    Some(match value {
        U8(v) => *v as f64,
        I8(v) => *v as f64,
        U16(v) => *v as f64,
        I16(v) => *v as f64,
        U32(v) => *v as f64,
        I32(v) => *v as f64,
        U64(v) => *v as f64,
        I64(v) => *v as f64,
        F32(v) => *v as f64,
        F64(v) => *v,
        Bool(flag) => *flag as u8 as f64,
        _ => return None,
    })
}

/// A whole number.
pub(super) fn whole(value: &Value) -> Option<usize> {
    number_of(value).filter(|value| *value >= 0.0 && value.fract() == 0.0 && *value < 1e15).map(|value| value as usize)
}

/// Numbers that change what a network computes and that the engine does not follow, and the value with which they change
/// nothing; 0 is none of any. Without the name of the architecture before them.
fn neutral(shape: &ModelShape) -> [(&'static str, f64); 18] {
    let head = shape.head_dim as f64;
    [
        ("attention.value_length", head),
        ("attention.scale", head.sqrt().recip()),
        ("logit_scale", 1.0),
        ("residual_scale", 1.0),
        ("embedding_scale", 1.0),
        ("attn_logit_softcapping", 0.0),
        ("final_logit_softcapping", 0.0),
        ("attention.clamp_kqv", 0.0),
        ("attention.max_alibi_bias", 0.0),
        ("attention.kv_lora_rank", 0.0),
        ("attention.q_lora_rank", 0.0),
        ("attention.shared_kv_layers", 0.0),
        ("attention.temperature_scale", 0.0),
        ("attention.chunk_size", 0.0),
        ("use_parallel_residual", 0.0),
        ("expert_count", 0.0),
        ("rope.scaling.attn_factor", 1.0),
        (LOCAL_THETA, shape.rope_theta),
    ]
}

/// The base of the rotary frequencies of layers with a window.
const LOCAL_THETA: &str = "rope.freq_base_swa";

/// How files of a family are read.
fn rules(architecture: Architecture) -> Result<&'static GgufRules, String> {
    let rules = architecture.family().gguf.as_ref();
    rules.ok_or_else(|| format!("architecture `{architecture}` is not read from GGUF files"))
}

impl Metadata<'_> {
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let found = match value {
            // A number for each layer is the number of all where they agree.
            Value::Array(numbers) => {
                let numbers: Option<Vec<f64>> = numbers.iter().map(number_of).collect();
                match numbers.as_deref() {
                    Some([first, others @ ..]) if others.iter().all(|other| other == first) => Some(*first),
                    Some([_, ..]) => {
                        return Err(format!("metadata `{key}` differs between layers, which is not supported"));
                    }
                    _ => None,
                }
            }
            value => number_of(value),
        };
        found.map(Some).ok_or_else(|| format!("metadata `{key}` is not a number"))
    }

    /// A whole number, where there is one.
    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, String> {
        match self.number(key)? {
            None => Ok(None),
            Some(v) if v >= 0.0 && v.fract() == 0.0 && v < 1e15 => Ok(Some(v as usize)),
            Some(v) => Err(format!("metadata `{key}` is {v}, which is not a size")),
        }
    }

    fn required(&self, key: &str) -> Result<usize, String> {
        self.size(key)?.ok_or_else(|| format!("metadata `{key}` is missing"))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(|v| v.to_string().ok()).map(String::as_str)
    }

    fn has(&self, architecture: Architecture, name: TensorName) -> bool {
        self.tensors.contains_key(&gguf_name(architecture, name))
    }

    /// Whether it is of a family that the engine runs, without experts.
    pub(super) fn is_of_one_that_runs(&self) -> bool {
        let Some(arch) = self.text("general.architecture") else { return true };
        let is_plain = !self.number(&format!("{arch}.expert_count")).is_ok_and(|count| count.unwrap_or(0.0) > 0.0);
        let named = Architecture::ALL.iter().find(|architecture| architecture.name() == arch);
        named.is_some_and(|architecture| architecture.family().runs && is_plain)
    }

    /// The shape of a model that is to run. The error names the key that is missing, wrong, or asks for what the engine does
    /// not do.
    pub(crate) fn shape(&self) -> Result<ModelShape, String> {
        if let Some(kind) = self.text("general.type").filter(|kind| *kind != "model") {
            return Err(format!("`general.type` is {kind}: the file holds no model by itself"));
        }
        let arch = self.text("general.architecture").ok_or("metadata `general.architecture` is missing")?;
        let architecture = Architecture::from_name(arch)?;
        let key = |name: &str| format!("{arch}.{name}");
        if self.number(&key("expert_count"))?.unwrap_or(0.0) > 0.0 {
            return Err(format!("mixtures of experts are not supported (metadata `{}`)", key("expert_count")));
        }
        let shape = self.sizes(architecture, &key)?;
        shape.validate()?;
        self.refuse_unsupported(&shape, &key)?;
        Ok(shape)
    }

    fn sizes(&self, architecture: Architecture, key: &dyn Fn(&str) -> String) -> Result<ModelShape, String> {
        let rules = rules(architecture)?;
        let hidden_size = self.required(&key("embedding_length"))?;
        let heads = self.required(&key("attention.head_count"))?;
        let head_dim = match self.size(&key("attention.key_length"))? {
            Some(dim) => dim,
            None => hidden_size.checked_div(heads).ok_or("attention.head_count is 0")?,
        };
        let rotary = self.size(&key("rope.dimension_count"))?.unwrap_or(head_dim);
        if rotary != head_dim {
            return Err(format!(
                "{rotary} of {head_dim} dimensions of a head are rotary; only all of them are supported"
            ));
        }
        let embedding = gguf_name(architecture, TensorName::TokenEmbedding);
        let vocab_size = match self.tensors.get(&embedding).map(|entry| entry.dims.as_slice()) {
            Some([vocab, _]) => *vocab,
            Some(dims) => return Err(format!("tensor `{embedding}` has the shape {dims:?}, not a matrix")),
            None => return Err(format!("tensor `{embedding}` is missing")),
        };
        let eps = key("attention.layer_norm_rms_epsilon");
        let mut shape = ModelShape {
            hidden_size,
            intermediate_size: self.required(&key("feed_forward_length"))?,
            layers: self.required(&key("block_count"))?,
            heads,
            kv_heads: self.size(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head_dim,
            vocab_size,
            max_context: self.size(&key("context_length"))?.unwrap_or(2048),
            norm_eps: self.number(&eps)?.ok_or_else(|| format!("metadata `{eps}` is missing"))?,
            rope_theta: self.number(&key("rope.freq_base"))?.unwrap_or(10000.0),
            rope_scaling: self.rope_scaling(key)?,
            tied_embeddings: !self.has(architecture, TensorName::Output),
            qkv_bias: self.tensors.keys().any(|name| is_qkv_bias(name)),
            sliding_window: self.size(&key("attention.sliding_window"))?.filter(|w| *w > 0),
            ..ModelShape::of(architecture)
        };
        if rules.follows.contains(&LOCAL_THETA) {
            shape.local_rope_theta = self.number(&key(LOCAL_THETA))?;
            let pattern = key("attention.sliding_window_pattern");
            if !matches!(self.values.get(&pattern), Some(Value::Array(_))) {
                let kinds = |every| LayerKinds::last_of(every, LayerKind::Window, LayerKind::Full);
                shape.layer_kinds = self.size(&pattern)?.map(kinds).transpose()?;
            }
        }
        (rules.more)(&mut shape);
        Ok(shape)
    }

    fn refuse_unsupported(&self, shape: &ModelShape, key: &dyn Fn(&str) -> String) -> Result<(), String> {
        let follows = rules(shape.architecture)?.follows;
        for (name, neutral) in neutral(shape).into_iter().filter(|(name, _)| !follows.contains(name)) {
            let Some(value) = self.number(&key(name))?.filter(|value| *value != 0.0) else { continue };
            if (value - neutral).abs() > 1e-4 * neutral {
                let name = key(name);
                return Err(format!(
                    "metadata `{name}` {value} is not supported: the engine would run another network than the file has"
                ));
            }
        }
        if self.number(&key("attention.causal"))? == Some(0.0) {
            return Err(format!("metadata `{}` false is not supported", key("attention.causal")));
        }
        let sections = key("rope.dimension_sections");
        if self.values.contains_key(&sections) {
            return Err(format!("metadata `{sections}` is not supported: all dimensions of a head are turned alike"));
        }
        self.check_window(shape, &key("attention.sliding_window_pattern"))
    }

    /// A window is of all layers: a pattern must say so of each.
    fn check_window(&self, shape: &ModelShape, key: &str) -> Result<(), String> {
        let (Some(window), Some(pattern)) = (shape.sliding_window, self.values.get(key)) else { return Ok(()) };
        if let Some(every) = shape.layer_kinds.as_ref().and_then(LayerKinds::last_differs) {
            let windowed = |index: usize| f64::from(u8::from(!(index + 1).is_multiple_of(every)));
            let of_layers = |layers: &[Value]| {
                layers.len() == shape.layers
                    && layers.iter().enumerate().all(|(index, layer)| number_of(layer) == Some(windowed(index)))
            };
            let as_known = match pattern {
                Value::Array(layers) => of_layers(layers),
                number => number_of(number) == Some(every as f64),
            };
            return if as_known {
                Ok(())
            } else {
                Err(format!(
                    "metadata `{key}` {pattern:?} is not supported: of {every} layers the last attends to everything"
                ))
            };
        }
        let of_all =
            matches!(pattern, Value::Array(layers) if layers.iter().all(|layer| number_of(layer) == Some(1.0)));
        if window >= shape.max_context || of_all {
            Ok(())
        } else {
            Err(format!(
                "metadata `{key}` {pattern:?} is not supported: a window of attention ({window}) is of all layers or of none"
            ))
        }
    }

    fn rope_scaling(&self, key: &dyn Fn(&str) -> String) -> Result<Option<RopeScaling>, String> {
        let factor = match self.number(&key("rope.scaling.factor"))? {
            Some(factor) => Some(factor),
            None => self.number(&key("rope.scale_linear"))?,
        };
        match (self.text(&key("rope.scaling.type")), factor) {
            (None | Some("none"), None) => Ok(None),
            (Some("none"), _) => Ok(None),
            (None | Some("linear"), Some(factor)) => Ok(Some(RopeScaling::Linear { factor })),
            (Some("linear"), None) => Err(format!("metadata `{}` is missing", key("rope.scaling.factor"))),
            (Some(other), _) => {
                let key = key("rope.scaling.type");
                Err(format!("rope scaling `{other}` (metadata `{key}`) is not supported; `linear` and Llama 3's are"))
            }
        }
    }
}
