//! The decoder on a card as a model of the scheduler, with as many places in its cache as memory allows.

use super::buffers::Extent;
use super::{CudaModel, or_lost};
use crate::device::cuda::CudaError;
use crate::engine::EngineError;
use crate::engine::scheduler::{BatchModel, Segment};

/// A decoder with room for sequences that come and go.
pub struct CudaBatch {
    decoder: CudaModel,
    extent: Extent,
}

impl CudaBatch {
    /// Takes `decoder` and gives it room. Every kernel of a pass is loaded.
    pub(super) fn new(decoder: CudaModel, extent: Extent) -> Result<Self, CudaError> {
        let mut batch = Self { decoder, extent };
        batch.make_room()?;
        Ok(batch)
    }

    fn make_room(&mut self) -> Result<(), CudaError> {
        self.decoder.allocate_for(self.extent)?;
        self.decoder.rehearse_passes()
    }
}

impl BatchModel for CudaBatch {
    fn slots(&self) -> usize {
        self.extent.sequences
    }

    fn slot_tokens(&self) -> usize {
        self.extent.capacity
    }

    fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, EngineError> {
        self.decoder.pass(segments).map_err(|error| or_lost(error.into(), self.decoder.card()))
    }

    /// New room, and one token through all of it.
    fn recover(&mut self) -> Result<(), EngineError> {
        let first = Segment { row: 0, past: 0, tokens: &[0], sampled: true };
        let tried = self.make_room().and_then(|()| self.decoder.pass(&[first]));
        tried.map(|_| ()).map_err(|error| or_lost(error.into(), self.decoder.card()))
    }
}
