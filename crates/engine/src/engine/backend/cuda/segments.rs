//! Pieces of sequences of different lengths in one pass, and the hidden states and logits of any of its rows. Products see
//! one long batch; attention sees the pieces, each behind what its row of the cache holds. Pieces with equally many tokens
//! that lie side by side are one launch: all that decode, for one.

use super::CudaModel;
use super::backend::{CardPass, CardRows};
use super::buffers::Extent;
use super::ops::Strided;
use crate::device::cuda::CudaError;
use crate::engine::backend::Selected;
use crate::engine::scheduler::Segment;

/// Sequences of one length within a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    /// The first of its rows in the pass.
    pub row: usize,
    /// The first of its sequences among the places.
    pub first: usize,
    pub sequences: usize,
    /// Tokens of each.
    pub seq: usize,
}

impl Group {
    /// A whole batch of prompts of one length, or of single tokens.
    pub(crate) fn of_batch(batch: usize, seq: usize) -> Self {
        Self { row: 0, first: 0, sequences: batch, seq }
    }

    /// The groups of pieces of so many tokens that lie one behind the other.
    pub(crate) fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        let mut row = 0;
        for (index, seq) in lengths.into_iter().enumerate() {
            match groups.last_mut().filter(|group| group.seq == seq) {
                Some(group) => group.sequences += 1,
                None => groups.push(Self { row, first: index, sequences: 1, seq }),
            }
            row += seq;
        }
        groups
    }
}

/// An error of what was asked, which no card could do.
fn wrong(why: String) -> CudaError {
    CudaError::Unsupported(why)
}

impl CudaModel {
    /// Runs pieces of sequences, each behind what its row of the cache holds, and gives the most probable token behind each
    /// piece that is sampled, in order.
    pub fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, CudaError> {
        let sampled = self.send(segments)?;
        let lengths = segments.iter().map(|segment| segment.tokens.len());
        let rows = lengths.clone().sum();
        self.run_pass(rows, CardPass { groups: Group::of_lengths(lengths) }, sampled.len())?;
        self.ids()?.download(sampled.len())
    }

    /// Checks the pieces and puts on the card what they are made of. Gives the rows whose logits are wanted.
    fn send(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, CudaError> {
        let vocabulary = self.shape().vocab_size;
        let buffers = self.buffers_mut()?;
        let Extent { sequences, capacity, rows: most, .. } = buffers.extent;
        let (mut ids, mut places, mut sampled) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            let count = segment.tokens.len();
            if count == 0 || segment.past + count > capacity || segment.row >= sequences {
                let end = segment.past + count;
                return Err(wrong(format!("{end} positions of row {} do not fit a cache of {capacity}", segment.row)));
            }
            if let Some(token) = segment.tokens.iter().find(|token| **token as usize >= vocabulary) {
                return Err(wrong(format!("there is no token {token} in a vocabulary of {vocabulary}")));
            }
            ids.extend_from_slice(segment.tokens);
            places.extend([segment.row as u32, segment.past as u32]);
            if segment.sampled {
                sampled.push(ids.len() as u32 - 1);
            }
        }
        if ids.is_empty() || ids.len() > most || segments.len() > sequences {
            return Err(wrong(format!(
                "a pass has 1 to {most} tokens of up to {sequences} sequences, not {} of {}",
                ids.len(),
                segments.len()
            )));
        }
        buffers.ids.upload(&ids)?;
        buffers.places.upload(&places)?;
        // Where every row is wanted, as when all decode, they lie where they are wanted.
        let is_all = sampled.len() == ids.len();
        if let Some((rows, _)) = buffers.picked.as_mut().filter(|_| !sampled.is_empty() && !is_all) {
            rows.upload(&sampled)?;
        }
        Ok(sampled)
    }

