//! The candle engine: one decoder for the Llama family, on the CPU; [`cuda`] has it on NVIDIA cards.

pub mod cpu;
pub mod cuda;
pub mod decoder;
pub mod greedy;
pub mod linear;
mod rope;
pub mod source;
pub mod threads;

use super::{Engine, EngineError, Generated, Prepared, Step};
use crate::device::memory;
use crate::units::Bytes;
use crate::workload::{Case, Encoding, ModelShape, Quant};
use candle_core::{Device, Tensor};
use decoder::{Decoder, Logits};
use greedy::greedy;
use source::OpenedModel;
use std::ops::ControlFlow;

/// The version of candle that the engine is built on, as in Cargo.lock.
pub const CANDLE_VERSION: &str = env!("SIZEWELL_CANDLE_VERSION");

/// Bytes of one number of the key-value cache: the CPU engine computes in `f32`.
const CACHE_ELEMENT_BYTES: usize = 4;

/// Memory that is left to the rest of the system before a case is refused.
const RESERVE: Bytes = Bytes((256 << 20) as f64);

/// The engine, with at most one level of weights in memory.
pub struct CandleEngine {
    model: OpenedModel,
    loaded: Option<(Quant, Decoder)>,
    on_load: Box<dyn FnMut(usize, usize) + Send>,
}

impl CandleEngine {
    /// An engine for `model`, with nothing loaded yet.
    pub fn new(model: OpenedModel) -> Self {
        Self { model, loaded: None, on_load: Box::new(|_, _| ()) }
    }

    /// The model.
    pub fn model(&self) -> &OpenedModel {
        &self.model
    }

    fn load(&mut self, quant: Quant) -> Result<(), EngineError> {
        self.loaded = None;
        memory::return_freed_memory();
        self.model.weights.check_quant(quant).map_err(EngineError::Unsupported)?;
        let model = |e: source::ModelError| EngineError::Model(e.to_string());
        let divisors = self.model.weights.rope_divisors().map_err(model)?;
        if let Some(count) = divisors.as_ref().map(Vec::len).filter(|n| *n != self.model.shape.head_dim / 2) {
            return Err(EngineError::Model(format!("rope_freqs.weight has {count} numbers, not half a head")));
        }
        let weights = self.model.weights.as_mut();
        let on_load = self.on_load.as_mut();
        let shape = &self.model.shape;
        let decoder =
            Device::Cpu.with_context(|| Decoder::load(shape, weights, quant, divisors, on_load)).map_err(model)?;
        self.loaded = Some((quant, decoder));
        Ok(())
    }

    /// About what a case needs beyond what is loaded already: weights, candle's repacked copy of them, cache,
    /// activations of the prefill.
    fn check_memory(&self, case: &Case) -> Result<(), EngineError> {
        let shape = &self.model.shape;
        let resident = self.loaded.as_ref().map_or(0.0, |(quant, _)| resident_bytes(shape, *quant));
        let available = Bytes(memory::available().0 + resident);
        let activations = 4.0
            * case.batch as f64
            * (case.prompt_tokens as f64 * (6 * shape.hidden_size + 3 * shape.intermediate_size) as f64
                + shape.vocab_size as f64);
        let cache = shape.kv_bytes(case.batch, case.context(), CACHE_ELEMENT_BYTES).0;
        let needed = Bytes(resident_bytes(shape, case.quant) + cache + activations) + RESERVE;
        match needed.0 <= available.0 {
            true => Ok(()),
            false => Err(EngineError::DoesNotFit { needed, available }),
        }
    }

    /// Remarks on the encodings that the loaded weights got.
    fn notes(&self) -> Vec<String> {
        let Some((quant, decoder)) = &self.loaded else { return Vec::new() };
        encoding_notes(*quant, &decoder.encodings)
    }
}

