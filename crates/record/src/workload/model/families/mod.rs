//! The families of models, a file each.

use super::family::{Config, Family, LIKE_LLAMA, Task};
use super::{decoder, names};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// A family of decoders that is sized and not run, read from config.json and GGUF as Llama is: what its file leaves out.
const SIZED_DECODER: Family = Family {
    name: "",
    model_types: &[],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(LIKE_LLAMA),
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: decoder::parts,
};

/// The same of what is no decoder: its file says what it is for, how its config.json is read and what it is made of.
const SIZED_ENCODER: Family = Family { task: Task::Embed, gguf: None, hugging_face: |_| None, ..SIZED_DECODER };

macro_rules! families {
    ($($(#[$about:meta])* $module:ident: $variant:ident,)*) => {
        $(mod $module;)*

        /// The families of models that are known by their shape.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Architecture {
            $($(#[$about])* $variant,)*
        }

        impl Architecture {
            /// All, in the order that messages list them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What is known of it.
            pub fn family(self) -> &'static Family {
                match self {
                    $(Self::$variant => &$module::FAMILY,)*
                }
            }
        }
    };
}

families! {
    /// Llama 1 to 3, TinyLlama, SmolLM, Falcon 3.
    llama: Llama,
    /// Llama 4: experts, attention within chunks.
    llama4: Llama4,
    /// Mistral 7B: Llama with an optional sliding window.
    mistral: Mistral,
    /// Mixtral: Mistral with experts.
    mixtral: Mixtral,
    /// Qwen 2 and 2.5: Llama with a bias on query, key and value.
    qwen2: Qwen2,
    /// Qwen 1.5 and 2 with experts.
    qwen2moe: Qwen2Moe,
    /// Qwen 3: Llama with a norm on each query and key head.
    qwen3: Qwen3,
    /// Qwen 3 with experts.
    qwen3moe: Qwen3Moe,
    /// Qwen3-Next: linear attention in three of four layers, experts.
    qwen3next: Qwen3Next,
    /// Qwen 3.5: the same without experts.
    qwen35: Qwen35,
    /// Qwen 3.5 with experts.
    qwen35moe: Qwen35Moe,
    /// Gemma 1: gated by GELU, with a large vocabulary.
    gemma: Gemma,
    /// Gemma 2: the same with a norm behind attention and feed-forward too.
    gemma2: Gemma2,
    /// Gemma 3 (text): Gemma 2 without its bounds, five of six layers with a window.
    gemma3: Gemma3,
    /// Gemma 4: wider heads where layers see everything, inputs of each layer.
    gemma4: Gemma4,
    /// Phi 3 and 4: query, key and value in one matrix, gate and up in another.
    phi3: Phi3,
    /// Phi-3.5-MoE: experts, norms that take the mean away.
    phimoe: PhiMoe,
    /// GLM-4 of 2024.
    glm: Glm,
    /// GLM-4 from 0414 on: norms behind its parts too.
    glm4: Glm4,
    /// GLM-4.5 to 4.7: experts.
    glm4moe: Glm4Moe,
    /// GLM-5: latent attention to positions that are chosen, experts.
    glm5: Glm5,
    /// DeepSeek V2, V3, R1, Kimi K2: latent attention, experts.
    deepseek2: DeepSeek2,
    /// gpt-oss: experts, a window in every other layer.
    gptoss: GptOss,
    /// MiniMax-M2: experts.
    minimaxm2: MiniMaxM2,
    /// OLMo 2: norms behind its parts.
    olmo2: Olmo2,
    /// OLMo 3: the same with windows.
    olmo3: Olmo3,
    /// OLMoE: experts.
    olmoe: Olmoe,
    /// Granite 3.
    granite: Granite,
    /// Granite 3 with experts.
    granitemoe: GraniteMoe,
    /// Granite 4: state-space layers.
    granitehybrid: GraniteHybrid,
    /// SmolLM3: every fourth layer without positions.
    smollm3: SmolLm3,
    /// Command R: attention and feed-forward beside each other.
    cohere: Cohere,
    /// Command R7B and A: the same with windows.
    cohere2: Cohere2,
    /// Nemotron-H: state-space layers, attention and feed-forward apart.
    nemotronh: NemotronH,
    /// BERT and what is built like it: an encoder of texts, norms behind its parts.
    bert: Bert,
    /// RoBERTa and XLM-RoBERTa: BERT whose positions are counted from 2.
    xlmroberta: XlmRoberta,
    /// ModernBERT: windows, gated feed-forward parts.
    modernbert: ModernBert,
    /// nomic-embed-text.
    nomicbert: NomicBert,
    /// GTE v1.5.
    gte: Gte,
    /// Whisper: an encoder of speech and a decoder.
    whisper: Whisper,
    /// ResNet.
    resnet: ResNet,
    /// EfficientNet.
    efficientnet: EfficientNet,
    /// MobileNetV4 of convolutions.
    mobilenetv4: MobileNetV4,
    /// SigLIP: an encoder of images, pooled by attention.
    siglip: Siglip,
    /// CLIP: an encoder of images and one of texts.
    clip: Clip,
    /// Pixtral's encoder of images.
    pixtral: Pixtral,
    /// Llama 4's encoder of images.
    llama4vision: Llama4Vision,
    /// Qwen2.5-VL's encoder of images.
    qwen25vision: Qwen25Vision,
    /// The encoder of images of Qwen3-VL and Qwen 3.5.
    qwen3vision: Qwen3Vision,
    /// Gemma 4's encoder of images.
    gemma4vision: Gemma4Vision,
    /// ViT and DeiT: an encoder of images cut into patches, norms before its parts.
    vit: Vit,
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let found = Self::ALL.iter().copied().find(|architecture| architecture.name() == text);
        found.ok_or_else(|| serde::de::Error::custom(Self::unknown(&text)))
    }
}

impl JsonSchema for Architecture {
    fn schema_name() -> Cow<'static, str> {
        "Architecture".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Self::ALL.iter().map(|architecture| architecture.name()).collect();
        json_schema!({ "description": "The families of models that are known by their shape.", "enum": names })
    }
}