    /// The launches of a pass.
    fn run_pass(&mut self, rows: usize, pass: CardPass, sampled: usize) -> Result<(), CudaError> {
        let mut stream = self.model.run(&rows, &pass)?;
        if sampled == 0 {
            return Ok(());
        }
        let normed = self.model.finish(&mut stream, Selected::All)?;
        if sampled == rows { self.pick(&normed) } else { self.pick(&self.gathered(&normed, sampled)?) }
    }

    /// Loads every kernel of passes of up to all rows: of each number of rows that products tell apart, with and without
    /// prompts beside what decodes.
    pub(super) fn rehearse_passes(&mut self) -> Result<(), CudaError> {
        let most = self.buffers()?.extent.rows;
        self.rehearse_all(|model| {
            for rows in [1, 2, 3, 5, 17].into_iter().filter(|rows| *rows <= most) {
                model.run_pass(rows, CardPass::of_batch(rows, 1), rows)?;
                model.run_pass(rows, CardPass::of_batch(1, rows), 1)?;
            }
            Ok(())
        })
    }

    /// The normed rows whose numbers were sent, one behind the other.
    fn gathered(&self, normed: &CardRows, count: usize) -> Result<CardRows, CudaError> {
        let Some((numbers, rows)) = &self.buffers()?.picked else {
            return Err(wrong("no room was kept for rows that lie anywhere".to_string()));
        };
        let sizes = (count, normed.cols);
        // SAFETY: the numbers are of rows of the pass, and there is room for as many as get logits.
        unsafe { self.model.backend.ops.gather(rows.at(), normed.place.at, numbers.at(), sizes)? };
        Ok(CardRows { place: Strided { at: rows.at(), ..normed.place }, rows: count, ..*normed })
    }

    /// Runs the tokens that were set, `(batch, seq)`, from the beginning, and norms what the last block leaves.
    pub fn run_hidden(&mut self, seq: usize) -> Result<(), CudaError> {
        self.reset()?;
        let batch = self.buffers()?.extent.sequences;
        let mut stream = self.model.run(&(batch * seq), &CardPass::of_batch(batch, seq))?;
        self.finished = Some(self.model.finish(&mut stream, Selected::All)?);
        Ok(())
    }

    fn finished(&self) -> Result<CardRows, CudaError> {
        self.finished.ok_or_else(|| wrong("no tokens have been run".to_string()))
    }

    /// The normed states of the first `rows` rows that [`Self::run_hidden`] left, `(rows, hidden)`.
    pub fn hidden(&self, rows: usize) -> Result<Vec<f32>, CudaError> {
        let bits = self.buffers()?.normed.download::<u16>(rows * self.finished()?.cols)?;
        Ok(self.compute().values(&bits))
    }

    /// Logits in `f32` of some of the rows that [`Self::run_hidden`] left, as many at once as there is room for.
    pub fn logits_of(&mut self, rows: &[u32]) -> Result<Vec<f32>, CudaError> {
        let buffers = self.buffers_mut()?;
        let (most, tokens) = (buffers.extent.logits.0, buffers.extent.rows);
        if rows.len() > most || rows.iter().any(|row| *row as usize >= tokens) {
            return Err(wrong(format!("logits are of up to {most} rows of {tokens} at once")));
        }
        if let Some((numbers, _)) = &mut buffers.picked {
            numbers.upload(rows)?;
        }
        let picked = self.gathered(&self.finished()?, rows.len())?;
        self.model.logits(&picked)?;
        self.buffers()?.logits.download(rows.len() * self.shape().vocab_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_length_are_one_launch() {
        let group = |row, first, sequences, seq| Group { row, first, sequences, seq };
        let groups = Group::of_lengths([1, 1, 1, 40, 7, 7]);
        assert_eq!(groups, [group(0, 0, 3, 1), group(3, 3, 1, 40), group(43, 4, 2, 7)]);
        assert_eq!(Group::of_lengths([4, 4]), [Group::of_batch(2, 4)]);
        assert!(Group::of_lengths([]).is_empty());
    }
}
