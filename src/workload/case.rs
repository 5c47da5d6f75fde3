//! One point of a sweep.

use super::model::cache::CacheType;
use super::quant::Quant;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What one measurement runs: a batch of prompts, prefilled and then decoded token by token; or a batch of texts to embed,
/// or of images to classify, in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Case {
    /// Precision of the weights.
    pub quant: Quant,
    /// Sequences that run together.
    pub batch: usize,
    /// Tokens of each prompt or text; of an image, its patches and one more.
    pub prompt_tokens: usize,
    /// Tokens that each sequence generates; the first comes from the prefill. None where texts are embedded and images
    /// classified.
    pub gen_tokens: usize,
    /// Precision of the key-value cache; `None` is the engine's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheType>,
    /// Pixels of an image's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
}

/// The largest batch and the longest prompt or answer that a case can have: far above any model's, and so small that no
/// sum or product of two overflows.
const MOST: usize = 1 << 30;

impl Case {
    /// A batch of prompts with the engine's own cache.
    pub const fn new(quant: Quant, batch: usize, prompt_tokens: usize, gen_tokens: usize) -> Self {
        Self { quant, batch, prompt_tokens, gen_tokens, cache: None, image_size: None }
    }

    /// Times that one iteration takes: one for each token, or the one of a pass that generates nothing.
    pub fn steps(&self) -> usize {
        self.gen_tokens.max(1)
    }

    /// Level, batch, lengths and cache in one word, as `int8.b4.p128.g32`.
    pub fn id(&self) -> String {
        self.parts().join(".")
    }

    fn parts(&self) -> Vec<String> {
        let mut parts = vec![self.quant.to_string(), format!("b{}", self.batch)];
        match (self.image_size, self.gen_tokens) {
            (Some(side), _) => parts.push(format!("i{side}")),
            (None, 0) => parts.push(format!("p{}", self.prompt_tokens)),
            (None, generated) => parts.extend([format!("p{}", self.prompt_tokens), format!("g{generated}")]),
        }
        parts.extend(self.cache.map(|cache| format!("kv-{cache}")));
        parts
    }

    /// Whether it has sequences, in numbers and of lengths that can be: what a file says may be anything.
    pub fn is_possible(&self) -> bool {
        (1..=MOST).contains(&self.batch)
            && self.prompt_tokens <= MOST
            && self.gen_tokens <= MOST
            && self.image_size.is_none_or(|side| (1..=MOST).contains(&side))
    }

    /// The longest sequence of the case.
    pub fn context(&self) -> usize {
        self.prompt_tokens + self.gen_tokens
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.parts().join(" "))
    }
}
