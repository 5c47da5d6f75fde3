//! One point of a sweep.

use super::quant::Quant;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What one measurement runs: a batch of prompts, prefilled and then decoded token by token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Case {
    /// Precision of the weights.
    pub quant: Quant,
    /// Sequences that run together.
    pub batch: usize,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens that each sequence generates; the first comes from the prefill.
    pub gen_tokens: usize,
}

/// The largest batch and the longest prompt or answer that a case can have: far above any model's, and so small that no
/// sum or product of two overflows.
const MOST: usize = 1 << 30;

impl Case {
    /// Whether it has sequences, in numbers and of lengths that can be: what a file says may be anything.
    pub fn is_possible(&self) -> bool {
        (1..=MOST).contains(&self.batch) && self.prompt_tokens <= MOST && self.gen_tokens <= MOST
    }

    /// The longest sequence of the case.
    pub fn context(&self) -> usize {
        self.prompt_tokens + self.gen_tokens
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { quant, batch, prompt_tokens, gen_tokens } = self;
        f.pad(&format!("{quant} b{batch} p{prompt_tokens} g{gen_tokens}"))
    }
}
