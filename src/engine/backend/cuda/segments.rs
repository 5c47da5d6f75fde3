//! Pieces of sequences of different lengths in one pass, and the hidden states and logits of any of its rows. Products see
//! one long batch; attention sees the pieces, each behind what its row of the cache holds. Pieces with equally many tokens
//! that lie side by side are one launch: all that decode, for one.

use super::CudaDecoder;
use super::buffers::DecoderBuffers;
use super::products::Width;
use crate::device::cuda::CudaError;
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
    pub fn of_batch(batch: usize, seq: usize) -> Self {
        Self { row: 0, first: 0, sequences: batch, seq }
    }

    /// The groups of pieces of so many tokens that lie one behind the other.
    pub fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Vec<Self> {
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

impl CudaDecoder {
    /// Runs pieces of sequences, each behind what its row of the cache holds, and gives the most probable token behind each
    /// piece that is sampled, in order.
    pub fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, CudaError> {
        let sampled = self.send(segments)?;
        let buffers = self.buffers()?;
        let lengths = segments.iter().map(|segment| segment.tokens.len());
        let rows = lengths.clone().sum();
        let groups = Group::of_lengths(lengths);
        self.run_pass(buffers, rows, &groups, sampled.len())?;
        buffers.ids.download(sampled.len())
    }

    /// Checks the pieces and puts on the card what they are made of. Gives the rows whose logits are wanted.
    fn send(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, CudaError> {
        let vocabulary = self.shape.vocab_size;
        let buffers = self.buffers_mut()?;
        let (mut ids, mut places, mut sampled) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            let count = segment.tokens.len();
            if count == 0 || segment.past + count > buffers.capacity || segment.row >= buffers.batch {
                let (end, capacity) = (segment.past + count, buffers.capacity);
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
        if ids.is_empty() || ids.len() > buffers.rows || segments.len() > buffers.batch {
            let (sequences, most) = (buffers.batch, buffers.rows);
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
    fn run_pass(
        &self,
        buffers: &DecoderBuffers,
        rows: usize,
        groups: &[Group],
        sampled: usize,
    ) -> Result<(), CudaError> {
        self.through_blocks(buffers, rows, groups)?;
        if sampled == 0 {
            return Ok(());
        }
        self.finish(buffers, rows)?;
        match sampled == rows {
            true => self.pick(buffers, buffers.normed.at(), rows),
            false => {
                let picked = self.gathered(buffers, sampled)?;
                self.pick(buffers, picked, sampled)
            }
        }
    }

    /// Loads every kernel of passes of up to all rows: of each number of rows that products tell apart, with and without
    /// prompts beside what decodes.
    pub(super) fn rehearse_passes(&self) -> Result<(), CudaError> {
        let buffers = self.buffers()?;
        self.ops.launcher.rehearse(|| {
            for rows in [1, 2, 3, 5, 17].into_iter().filter(|rows| *rows <= buffers.rows) {
                self.run_pass(buffers, rows, &[Group::of_batch(rows, 1)], rows)?;
                self.run_pass(buffers, rows, &[Group::of_batch(1, rows)], 1)?;
            }
            Ok(())
        })
    }

    /// The normed rows whose numbers were sent, one behind the other.
    fn gathered(&self, buffers: &DecoderBuffers, count: usize) -> Result<u64, CudaError> {
        let Some((numbers, rows)) = &buffers.picked else {
            return Err(wrong("no room was kept for rows that lie anywhere".to_string()));
        };
        let sizes = (count, self.shape.hidden_size);
        // SAFETY: the numbers are of rows of the pass, and there is room for as many as get logits.
        unsafe { self.ops.gather(rows.at(), buffers.normed.at(), numbers.at(), sizes)? };
        Ok(rows.at())
    }

    /// Runs the tokens that were set, `(batch, seq)`, from the beginning, and norms what the last block leaves.
    pub fn run_hidden(&mut self, seq: usize) -> Result<(), CudaError> {
        self.reset()?;
        let buffers = self.buffers()?;
        let rows = buffers.batch * seq;
        self.through_blocks(buffers, rows, &[Group::of_batch(buffers.batch, seq)])?;
        self.finish(buffers, rows)
    }

    /// The normed states of the first `rows` rows that [`Self::run_hidden`] left, `(rows, hidden)`.
    pub fn hidden(&self, rows: usize) -> Result<Vec<f32>, CudaError> {
        let bits = self.buffers()?.normed.download::<u16>(rows * self.shape.hidden_size)?;
        Ok(self.compute().values(&bits))
    }

    /// Logits in `f32` of some of the rows that [`Self::run_hidden`] left, as many at once as there is room for.
    pub fn logits_of(&mut self, rows: &[u32]) -> Result<Vec<f32>, CudaError> {
        let buffers = self.buffers_mut()?;
        let (most, tokens) = (buffers.of_logits, buffers.rows);
        if rows.len() > most || rows.iter().any(|row| *row as usize >= tokens) {
            return Err(wrong(format!("logits are of up to {most} rows of {tokens} at once")));
        }
        if let Some((numbers, _)) = &mut buffers.picked {
            numbers.upload(rows)?;
        }
        let buffers = self.buffers()?;
        let picked = self.gathered(buffers, rows.len())?;
        self.head_product(buffers, picked, rows.len(), Width::Single)?;
        buffers.logits.download(rows.len() * self.shape.vocab_size)
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
