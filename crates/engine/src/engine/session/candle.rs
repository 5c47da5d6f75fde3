//! The candle engine: one decoder for the Llama family, on the CPU by the project's kernels, or by candle's own ones on
//! the CPU or a card; [`crate::engine::backend::cuda`] has it on NVIDIA cards by the project's kernels.

use super::batch::CandleBatch;
use super::generate;
use super::language::CandleLanguageModel;
use crate::device::cuda::Card;
use crate::device::memory;
use crate::engine::backend::ops::{Compute, Kernels};
use crate::engine::model::Decoder;
use crate::engine::model::prune;
use crate::engine::weights::{self as source, OpenedModel};
use crate::engine::{Engine, EngineError, Generated, Prepared, Step};
use crate::units::Bytes;
use crate::workload::rounding::Scheme;
use crate::workload::{CacheType, Case, Encoding, ModelShape, Pruning, Quant};
use candle_core::{DType, Device};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The version of candle that the engine is built on, as in Cargo.lock.
pub const CANDLE_VERSION: &str = env!("SIZEWELL_CANDLE_VERSION");

/// What to do where candle cannot compute on cards.
const NO_BACKEND: &str =
    "candle's own kernels for cards are not in this program: build it with --features cuda (scripts/cuda-toolkit)";

/// Memory that is left to the rest of the system before a case is refused.
pub(in crate::engine) const RESERVE: Bytes = Bytes((256 << 20) as f64);

/// The engine, with at most one level of weights in memory.
pub struct CandleEngine {
    model: OpenedModel,
    kernels: Kernels,
    device: Device,
    /// The card that `device` is.
    card: Option<Arc<Card>>,
    loaded: Option<(Quant, Decoder)>,
    on_load: Box<dyn FnMut(usize, usize) + Send>,
}

impl CandleEngine {
    /// An engine for `model` on the CPU, with nothing loaded yet.
    pub fn new(model: OpenedModel, kernels: Kernels) -> Self {
        Self { model, kernels, device: Device::Cpu, card: None, loaded: None, on_load: Box::new(|_, _| ()) }
    }

    /// An engine by candle's own kernels on `card`: an error in a program without candle's CUDA backend.
    pub fn on_card(model: OpenedModel, card: Arc<Card>) -> Result<Self, EngineError> {
        if !candle_core::utils::cuda_is_available() {
            return Err(EngineError::Unsupported(NO_BACKEND.to_string()));
        }
        let device = Device::new_cuda(card.facts.index).map_err(failed)?;
        Ok(Self { device, card: Some(card), ..Self::new(model, Kernels::Candle) })
    }

    /// The model.
    pub fn model(&self) -> &OpenedModel {
        &self.model
    }

    fn load(&mut self, quant: Quant) -> Result<(), EngineError> {
        self.loaded = None;
        match &self.card {
            Some(card) => card.trim()?,
            None => memory::return_freed_memory(),
        }
        self.model.weights.check_quant(quant).map_err(EngineError::Unsupported)?;
        let model = |e: source::ModelError| EngineError::Model(e.to_string());
        let divisors = self.model.weights.rope_divisors().map_err(model)?;
        if let Some(count) = divisors.as_ref().map(Vec::len).filter(|n| *n != self.model.shape.head_dim / 2) {
            return Err(EngineError::Model(format!("rope_freqs.weight has {count} numbers, not half a head")));
        }
        let compute = self.compute(quant);
        let weights = self.model.weights.as_mut();
        let on_load = self.on_load.as_mut();
        let shape = &self.model.shape;
        let decoder = Device::Cpu
            .with_context(|| Decoder::load(shape, weights, quant, divisors, compute, on_load))
            .map_err(model)?;
        self.loaded = Some((quant, decoder));
        Ok(())
    }

