//! The metadata of a GGUF file as the sizes of a model that the engine need not run. Keys are those of llama.cpp's converter
//! (gguf-py, constants.py); what they count is held against the tensors that the file has.

use super::gguf_metadata::Metadata;
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::sublayers::{ExpertsShape, IndexShape, LatentShape, LinearShape, StateSpaceShape};
use crate::workload::{Architecture, ModelShape};
use candle_core::quantized::gguf_file::Value;

/// How far the parameters by the sizes may be from the numbers that the tensors hold: files keep frequencies and biases that
/// are counted nowhere.
const MOST_DIFFERENCE: f64 = 0.005;

/// The most layers: their kinds are listed one by one before all sizes are checked.
const MOST_LAYERS: usize = 1 << 10;

/// The longest context, where a file does not say it.
const CONTEXT: usize = 2048;

impl Metadata<'_> {
    /// The sizes of a model of any family that is known. The error names the key that is missing, or says that the tensors of
    /// the file are others than its sizes.
    pub(super) fn described(&self) -> Result<ModelShape, String> {
        let arch = self.text("general.architecture").ok_or("metadata `general.architecture` is missing")?;
        let named = Architecture::ALL.iter().find(|known| known.name() == arch && known.family().gguf.is_some());
        let mut architecture = *named.ok_or_else(|| Architecture::unknown(arch))?;
        let key = |name: &str| format!("{arch}.{name}");
        let has_experts = self.largest(&key("expert_count"))?.unwrap_or(0) > 0;
        if has_experts && architecture == Architecture::Llama {
            // llama.cpp writes Mixtral as a Llama with experts.
            architecture = Architecture::Mixtral;
        }
        let mut shape = self.common(architecture, &key)?;
        shape.experts = if has_experts { Some(self.experts(&shape, &key)?) } else { None };
        self.attention(&mut shape, &key)?;
        self.states(&mut shape, &key)?;
        shape.validate()?;
        self.check_count(&shape)?;
        Ok(shape)
    }

    /// A whole number, the largest where there is one for each layer.
    fn largest(&self, key: &str) -> Result<Option<usize>, String> {
        match self.values.get(key) {
            Some(Value::Array(_)) => Ok(self.of_layers(key)?.into_iter().max()),
            _ => self.size(key),
        }
    }

    /// The numbers of all layers, where there is one for each.
    fn of_layers(&self, key: &str) -> Result<Vec<usize>, String> {
        let Some(Value::Array(values)) = self.values.get(key) else { return Ok(Vec::new()) };
        let sizes = values.iter().map(super::gguf_metadata::whole).collect::<Option<Vec<usize>>>();
        sizes.ok_or_else(|| format!("metadata `{key}` is not a list of sizes"))
    }

    fn needed(&self, key: &str) -> Result<usize, String> {
        self.largest(key)?.ok_or_else(|| format!("metadata `{key}` is missing"))
    }

    fn common(&self, architecture: Architecture, key: &dyn Fn(&str) -> String) -> Result<ModelShape, String> {
        let hidden_size = self.needed(&key("embedding_length"))?;
        let heads = self.needed(&key("attention.head_count"))?;
        let by_heads = hidden_size.checked_div(heads).ok_or("attention.head_count is 0")?;
        let head_dim = self.size(&key("attention.key_length"))?.unwrap_or(by_heads);
        let rotary = self.size(&key("rope.dimension_count"))?.filter(|dims| *dims > 0 && *dims < head_dim);
        let eps = ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"];
        let eps = eps.iter().find_map(|name| self.number(&key(name)).ok().flatten());
        let embedding = self.tensors.get("token_embd.weight").and_then(|entry| entry.dims.first().copied());
        let has = |name: &str| self.tensors.contains_key(name);
        Ok(ModelShape {
            hidden_size,
            // A file in which every layer has experts need not have it.
            intermediate_size: self
                .largest(&key("feed_forward_length"))?
                .or(self.size(&key("expert_feed_forward_length"))?)
                .ok_or_else(|| format!("metadata `{}` is missing", key("feed_forward_length")))?,
            layers: match self.needed(&key("block_count"))? {
                layers if layers <= MOST_LAYERS => layers,
                layers => {
                    return Err(format!(
                        "metadata `{}` is {layers}; it must be at most {MOST_LAYERS}",
                        key("block_count")
                    ));
                }
            },
            heads,
            kv_heads: self.largest(&key("attention.head_count_kv"))?.filter(|heads| *heads > 0).unwrap_or(heads),
            head_dim,
            vocab_size: match embedding {
                Some(rows) => rows,
                None => self.needed(&key("vocab_size"))?,
            },
            max_context: self.size(&key("context_length"))?.unwrap_or(CONTEXT),
            norm_eps: eps.unwrap_or(1e-6),
            rope_theta: self.number(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            tied_embeddings: !has("output.weight"),
            qkv_bias: has("blk.0.attn_q.bias"),
            qk_norm: self.tensors.keys().any(|name| name.ends_with(".attn_q_norm.weight")),
            rotary_dim: rotary,
            ..ModelShape::of(architecture)
        })
    }

    fn experts(&self, shape: &ModelShape, key: &dyn Fn(&str) -> String) -> Result<ExpertsShape, String> {
        let width = self.size(&key("expert_feed_forward_length"))?.unwrap_or(shape.intermediate_size);
        let shared = self.size(&key("expert_shared_count"))?.unwrap_or(0);
        let shared_width = match self.size(&key("expert_shared_feed_forward_length"))? {
            Some(width) => width,
            // Llama 4 has one beside its experts, and does not say so.
            None if shape.architecture == Architecture::Llama4 => width,
            None => shared.saturating_mul(width),
        };
        Ok(ExpertsShape {
            count: self.needed(&key("expert_count"))?,
            active: self.needed(&key("expert_used_count"))?,
            width,
            shared_width,
            shared_gate: self.tensors.keys().any(|name| name.ends_with(".ffn_gate_inp_shexp.weight")),
            dense_layers: self.size(&key("leading_dense_block_count"))?.unwrap_or(0),
            every: self.size(&key("interleave_moe_layer_step"))?.filter(|every| *every > 0).unwrap_or(1),
        })
    }

    /// Latent attention, and layers that see a window.
    fn attention(&self, shape: &mut ModelShape, key: &dyn Fn(&str) -> String) -> Result<(), String> {
        if let Some(key_value_rank) = self.size(&key("attention.kv_lora_rank"))?.filter(|rank| *rank > 0) {
            // Newer files keep the widths of the small vectors under the plain names, and those of heads under these.
            let of_heads = |name: &str, plain: &str| match self.size(&key(name)) {
                Ok(None) => self.needed(&key(plain)),
                found => found.and_then(|found| found.ok_or_else(|| format!("metadata `{}` is missing", key(name)))),
            };
            let head_dim = of_heads("attention.key_length_mla", "attention.key_length")?;
            let rotary_dim = self.needed(&key("rope.dimension_count"))?;
            shape.latent = Some(LatentShape {
                query_rank: self.size(&key("attention.q_lora_rank"))?.filter(|rank| *rank > 0),
                key_value_rank,
                plain_dim: head_dim.checked_sub(rotary_dim).ok_or("rope.dimension_count is wider than a head")?,
                rotary_dim,
                value_dim: of_heads("attention.value_length_mla", "attention.value_length")?,
                index: self.index(key)?,
            });
            (shape.head_dim, shape.kv_heads, shape.rotary_dim, shape.qk_norm) = (head_dim, shape.heads, None, false);
        }
        let window = match self.size(&key("attention.sliding_window"))? {
            None => self.size(&key("attention.chunk_size"))?,
            window => window,
        };
        shape.sliding_window = window.filter(|window| *window > 0);
        shape.layer_kinds = match (shape.architecture, shape.sliding_window) {
            // What llama.cpp knows of a family without being told.
            (Architecture::Gemma2 | Architecture::GptOss, Some(_)) => Some("wf".parse()?),
            (Architecture::Cohere2, Some(_)) => Some("wwwn".parse()?),
            (Architecture::Olmo3, Some(_)) => Some("wwwf".parse()?),
            (Architecture::Gemma3, Some(_)) => Some("wwwwwf".parse()?),
            (Architecture::Llama4, Some(_)) => Some("cccn".parse()?),
            (Architecture::Llama4, None) => {
                shape.sliding_window = Some(CHUNK_OF_LLAMA_4);
                Some("cccn".parse()?)
            }
            (Architecture::SmolLm3, _) => Some("fffn".parse()?),
            _ => None,
        };
        Ok(())
    }

    fn index(&self, key: &dyn Fn(&str) -> String) -> Result<Option<IndexShape>, String> {
        let Some(heads) = self.size(&key("attention.indexer.head_count"))?.filter(|heads| *heads > 0) else {
            return Ok(None);
        };
        Ok(Some(IndexShape {
            heads,
            head_dim: self.needed(&key("attention.indexer.key_length"))?,
            positions: self.needed(&key("attention.indexer.top_k"))?,
        }))
    }

    /// Layers with a state: linear attention or state spaces, and which they are.
    fn states(&self, shape: &mut ModelShape, key: &dyn Fn(&str) -> String) -> Result<(), String> {
        let Some(state) = self.size(&key("ssm.state_size"))? else { return Ok(()) };
        let convolution = self.size(&key("ssm.conv_kernel"))?.unwrap_or(4);
        let (groups, heads) = (self.needed(&key("ssm.group_count"))?, self.needed(&key("ssm.time_step_rank"))?);
        let inner = self.needed(&key("ssm.inner_size"))?;
        let head_dim = inner.checked_div(heads).ok_or("ssm.time_step_rank is 0")?;
        if matches!(shape.architecture, Architecture::Qwen3Next | Architecture::Qwen35 | Architecture::Qwen35Moe) {
            let (key_dim, value_dim) = (state, head_dim);
            shape.linear = Some(LinearShape { key_heads: groups, value_heads: heads, key_dim, value_dim, convolution });
            let every = self.size(&key("full_attention_interval"))?.unwrap_or(4);
            shape.layer_kinds = Some(LayerKinds::last_of(every, LayerKind::Linear, LayerKind::Full)?);
            return Ok(());
        }
        shape.state_space = Some(StateSpaceShape { heads, head_dim, groups, state, convolution });
        // A layer with heads of keys has attention; one without either those or a feed-forward part keeps a state.
        let keys = self.of_layers(&key("attention.head_count_kv"))?;
        let wide = self.of_layers(&key("feed_forward_length"))?;
        let is_nemotron = shape.architecture == Architecture::NemotronH;
        let kind = |index: usize| match (keys.get(index).copied().unwrap_or(0), wide.get(index).copied().unwrap_or(0)) {
            (0, wide) if wide > 0 && is_nemotron => {
                let is_routed = self.tensors.contains_key(&format!("blk.{index}.ffn_gate_inp.weight"));
                if is_routed { LayerKind::Experts } else { LayerKind::FeedForward }
            }
            (0, _) => LayerKind::StateSpace,
            _ => LayerKind::NoPositions,
        };
        shape.layer_kinds = Some(LayerKinds::of((0..shape.layers).map(kind).collect())?);
        Ok(())
    }

    /// That the sizes count what the tensors hold.
    fn check_count(&self, shape: &ModelShape) -> Result<(), String> {
        let held: f64 =
            self.tensors.values().map(|entry| entry.dims.iter().map(|dim| *dim as f64).product::<f64>()).sum();
        let counted = shape.parameters();
        if (held / counted - 1.0).abs() <= MOST_DIFFERENCE {
            Ok(())
        } else {
            Err(format!(
                "the tensors hold {held} numbers, but a model of `{}` with the sizes of the metadata {counted}: it is not \
                 described by what is known of the family",
                shape.architecture
            ))
        }
    }
}

/// Positions of a chunk of Llama 4, which its files may leave to the reader.
const CHUNK_OF_LLAMA_4: usize = 8192;
