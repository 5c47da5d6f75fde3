//! The candle decoder as a model of the scheduler, with as many places in its cache as memory allows.

use super::candle::or_lost;
use crate::device::cuda::Card;
use crate::engine::EngineError;
use crate::engine::backend::{greedy, ops};
use crate::engine::model::Decoder;
use crate::engine::scheduler::{BatchModel, Segment};
use crate::workload::CacheType;
use candle_core::{DType, Device};
use std::sync::Arc;

/// A decoder with an allocated cache.
pub struct CandleBatch {
    decoder: Decoder,
    device: Device,
    /// The card that `device` is.
    card: Option<Arc<Card>>,
    slots: usize,
    slot_tokens: usize,
    cache: CacheType,
}

impl CandleBatch {
    /// Takes `decoder` and gives it a cache with room for `slots` sequences of `slot_tokens` positions.
    pub(in crate::engine) fn new(
        mut decoder: Decoder,
        (device, card): (Device, Option<Arc<Card>>),
        (slots, slot_tokens): (usize, usize),
        cache: CacheType,
    ) -> candle_core::Result<Self> {
        device.with_context(|| decoder.allocate(slots, slot_tokens, cache))?;
        Ok(Self { decoder, device, card, slots, slot_tokens, cache })
    }

    fn tokens(&mut self, segments: &[Segment<'_>]) -> candle_core::Result<Vec<u32>> {
        let logits = self.decoder.forward_segments(segments)?;
        match (&self.device, logits.dtype()) {
            (Device::Cpu, DType::F32) => Ok(greedy::greedy(&logits)?.tokens),
            _ => ops::pick(&logits)?.0.flatten_all()?.to_vec1(),
        }
    }
}

impl BatchModel for CandleBatch {
    fn slots(&self) -> usize {
        self.slots
    }

    fn slot_tokens(&self) -> usize {
        self.slot_tokens
    }

    fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, EngineError> {
        let device = self.device.clone();
        let tokens = device.with_context(|| self.tokens(segments));
        let mut tokens = tokens.map_err(|error| {
            let error = EngineError::Failed(error.to_string());
            match &self.card {
                Some(card) => or_lost(error, card),
                None => error,
            }
        })?;
        // Where nothing is sampled the decoder makes one row of logits all the same.
        tokens.truncate(segments.iter().filter(|segment| segment.sampled).count());
        Ok(tokens)
    }

    /// A new cache, and one token through all of it: threads or locks that the panic took with it show here.
    fn recover(&mut self) -> Result<(), EngineError> {
        let device = self.device.clone();
        let first = Segment { row: 0, past: 0, tokens: &[0], sampled: true };
        let tried = device.with_context(|| {
            self.decoder.allocate(self.slots, self.slot_tokens, self.cache)?;
            self.tokens(&[first])
        });
        tried.map(|_| ()).map_err(|error| EngineError::Failed(error.to_string()))
    }
}
