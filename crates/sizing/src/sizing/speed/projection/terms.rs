//! The physical terms that times are sums of.

use super::card::Card;
use super::work::Work;
use crate::workload::{Arithmetic, Quant};

/// Most terms of a law.
pub const MOST: usize = 8;

/// Kernels that behave alike: products of 16-bit or 32-bit floats, and products of quantized weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelClass {
    /// Weights in 16 or 32 bits, or in 8 that are multiplied as they are.
    Dense,
    /// Weights in blocks of fewer bits.
    Quantized,
}

impl KernelClass {
    /// Of a level.
    pub fn of(quant: Quant) -> Self {
        match (quant, quant.arithmetic()) {
            (Quant::F32 | Quant::Bf16 | Quant::F16, _) | (_, Arithmetic::Fp8 | Arithmetic::Int8) => Self::Dense,
            _ => Self::Quantized,
        }
    }

    /// The name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Quantized => "quantized",
        }
    }
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// One token of each sequence.
    Decode,
    /// All prompts, to the first token.
    Prefill,
    /// One pass of an encoder or an image classifier.
    Pass,
}

/// Which terms a law has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Kernels.
    pub class: KernelClass,
    /// Phase.
    pub phase: Phase,
    /// Prompts that are long enough for attention to have terms of its own.
    pub long: bool,
}

/// A term: what people call it, its value in seconds before it is weighted, and whether it is time of launching kernels,
/// which the host has a share in. `None` where a figure of the card is not published.
pub struct Term {
    /// In words.
    pub name: &'static str,
    /// The host has a share in it.
    pub is_launch: bool,
    of: fn(&Card, &Work) -> Option<f64>,
}

const fn term(name: &'static str, is_launch: bool, of: fn(&Card, &Work) -> Option<f64>) -> Term {
    Term { name, is_launch, of }
}

const WEIGHTS: Term = term("weights / bandwidth", false, |card, work| Some(work.weight_bytes / card.bandwidth));
const LAYERS: Term = term("layers / clock", true, |card, work| Some(work.layers / card.ghz * 1e-6));
const UNPACKING: Term =
    term("weights / (multiprocessors x clock)", false, |card, work| Some(work.weight_bytes / (card.sm_ghz() * 1e9)));
const LAUNCHES: Term = term("layers without graphs", true, |card, work| {
    Some(if card.launches_graphs() { 0.0 } else { work.layers * 1e-6 })
});
const VOCABULARY: Term = term("vocabulary / clock", true, |card, work| Some(work.vocabulary / card.ghz * 1e-9));
const CACHE: Term = term("cache / bandwidth", false, |card, work| Some(work.cache_bytes / card.bandwidth));
const POSITIONS: Term =
    term("layers x positions / clock", false, |card, work| Some(work.layers * work.tokens / card.ghz * 1e-9));
const STEP: Term = term("a step", true, |_, _| Some(1e-3));
const SEQUENCES: Term = term("sequences / clock", false, |card, work| Some(work.batch / card.ghz * 1e-6));
const OPS: Term =
    term("operations / (multiprocessors x clock)", false, |card, work| Some(work.ops / (card.sm_ghz() * 1e12)));
const MATRIX_OPS: Term = term("operations / matrix rate", false, |card, work| Some(work.ops / card.fp16?));
const ENERGY: Term = term("operations x energy of one / board power", false, |card, work| {
    Some(card.energy_per_operation() * work.ops / (card.tdp_w? * 1e12))
});
const ATTENTION: Term = term("attention / (multiprocessors x clock)", false, |card, work| {
    Some(work.attention_ops / (card.sm_ghz() * 1e12))
});
const MATRIX_ATTENTION: Term =
    term("attention / matrix rate", false, |card, work| Some(work.attention_ops / card.fp16?));
const ACTIVATIONS: Term = term("activations / (multiprocessors x clock)", false, |card, work| {
    Some(work.activation_bytes / (card.sm_ghz() * 1e9))
});
const MOVED: Term = term("activations / bandwidth", false, |card, work| Some(work.activation_bytes / card.bandwidth));

static DECODE_QUANTIZED: [Term; 7] = [WEIGHTS, LAYERS, UNPACKING, LAUNCHES, VOCABULARY, CACHE, POSITIONS];
static DECODE_DENSE: [Term; 7] = [WEIGHTS, LAYERS, STEP, CACHE, POSITIONS, MATRIX_OPS, SEQUENCES];
static PREFILL_QUANTIZED: [Term; 5] = [OPS, LAYERS, WEIGHTS, MATRIX_OPS, ENERGY];
static PREFILL_LONG: [Term; 7] = [OPS, LAYERS, WEIGHTS, MATRIX_OPS, ENERGY, ATTENTION, ACTIVATIONS];
static PREFILL_DENSE: [Term; 6] = [MATRIX_OPS, LAYERS, WEIGHTS, STEP, ENERGY, MATRIX_ATTENTION];
static PASS: [Term; 6] = [MATRIX_OPS, LAYERS, WEIGHTS, STEP, ENERGY, MOVED];

impl Kind {
    /// The terms of the law.
    pub fn terms(self) -> &'static [Term] {
        match (self.phase, self.class, self.long) {
            (Phase::Decode, KernelClass::Quantized, _) => &DECODE_QUANTIZED,
            (Phase::Decode, KernelClass::Dense, _) => &DECODE_DENSE,
            (Phase::Prefill, KernelClass::Quantized, false) => &PREFILL_QUANTIZED,
            (Phase::Prefill, KernelClass::Quantized, true) => &PREFILL_LONG,
            (Phase::Prefill, KernelClass::Dense, _) => &PREFILL_DENSE,
            (Phase::Pass, ..) => &PASS,
        }
    }

    /// The values of the terms; `None` where a figure of the card is not published.
    pub fn values(self, card: &Card, work: &Work) -> Option<[f64; MOST]> {
        let mut values = [0.0; MOST];
        for (value, term) in values.iter_mut().zip(self.terms()) {
            *value = (term.of)(card, work)?;
        }
        Some(values)
    }
}

/// The least time that published peaks allow: the uncalibrated roofline.
pub fn roofline(card: &Card, phase: Phase, quant: Quant, work: &Work) -> Option<f64> {
    let memory = (work.weight_bytes + work.cache_bytes) / card.bandwidth;
    let rate = match quant {
        Quant::Bf16 => card.bf16,
        _ => card.fp16,
    };
    match phase {
        Phase::Decode => Some(memory),
        Phase::Prefill | Phase::Pass => Some(memory.max((work.ops + work.attention_ops) / rate?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_law_has_more_terms_than_there_is_room_for() {
        for class in [KernelClass::Dense, KernelClass::Quantized] {
            for phase in [Phase::Decode, Phase::Prefill, Phase::Pass] {
                for long in [false, true] {
                    let terms = Kind { class, phase, long }.terms();
                    assert!(terms.len() <= MOST);
                    let names: std::collections::BTreeSet<_> = terms.iter().map(|term| term.name).collect();
                    assert_eq!(names.len(), terms.len());
                }
            }
        }
    }
}
