//! The decoder on a card as a language model: logits at any place of a batch, mean hidden states, greedy text.

use super::buffers::Extent;
use super::generate::DecodeGraph;
use super::products::Width;
use super::{CudaModel, or_lost};
use crate::device::cuda::{Card, CudaError};
use crate::engine::EngineError;
use crate::engine::language::{HeldWeights, LanguageModel, SequencePosition, TakeLogits, padded, rows_of};
use crate::units::Bytes;
use crate::workload::Encoding;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Logits that are in memory at once.
const MOST_LOGITS: usize = 16 << 20;

/// What the buffers are allocated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AllocatedFor {
    Nothing,
    /// Logits and hidden states of so many sequences of up to so many tokens.
    Logits(usize, usize),
}

/// A decoder on a card with the weights of one variant.
pub struct CudaLanguageModel {
    decoder: CudaModel,
    allocated: AllocatedFor,
    notes: Vec<String>,
}

impl CudaLanguageModel {
    pub(super) fn new(decoder: CudaModel, notes: Vec<String>) -> Self {
        Self { decoder, allocated: AllocatedFor::Nothing, notes }
    }

    fn card(&self) -> Arc<Card> {
        self.decoder.card().clone()
    }

    /// Rows whose logits are made at once.
    pub(super) fn rows_at_once(vocab: usize) -> usize {
        (MOST_LOGITS / vocab.max(1)).clamp(1, 4096)
    }

    fn allocate(&mut self, batch: usize, length: usize) -> Result<(), CudaError> {
        if matches!(self.allocated, AllocatedFor::Logits(rows, known) if rows == batch && known >= length) {
            return Ok(());
        }
        self.allocated = AllocatedFor::Nothing;
        let logits = (Self::rows_at_once(self.decoder.shape().vocab_size).min(batch * length), Width::Single);
        let widest = self.decoder.widest();
        let (sequences, rows) = (batch, batch * length);
        self.decoder.allocate_for(Extent { sequences, capacity: length, rows, logits, gathers: true, widest })?;
        self.allocated = AllocatedFor::Logits(batch, length);
        Ok(())
    }

    /// Runs all sequences as rows of one length. Gives the length.
    fn run(&mut self, sequences: &[Vec<u32>]) -> Result<usize, CudaError> {
        let (flat, longest) = padded(sequences);
        self.allocate(sequences.len(), longest)?;
        self.decoder.set_ids(&flat)?;
        self.decoder.run_hidden(longest)?;
        Ok(longest)
    }

    fn take_logits(
        &mut self,
        sequences: &[Vec<u32>],
        places: &[SequencePosition],
        take: TakeLogits<'_>,
    ) -> Result<(), CudaError> {
        let longest = self.run(sequences)?;
        let at_once = self.decoder.buffers()?.extent.logits.0;
        for (chunk, places) in places.chunks(at_once).enumerate() {
            take(chunk * at_once, &self.decoder.logits_of(&rows_of(places, longest))?);
        }
        Ok(())
    }

    fn means(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, CudaError> {
        let longest = self.run(sequences)?;
        let width = self.decoder.shape().hidden_size;
        let hidden = self.decoder.hidden(sequences.len() * longest)?;
        let of = |(index, sequence): (usize, &Vec<u32>)| {
            let rows = &hidden[index * longest * width..][..sequence.len() * width];
            let mut mean = vec![0f32; width];
            for row in rows.chunks_exact(width) {
                mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            mean.iter_mut().for_each(|sum| *sum /= sequence.len().max(1) as f32);
            mean
        };
        Ok(sequences.iter().enumerate().map(of).collect())
    }
}

impl LanguageModel for CudaLanguageModel {
    fn vocab_size(&self) -> usize {
        self.decoder.shape().vocab_size
    }

    fn max_context(&self) -> usize {
        self.decoder.shape().max_context
    }

    fn logits(
        &mut self,
        sequences: &[Vec<u32>],
        places: &[SequencePosition],
        take: TakeLogits<'_>,
    ) -> Result<(), EngineError> {
        if places.is_empty() {
            return Ok(());
        }
        let card = self.card();
        self.take_logits(sequences, places, take).map_err(|error| or_lost(error.into(), &card))
    }

    fn embed(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        let card = self.card();
        self.means(sequences).map_err(|error| or_lost(error.into(), &card))
    }

    fn generate(&mut self, prompts: &[Vec<u32>], tokens: usize) -> Result<Vec<Vec<u32>>, EngineError> {
        let Some(first) = prompts.first().filter(|_| tokens > 0) else { return Ok(vec![Vec::new(); prompts.len()]) };
        let card = self.card();
        self.allocated = AllocatedFor::Nothing;
        let mut go_on = || ControlFlow::Continue(());
        let mut generate = || {
            self.decoder.allocate(prompts.len(), first.len() + tokens, first.len())?;
            DecodeGraph::new(&card, prompts.len())?.generate(&mut self.decoder, prompts, tokens, &mut go_on)
        };
        generate().map(|made| made.tokens).map_err(|error: EngineError| or_lost(error, &card))
    }
}

impl HeldWeights for CudaLanguageModel {
    fn matrix_bytes(&self) -> Bytes {
        self.decoder.matrix_bytes()
    }

    fn stored(&self) -> Vec<(Encoding, usize)> {
        self.decoder.model.stored()
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}
