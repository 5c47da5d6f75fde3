//! The families of models, a file each.

use super::family::Family;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! families {
    ($($(#[$about:meta])* $module:ident: $variant:ident,)*) => {
        $(mod $module;)*

        /// The families of models that are known by their shape.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
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
    /// Llama 1 to 3, TinyLlama, SmolLM.
    llama: Llama,
    /// Mistral 7B: Llama with an optional sliding window.
    mistral: Mistral,
    /// Qwen 2 and 2.5: Llama with a bias on query, key and value.
    qwen2: Qwen2,
    /// Qwen 3: Llama with a norm on each query and key head.
    qwen3: Qwen3,
    /// Gemma 1: gated by GELU, with a large vocabulary.
    gemma: Gemma,
    /// Gemma 2: the same with a norm behind attention and feed-forward too.
    gemma2: Gemma2,
    /// Gemma 3 (text): Gemma 2 without its bounds, five of six layers with a window.
    gemma3: Gemma3,
    /// Phi 3 and 4: query, key and value in one matrix, gate and up in another.
    phi3: Phi3,
    /// BERT and what is built like it: an encoder of texts, norms behind its parts.
    bert: Bert,
    /// ViT and DeiT: an encoder of images cut into patches, norms before its parts.
    vit: Vit,
}
