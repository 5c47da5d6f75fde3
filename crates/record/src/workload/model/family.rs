//! What a family of models is: the keys of its files, the names of its tensors, and the parts that its models are made of.
//! Each stands in a file of its own in `families/`.

pub use crate::workload::task::Task;

use super::config::keys::Keys;
pub use super::families::Architecture;
use super::parts::Parts;
use super::shape::ModelShape;
use super::tensors::TensorName;
use crate::data_file::nearest;
use std::fmt;

/// A family of models.
pub struct Family {
    /// The name in GGUF files (`general.architecture`), in presets and in records.
    pub name: &'static str,
    /// The names in config.json (`model_type`).
    pub model_types: &'static [&'static str],
    /// The names in a `vision_config`, of encoders that stand before a model of text.
    pub vision_types: &'static [&'static str],
    /// What its models do.
    pub task: Task,
    /// The engine runs it; the others can be sized and projected from what others measured.
    pub runs: bool,
    /// How its config.json is read.
    pub config: Config,
    /// How its GGUF files are read; `None` where it is read from checkpoints only.
    pub gguf: Option<GgufRules>,
    /// The name of a tensor in a checkpoint of Hugging Face; `None` of one that its models do not have.
    pub hugging_face: fn(TensorName) -> Option<String>,
    /// What checkpoints add to weights of norms: 1 where they hold the difference from it.
    pub norm_offset: f32,
    /// What its models are made of.
    pub parts: fn(&ModelShape) -> Parts,
}

/// How the config.json of a family is read.
pub enum Config {
    /// By the keys that decoders share, and these rules.
    Decoder(DecoderRules),
    /// By keys of its own, after what the reader of encoders refuses.
    Encoder(fn(&Keys<'_>) -> Result<ModelShape, String>),
}

/// What a config.json of a family of decoders means where it is silent, and what its models do that others do not.
pub struct DecoderRules {
    /// Width of a head in the Python tools; `None` is the hidden width by the number of heads.
    pub head_dim: Option<usize>,
    /// The longest context in the Python tools.
    pub max_context: usize,
    /// There is a head of keys for each of queries where the number of key heads is not named.
    pub all_kv_heads: bool,
    /// The output matrix is the token embedding.
    pub tied: bool,
    /// Query, key and value have a bias.
    pub qkv_bias: bool,
    /// Each query and key head has its own norm.
    pub qk_norm: bool,
    /// Which layers `sliding_window` is of.
    pub window: WindowRule,
    /// What a file of it need not say because the Python tools know it.
    pub defaults: &'static [(&'static str, usize)],
    /// A file of it has no `intermediate_size`: no layer has a plain feed-forward part.
    pub no_dense_width: bool,
    /// Names of the activation that it has.
    pub activations: &'static [&'static str],
    /// Keys that are refused elsewhere and that this family follows.
    pub follows: &'static [&'static str],
    /// Reads what no other family has.
    pub more: fn(&Keys<'_>, &mut ModelShape) -> Result<(), String>,
}

/// What most families of decoders do.
pub const LIKE_LLAMA: DecoderRules = DecoderRules {
    head_dim: None,
    max_context: 2048,
    all_kv_heads: true,
    tied: false,
    qkv_bias: false,
    qk_norm: false,
    window: WindowRule::Never,
    defaults: &[],
    no_dense_width: false,
    activations: &["silu", "swish"],
    follows: &[],
    more: |_, _| Ok(()),
};

/// Which layers a `sliding_window` in a config.json is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRule {
    /// None: a model of the family has no window.
    Never,
    /// All.
    All,
    /// Those that `use_sliding_window` and `max_window_layers` say.
    Switched,
    /// Some, by a pattern that [`DecoderRules::more`] reads.
    Pattern,
}

