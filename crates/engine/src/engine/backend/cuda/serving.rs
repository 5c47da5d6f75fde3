//! What the engine on a card becomes beside an engine of cases: a model of the scheduler, or one to ask for probabilities.

use super::buffers::Extent;
use super::products::Width;
use super::{CudaBatch, CudaEngine, CudaLanguageModel, check_shape, or_lost};
use crate::engine::EngineError;
use crate::engine::session::candle::encoding_notes;
use crate::workload::{Case, Pruning, Quant};

impl CudaEngine {
    /// The model at `quant` with places for up to `most_slots` sequences of `slot_tokens` positions each, as many as memory
    /// allows, for the scheduler. Says whether memory allowed fewer.
    pub fn batch_model(
        mut self,
        quant: Quant,
        most_slots: usize,
        slot_tokens: usize,
        prefill_chunk: usize,
    ) -> Result<(CudaBatch, bool), EngineError> {
        let most = self.model.shape.max_context;
        if slot_tokens > most {
            return Err(EngineError::Unsupported(format!("{slot_tokens} tokens exceed the model's context of {most}")));
        }
        check_shape(&self.model.shape)?;
        self.check_level(quant)?;
        let extent = |widest: usize, slots: usize| Extent {
            sequences: slots,
            capacity: slot_tokens,
            rows: slots + prefill_chunk,
            logits: (slots, Width::Half),
            gathers: true,
            widest,
        };
        let widest = self.widest(quant);
        let mut refused = None;
        let mut fits = |slots: &usize| match self.check_extent(quant, extent(widest, *slots)) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        };
        let Some(slots) = (1..=most_slots).rev().find(&mut fits) else {
            return Err(refused.unwrap_or(EngineError::Failed("no place was asked for".to_string())));
        };
        self.load(quant).map_err(|error| or_lost(error, &self.card))?;
        let Some((_, decoder)) = self.loaded.take() else {
            return Err(EngineError::Failed("no weights are loaded".to_string()));
        };
        let extent = extent(decoder.widest(), slots);
        let batch = CudaBatch::new(decoder, extent).map_err(|error| or_lost(error.into(), &self.card))?;
        Ok((batch, slots < most_slots))
    }

    /// The model at `quant`, to ask for probabilities. Pruning is not done on a card.
    pub fn language_model(
        &mut self,
        quant: Quant,
        pruning: Option<&Pruning>,
    ) -> Result<CudaLanguageModel, EngineError> {
        if pruning.is_some() {
            let why = "the CUDA kernels do not prune: leave out --device, or add --kernels candle";
            return Err(EngineError::Unsupported(why.to_string()));
        }
        check_shape(&self.model.shape)?;
        self.check_level(quant)?;
        let shape = &self.model.shape;
        self.check_room(&Case::new(quant, 8, shape.max_context.min(1024) - 1, 1))?;
        self.load(quant).map_err(|error| or_lost(error, &self.card))?;
        let Some((_, decoder)) = self.loaded.take() else {
            return Err(EngineError::Failed("no weights are loaded".to_string()));
        };
        let notes = encoding_notes(quant, decoder.encodings());
        Ok(CudaLanguageModel::new(decoder, notes))
    }
}