    /// The model at `quant`, pruned first where that is asked for, to ask for probabilities. `calibration` is the text
    /// that Wanda weighs activations by, as sequences of one length.
    pub fn language_model(
        &mut self,
        quant: Quant,
        pruning: Option<&Pruning>,
        calibration: &[Vec<u32>],
    ) -> Result<CandleLanguageModel, EngineError> {
        let longest = self.model.shape.max_context.min(1024);
        // Weights are pruned at the precision of the file, and only then stored at that of the variant.
        let scheme = quant.scheme();
        let dense = match (pruning, scheme) {
            (Some(_), Some(_)) => {
                return Err(EngineError::Unsupported(format!("a pruned model is not rounded as {quant} has it")));
            }
            (Some(_), None) => self.model.weights.native_quant().unwrap_or(quant),
            (None, Some(_)) => Quant::F32,
            (None, None) => quant,
        };
        let case = Case::new(if scheme.is_some() { dense } else { quant }, 8, longest - 1, 1);
        let (needed, available) = self.memory(&case);
        if needed.0 > available.0 {
            return Err(EngineError::DoesNotFit { needed, available });
        }
        self.load(dense).map_err(|error| self.explained(error, &case))?;
        let Some((_, mut decoder)) = self.loaded.take() else {
            return Err(EngineError::Failed("no weights are loaded".to_string()));
        };
        let zeros = match pruning {
            Some(pruning) => prune::prune(&mut decoder, pruning, calibration, quant).map_err(failed)?,
            None => 0,
        };
        let notes = match (pruning, scheme) {
            (Some(_), _) => Vec::new(),
            (None, Some(scheme)) => {
                prune::simulate(&mut decoder, &scheme).map_err(failed)?;
                vec![simulated(&scheme)]
            }
            (None, None) => encoding_notes(quant, &decoder.encodings),
        };
        Ok(CandleLanguageModel::new(decoder, self.device.clone(), notes, zeros))
    }

    /// The model at `quant` with places for up to `most_slots` sequences of `slot_tokens` positions each, as many as memory
    /// allows, for the scheduler. Says whether memory allowed fewer.
    pub fn batch_model(
        mut self,
        quant: Quant,
        most_slots: usize,
        slot_tokens: usize,
        prefill_chunk: usize,
    ) -> Result<(CandleBatch, bool), EngineError> {
        let shape = &self.model.shape;
        if slot_tokens > shape.max_context {
            return Err(EngineError::Unsupported(format!(
                "{slot_tokens} tokens exceed the model's context of {}",
                shape.max_context
            )));
        }
        // A pass holds the activations of a chunk, not those of whole prompts.
        let case = |slots: usize| {
            let prompt = prefill_chunk.div_ceil(slots).clamp(1, slot_tokens.max(2) - 1);
            Case::new(quant, slots, prompt, slot_tokens - prompt)
        };
        let fits = |slots: &usize| {
            let (needed, available) = self.memory(&case(*slots));
            needed.0 <= available.0
        };
        let Some(slots) = (1..=most_slots).rev().find(fits) else {
            let (needed, available) = self.memory(&case(1));
            return Err(EngineError::DoesNotFit { needed, available });
        };
        self.load(quant).map_err(|error| self.explained(error, &case(slots)))?;
        let Some((_, decoder)) = self.loaded.take() else {
            return Err(EngineError::Failed("no weights are loaded".to_string()));
        };
        let kind = self.cache_type(quant);
        let place = (self.device.clone(), self.card.clone());
        let batch = CandleBatch::new(decoder, place, (slots, slot_tokens), kind).map_err(failed)?;
        Ok((batch, slots < most_slots))
    }

    fn compute(&self, quant: Quant) -> Compute {
        match self.kernels {
            Kernels::Own => Compute::own(),
            Kernels::Candle => Compute::candle(&self.device, quant),
        }
    }

    /// The precision of the key-value cache where a case names none: 16 bits, but for weights in 32.
    fn cache_type(&self, quant: Quant) -> CacheType {
        match (self.kernels, self.compute(quant).dtype) {
            (Kernels::Own, _) => CacheType::usual(quant),
            (Kernels::Candle, DType::F32) => CacheType::F32,
            (Kernels::Candle, _) => CacheType::F16,
        }
    }