/// Remarks on matrices whose encoding is not the usual one of `quant`.
fn encoding_notes(quant: Quant, encodings: &[(Encoding, usize)]) -> Vec<String> {
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

/// Bytes that weights take once they have run: candle keeps a repacked copy of `Q8_0` (as large) and of `Q4_K`
/// (6 bits a weight) beside the original.
fn resident_bytes(shape: &ModelShape, quant: Quant) -> f64 {
    let stored = shape.weight_bytes(quant).0;
    match quant.nominal_encoding() {
        Encoding::Q8_0 => stored * 2.0,
        Encoding::Q4K => stored * (1.0 + 6.0 / 4.5),
        _ => stored,
    }
}

fn failed(error: candle_core::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}

/// Prefills `prompts` and decodes greedily until each sequence has `gen_tokens` tokens.
fn generate(
    decoder: &mut Decoder,
    prompts: &[Vec<u32>],
    gen_tokens: usize,
    step: &mut (dyn FnMut() -> ControlFlow<()> + Send),
) -> Result<Generated, EngineError> {
    let batch = prompts.len();
    let flat: Vec<u32> = prompts.concat();
    let shape = (batch, flat.len() / batch.max(1));
    let mut tokens = vec![Vec::with_capacity(gen_tokens); batch];
    let mut finite = true;
    let mut input = Tensor::from_vec(flat, shape, &Device::Cpu).map_err(failed)?;
    for _ in 0..gen_tokens {
        let logits = decoder.forward(&input, Logits::Last).map_err(failed)?;
        let picked = greedy(&logits).map_err(failed)?;
        finite &= picked.finite;
        for (sequence, token) in tokens.iter_mut().zip(&picked.tokens) {
            sequence.push(*token);
        }
        if step().is_break() {
            return Err(EngineError::Stopped);
        }
        input = Tensor::from_vec(picked.tokens, (batch, 1), &Device::Cpu).map_err(failed)?;
    }
    Ok(Generated { tokens, finite })
}

impl Engine for CandleEngine {
    fn prepare(&mut self, case: &Case) -> Result<Prepared, EngineError> {
        let shape = &self.model.shape;
        if case.context() > shape.max_context {
            return Err(EngineError::Unsupported(format!(
                "{} prompt and {} generated tokens exceed the model's context of {}",
                case.prompt_tokens, case.gen_tokens, shape.max_context
            )));
        }
        self.check_memory(case)?;
        let loaded = self.loaded.as_ref().is_none_or(|(quant, _)| *quant != case.quant);
        if loaded {
            self.load(case.quant)?;
        }
        let shape = self.model.shape.clone();
        let notes = self.notes();
        let Some((_, decoder)) = &mut self.loaded else {
            return Err(EngineError::Failed("no weights are loaded".to_string()));
        };
        // The last token is generated but never fed back.
        decoder.allocate(case.batch, case.context() - 1).map_err(failed)?;
        Ok(Prepared {
            loaded,
            weight_bytes: decoder.matrix_bytes(),
            decode_weight_bytes: decoder.decode_matrix_bytes(),
            cache_bytes: shape.kv_bytes(case.batch, case.context() - 1, CACHE_ELEMENT_BYTES),
            cache_element_bytes: CACHE_ELEMENT_BYTES,
            notes,
        })
    }

    fn iterate(&mut self, case: &Case, prompts: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError> {
        let Some((_, decoder)) = &mut self.loaded else {
            return Err(EngineError::Failed("iterate was called before prepare".to_string()));
        };
        decoder.reset();
        Device::Cpu.with_context(|| generate(decoder, prompts, case.gen_tokens, step))
    }

    fn synchronize(&mut self) -> Result<(), EngineError> {
        Device::Cpu.synchronize().map_err(failed)
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
        decoder.allocate(1, ids.len() + tokens).ok()?;
        let mut go_on = || ControlFlow::Continue(());
        let prompts = [ids.clone()];
        let generated = Device::Cpu.with_context(|| generate(decoder, &prompts, tokens, &mut go_on)).ok()?;
        ids.extend_from_slice(&generated.tokens[0]);
        tokenizer.decode(&ids, true).ok()
    }
}
