//! Whether a case fits on the card, told before anything of it is loaded: a large model takes minutes to be read, and would
//! end where the memory does.

use super::buffers::{Extent, Sizes, widest};
use super::{CudaEngine, CudaModel};
use crate::device::cuda::CudaError;
use crate::engine::EngineError;
use crate::units::Bytes;
use crate::workload::{Case, Quant};

/// Memory that is left to the driver beside weights and buffers, for the code of kernels, recorded steps, and what pools
/// lose by handing out whole pages. A small card is not left without room for anything.
const MARGIN: Bytes = Bytes((256 << 20) as f64);
/// The most of a card that the margin takes.
const MARGIN_SHARE: f64 = 1.0 / 64.0;

/// The margin on a card with `total` bytes.
pub(super) fn margin(total: Bytes) -> Bytes {
    Bytes(MARGIN.0.min(total.0 * MARGIN_SHARE))
}

impl CudaEngine {
    /// What a case takes of the card: weights, cache and working space.
    pub fn needed(&self, case: &Case) -> Bytes {
        // The last token is generated but never fed back.
        let extent = Extent::of_batch(case.batch, case.context() - 1, case.prompt_tokens(), self.widest(case.quant));
        self.needed_for(case.quant, extent)
    }

    /// Numbers of the largest matrix of a level that many rows need widened.
    pub(super) fn widest(&self, quant: Quant) -> usize {
        let decoder = self.loaded.as_ref().filter(|(known, _)| *known == quant).map(|(_, decoder)| decoder);
        decoder.map_or_else(|| widest(&self.model.shape, quant), CudaModel::widest)
    }

    /// Weights of a level, and buffers.
    fn needed_for(&self, quant: Quant, extent: Extent) -> Bytes {
        let buffers = Sizes::new(&self.model.shape.parts(), self.card.facts.multiprocessors, extent).bytes();
        self.weights(quant) + Bytes(buffers as f64)
    }

    /// Bytes of the weights at a level: by the shape, unless a load has taught better. A file may store some matrices otherwise.
    fn weights(&self, quant: Quant) -> Bytes {
        self.learned.get(&quant).copied().unwrap_or_else(|| self.model.shape.weight_bytes(quant))
    }

    /// An error where a case does not fit. What is loaded by now makes way for it, and so is counted as free.
    pub(super) fn check_room(&self, case: &Case) -> Result<(), EngineError> {
        self.check_needed(self.needed(case))
    }

    /// The same of the weights of a level and buffers.
    pub(super) fn check_extent(&self, quant: Quant, extent: Extent) -> Result<(), EngineError> {
        self.check_needed(self.needed_for(quant, extent))
    }

    fn check_needed(&self, needed: Bytes) -> Result<(), EngineError> {
        let available = || -> Result<(Bytes, Bytes), CudaError> {
            let (free, total) = self.card.memory()?;
            Ok((free + self.card.held(), total))
        };
        let (seen, total) = available()?;
        let needed = needed + margin(total);
        if needed.0 <= seen.0 {
            return Ok(());
        }
        // The driver keeps what was freed for the next time that it is asked for.
        self.card.trim()?;
        let (available, _) = available()?;
        if needed.0 <= available.0 { Ok(()) } else { Err(EngineError::DoesNotFit { needed, available }) }
    }

    /// Remembers what the weights of a level take, as they are loaded and nothing else is.
    pub(super) fn learn(&mut self, quant: Quant) {
        self.learned.insert(quant, self.card.held());
    }

    /// Remembers that a load ended where the memory did: its weights are not read again on a card that has no more than now.
    pub(super) fn learn_of(&mut self, quant: Quant, error: &CudaError) {
        if let CudaError::OutOfMemory { asked, free, held, .. } = error {
            let least = held.0 + asked.0.max(free.0);
            self.learned.insert(quant, Bytes(least.max(self.weights(quant).0)));
        }
    }
}
