//! The decoder as a language model: logits at any place of a batch, mean hidden states, greedy text.

use super::candle::failed;
use super::generate;
use crate::engine::EngineError;
use crate::engine::backend::cpu::values::with_f32_values;
use crate::engine::language::{HeldWeights, LanguageModel, SequencePosition, TakeLogits, padded, rows_of};
use crate::engine::model::Decoder;
use crate::units::Bytes;
use crate::workload::{CacheType, Encoding};
use candle_core::{DType, Device, Result, Tensor};
use std::ops::ControlFlow;

/// Logits that are in memory at once.
const MOST_LOGITS: usize = 16 << 20;

/// A decoder with the weights of one variant.
pub struct CandleLanguageModel {
    decoder: Decoder,
    device: Device,
    /// Batch and capacity that the cache has.
    room: (usize, usize),
    /// Matrices that got another encoding than the level's own.
    pub notes: Vec<String>,
    /// Weights that pruning set to zero.
    pub zeros: usize,
}

impl CandleLanguageModel {
    pub(in crate::engine) fn new(decoder: Decoder, device: Device, notes: Vec<String>, zeros: usize) -> Self {
        Self { decoder, device, room: (0, 0), notes, zeros }
    }

    fn make_room(&mut self, batch: usize, length: usize) -> Result<()> {
        if self.room.0 == batch && self.room.1 >= length {
            self.decoder.reset();
            return Ok(());
        }
        self.room = (0, 0);
        self.decoder.allocate(batch, length, CacheType::F32)?;
        self.room = (batch, length);
        Ok(())
    }

    /// Hidden states of all sequences as rows of one length: `(sequences * longest, hidden)`.
    fn hidden(&mut self, sequences: &[Vec<u32>]) -> Result<(Tensor, usize)> {
        let (flat, longest) = padded(sequences);
        self.make_room(sequences.len(), longest)?;
        let input = Tensor::from_vec(flat, (sequences.len(), longest), &self.device)?;
        let hidden = self.decoder.hidden(&input)?;
        let width = hidden.dim(2)?;
        Ok((hidden.reshape((sequences.len() * longest, width))?, longest))
    }

    fn take_logits(&mut self, sequences: &[Vec<u32>], places: &[SequencePosition], take: TakeLogits<'_>) -> Result<()> {
        let (hidden, longest) = self.hidden(sequences)?;
        let vocab = self.vocab_size();
        let at_once = (MOST_LOGITS / vocab).clamp(1, 4096);
        for (chunk, places) in places.chunks(at_once).enumerate() {
            let rows = Tensor::from_vec(rows_of(places, longest), places.len(), &self.device)?;
            let logits = self.decoder.logits(&hidden.index_select(&rows, 0)?.unsqueeze(0)?)?;
            let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
            with_f32_values(&logits, |values| take(chunk * at_once, values))?;
        }
        Ok(())
    }

    fn means(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let (hidden, longest) = self.hidden(sequences)?;
        let hidden = hidden.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let each = sequences.iter().enumerate();
        each.map(|(index, sequence)| hidden.narrow(0, index * longest, sequence.len())?.mean(0)?.to_vec1()).collect()
    }
}

impl LanguageModel for CandleLanguageModel {
    fn vocab_size(&self) -> usize {
        self.decoder.shape.vocab_size
    }

    fn max_context(&self) -> usize {
        self.decoder.shape.max_context
    }

    fn logits(
        &mut self,
        sequences: &[Vec<u32>],
        places: &[SequencePosition],
        take: TakeLogits<'_>,
    ) -> std::result::Result<(), EngineError> {
        if places.is_empty() {
            return Ok(());
        }
        let device = self.device.clone();
        device.with_context(|| self.take_logits(sequences, places, take)).map_err(failed)
    }

    fn embed(&mut self, sequences: &[Vec<u32>]) -> std::result::Result<Vec<Vec<f32>>, EngineError> {
        let device = self.device.clone();
        device.with_context(|| self.means(sequences)).map_err(failed)
    }

    fn generate(&mut self, prompts: &[Vec<u32>], tokens: usize) -> std::result::Result<Vec<Vec<u32>>, EngineError> {
        let Some(first) = prompts.first() else { return Ok(Vec::new()) };
        self.make_room(prompts.len(), first.len() + tokens).map_err(failed)?;
        let device = self.device.clone();
        let mut go_on = || ControlFlow::Continue(());
        let made =
            device.with_context(|| generate::generate(&mut self.decoder, &device, prompts, tokens, &mut go_on))?;
        Ok(made.tokens)
    }
}

impl HeldWeights for CandleLanguageModel {
    fn matrix_bytes(&self) -> Bytes {
        self.decoder.matrix_bytes()
    }

    fn stored(&self) -> Vec<(Encoding, usize)> {
        self.decoder.stored()
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn zeros(&self) -> usize {
        self.zeros
    }
}