    /// About what a case needs beyond what is loaded already: weights, candle's repacked copy of them, cache,
    /// activations of the prefill; and what there is.
    fn memory(&self, case: &Case) -> (Bytes, Bytes) {
        let shape = &self.model.shape;
        let on_card = self.card.is_some();
        let weights = |quant| match (on_card, self.kernels) {
            (false, Kernels::Candle) => repacked_bytes(shape, quant),
            _ => shape.weight_bytes(quant).0,
        };
        let free = match self.card.as_ref().map(|card| card.memory()) {
            Some(memory) => memory.map_or(Bytes(f64::INFINITY), |(free, _)| free),
            None => memory::available(),
        };
        let available = Bytes(free.0 + self.loaded.as_ref().map_or(0.0, |(quant, _)| weights(*quant)));
        let prompt = case.prompt_tokens() as f64;
        // candle's kernels keep the scores of all heads at once, and copies of them.
        let scores = if self.kernels == Kernels::Candle { 3.0 * shape.heads as f64 * prompt * prompt } else { 0.0 };
        let activations = 4.0
            * case.batch as f64
            * (prompt * (6 * shape.hidden_size + 3 * shape.intermediate_size) as f64
                + scores
                + shape.vocab_size as f64);
        let kind = case.cache.unwrap_or(self.cache_type(case.quant));
        let cache = shape.whole_cache_bytes(case.batch, case.context(), kind).0;
        (Bytes(weights(case.quant) + cache + activations) + RESERVE, available)
    }

    /// An error of candle while `case` was run: a full card is known by the driver's word for it.
    fn explained(&self, error: EngineError, case: &Case) -> EngineError {
        match &error {
            EngineError::Failed(why) if why.contains("OUT_OF_MEMORY") || why.contains("out of memory") => {
                let (needed, available) = self.memory(case);
                // It was more than was counted, if what was counted would have fitted.
                EngineError::DoesNotFit { needed: Bytes(needed.0.max(available.0)), available }
            }
            _ => match &self.card {
                Some(card) => or_lost(error, card),
                None => error,
            },
        }
    }

    /// Remarks on the encodings that the loaded weights got.
    fn notes(&self) -> Vec<String> {
        let Some((quant, decoder)) = &self.loaded else { return Vec::new() };
        encoding_notes(*quant, &decoder.encodings)
    }
}

/// What a simulated level is.
fn simulated(scheme: &Scheme) -> String {
    let of_activations = if scheme.activations.is_some() { " and what they are multiplied with" } else { "" };
    format!("weights of all blocks{of_activations} rounded as the level has them, and computed in f32")
}

/// Remarks on matrices whose encoding is not the usual one of `quant`.
pub(in crate::engine) fn encoding_notes(quant: Quant, encodings: &[(Encoding, usize)]) -> Vec<String> {
    let total: usize = encodings.iter().map(|(_, count)| count).sum();
    let nominal = quant.nominal_encoding();
    let mut notes: Vec<String> = encodings
        .iter()
        .filter(|(encoding, _)| *encoding != nominal)
        .map(|(encoding, count)| format!("{encoding} instead of {nominal} in {count} of {total} matrices"))
        .collect();
    notes.sort();
    notes
}

/// Bytes that weights take once candle's own products have run: it keeps a repacked copy of `Q8_0` (as large) and of `Q4_K`
/// (6 bits a weight) beside the original.
fn repacked_bytes(shape: &ModelShape, quant: Quant) -> f64 {
    let stored = shape.weight_bytes(quant).0;
    match quant.nominal_encoding() {
        Encoding::Q8_0 => stored * 2.0,
        Encoding::Q4K => stored * (1.0 + 6.0 / 4.5),
        _ => stored,
    }
}

/// What an error of candle says, without the stack trace that it may carry.
pub(in crate::engine) fn failed(error: candle_core::Error) -> EngineError {
    EngineError::Failed(error.to_string().lines().next().unwrap_or_default().to_string())
}

/// `error`, or that `card` is lost where it is: the words of a library do not always tell.
pub(in crate::engine) fn or_lost(error: EngineError, card: &Card) -> EngineError {
    match error {
        EngineError::Failed(why) => match card.lost() {
            Some(lost) => EngineError::DeviceLost(format!("{why}; the card is lost: {lost}")),
            None => EngineError::Failed(why),
        },
        other => other,
    }
}