/// How GGUF files of a family are read.
pub struct GgufRules {
    /// The name of a tensor; `None` of one that its models do not have.
    pub name: fn(TensorName) -> Option<String>,
    /// Rows of query and key are stored with the two halves of a rotary pair next to each other.
    pub paired_rows: bool,
    /// Fills in what the metadata does not say because readers know it of the family.
    pub more: fn(&mut ModelShape),
    /// Metadata that is refused elsewhere and that this family follows, without the name of the architecture before it.
    pub follows: &'static [&'static str],
}

/// The families that `choose` keeps, by name, as messages list them.
fn listed(choose: impl Fn(&Family) -> bool) -> String {
    let chosen = Architecture::ALL.iter().map(|architecture| architecture.family()).filter(|family| choose(family));
    chosen.map(|family| family.name).collect::<Vec<_>>().join(", ")
}

impl Architecture {
    /// What models of it do.
    pub fn task(self) -> Task {
        self.family().task
    }

    /// The name in GGUF files (`general.architecture`), in presets and in records.
    pub fn name(self) -> &'static str {
        self.family().name
    }

    /// Whether models of it turn a whole input into one result, without generating tokens.
    pub fn is_encoder(self) -> bool {
        !self.task().generates()
    }

    /// That no family has this name, with the nearest that one has and where those that are known are listed.
    pub fn unknown(name: &str) -> String {
        let names = Self::ALL.iter().flat_map(|architecture| {
            let family = architecture.family();
            family.model_types.iter().copied().chain(std::iter::once(family.name))
        });
        let hint = nearest(name, names).map_or(String::new(), |near| format!("did you mean `{near}`? "));
        format!("architecture `{name}` is not known; {hint}known are {}", Self::sized())
    }

    /// The architecture that a config.json calls `model_type`.
    pub fn of_model_type(model_type: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|architecture| architecture.family().model_types.contains(&model_type))
    }

    /// The encoder of images that a `vision_config` calls `model_type`.
    pub fn of_vision_config(model_type: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|architecture| architecture.family().vision_types.contains(&model_type))
    }

    /// Decoders that the engine runs, as messages list them.
    pub fn runnable_decoders() -> String {
        listed(|family| family.runs && family.task.generates())
    }

    /// Encoders that the engine runs, as messages list them.
    pub fn runnable_encoders() -> String {
        listed(|family| family.runs && !family.task.generates())
    }

    /// All whose sizes follow from a config.json, as messages list them.
    pub fn sized() -> String {
        listed(|_| true)
    }

    /// The decoder of this name, of a GGUF file or a `model_type`, that the engine runs, or a message that lists those that it
    /// does.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let named = |architecture: &&Self| {
            let family = architecture.family();
            family.runs && (family.name == name || family.model_types.contains(&name))
        };
        match Self::ALL.iter().find(named) {
            Some(architecture) if architecture.is_encoder() => Err(format!(
                "architecture `{name}` is an encoder, which generates no text: `run`, `profile` and `rank` measure it from a \
                 preset or a folder with config.json and safetensors files, on the CPU"
            )),
            Some(architecture) => Ok(*architecture),
            None => Err(Self::not_supported(name)),
        }
    }

    /// That the engine does not run an architecture, and which it does.
    pub fn not_supported(name: &str) -> String {
        format!(
            "architecture `{name}` is not supported; supported are {}, and of encoders {}",
            Self::runnable_decoders(),
            Self::runnable_encoders()
        )
    }

    /// Whether every model of it has a bias on query, key and value.
    pub fn has_qkv_bias(self) -> bool {
        matches!(&self.family().config, Config::Decoder(rules) if rules.qkv_bias)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_records_are_those_of_the_families() {
        for architecture in Architecture::ALL {
            assert_eq!(serde_json::to_value(architecture).unwrap(), architecture.name());
            assert!(
                architecture
                    .family()
                    .model_types
                    .iter()
                    .all(|name| Architecture::of_model_type(name) == Some(*architecture))
            );
        }
    }
}