impl Engine for CandleEngine {
    fn prepare(&mut self, case: &Case) -> Result<Prepared, EngineError> {
        let shape = &self.model.shape;
        if case.context() > shape.max_context {
            return Err(EngineError::Unsupported(format!(
                "{} prompt and {} generated tokens exceed the model's context of {}",
                case.prompt_tokens(),
                case.gen_tokens(),
                shape.max_context
            )));
        }
        let kind = self.cache_type(case.quant);
        if self.kernels == Kernels::Candle && case.cache.is_some_and(|cache| cache != kind) {
            return Err(EngineError::Unsupported(format!("candle's own kernels keep keys and values in {kind} here")));
        }
        let kind = case.cache.unwrap_or(kind);
        let (needed, available) = self.memory(case);
        if needed.0 > available.0 {
            return Err(EngineError::DoesNotFit { needed, available });
        }
        let loaded = self.loaded.as_ref().is_none_or(|(quant, _)| *quant != case.quant);
        if loaded {
            self.load(case.quant).map_err(|error| self.explained(error, case))?;
        }
        let shape = self.model.shape.clone();
        let notes = self.notes();
        let Some((_, decoder)) = &mut self.loaded else {
            return Err(EngineError::Failed("no weights are loaded".to_string()));
        };
        // The last token is generated but never fed back.
        let allocated = decoder.allocate(case.batch, case.context() - 1, kind).map_err(failed);
        let (weight_bytes, decode_weight_bytes) = (decoder.matrix_bytes(), decoder.decode_matrix_bytes());
        allocated.map_err(|error| self.explained(error, case))?;
        Ok(Prepared {
            loaded,
            weight_bytes,
            decode_weight_bytes,
            cache_bytes: shape.whole_cache_bytes(case.batch, case.context() - 1, kind),
            cache_token_bytes: shape.whole_cache_bytes(1, 1, kind),
            notes,
            ..Prepared::default()
        })
    }

    fn iterate(&mut self, case: &Case, prompts: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError> {
        let Some((_, decoder)) = &mut self.loaded else {
            return Err(EngineError::Failed("iterate was called before prepare".to_string()));
        };
        decoder.reset();
        let device = &self.device;
        let generated = device.with_context(|| generate::generate(decoder, device, prompts, case.gen_tokens(), step));
        generated.map_err(|error| self.explained(error, case))
    }

    fn synchronize(&mut self) -> Result<(), EngineError> {
        self.device.synchronize().map_err(failed)
    }

    fn lost(&mut self) -> Option<String> {
        self.card.as_ref().and_then(|card| card.lost()).map(|error| error.to_string())
    }

    fn peak_device_memory(&mut self) -> Option<Bytes> {
        self.card.as_ref().and_then(|card| card.pool_peak().ok())
    }

    fn reset_peak_device_memory(&mut self) -> bool {
        self.card.as_ref().is_some_and(|card| card.reset_pool_peak().is_ok())
    }

    fn vocab_size(&self) -> usize {
        self.model.shape.vocab_size
    }

    fn on_load(&mut self, told: Box<dyn FnMut(usize, usize) + Send>) {
        self.on_load = told;
    }

    fn sample_text(&mut self, prompt: &str, tokens: usize) -> Option<String> {
        if self.model.synthetic {
            return None;
        }
        let tokenizer = self.model.tokenizer.as_ref()?;
        let (_, decoder) = self.loaded.as_mut()?;
        let mut ids = tokenizer.encode(prompt, true).ok()?.get_ids().to_vec();
        decoder.allocate(1, ids.len() + tokens, CacheType::F32).ok()?;
        let mut go_on = || ControlFlow::Continue(());
        let prompts = [ids.clone()];
        let device = &self.device;
        let generated =
            device.with_context(|| generate::generate(decoder, device, &prompts, tokens, &mut go_on)).ok()?;
        ids.extend_from_slice(&generated.tokens[0]);
        tokenizer.decode(&ids, true).ok()
    }
}
