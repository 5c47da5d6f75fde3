//! What quality is measured on: a model that says how probable each next token is.

use super::EngineError;
use crate::units::Bytes;
use crate::workload::Encoding;

/// A place in a batch of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencePosition {
    /// Which sequence.
    pub sequence: usize,
    /// Which of its tokens; the logits are those of the token behind it.
    pub position: usize,
}

/// Sequences as rows of one length, those that are shorter than the longest filled up behind their end, where no token before
/// can see it; and the length.
pub(super) fn padded(sequences: &[Vec<u32>]) -> (Vec<u32>, usize) {
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let mut flat = Vec::with_capacity(sequences.len() * longest);
    for sequence in sequences {
        flat.extend(sequence);
        flat.resize(flat.len() + longest - sequence.len(), 0);
    }
    (flat, longest)
}

/// The rows that places have among those of [`padded`] sequences.
pub(super) fn rows_of(places: &[SequencePosition], longest: usize) -> Vec<u32> {
    places.iter().map(|place| (place.sequence * longest + place.position) as u32).collect()
}

/// Takes the logits of some of the places that were asked for: the index of the first, and `(places, vocab)` numbers.
pub type TakeLogits<'a> = &'a mut (dyn FnMut(usize, &[f32]) + Send);

/// A language model with its weights loaded.
pub trait LanguageModel {
    /// Numbers that each set of logits has.
    fn vocab_size(&self) -> usize;

    /// The longest sequence.
    fn max_context(&self) -> usize;

    /// Runs `sequences`, each from its beginning, and hands the logits of `places` to `take`, in order, a few at a time:
    /// those of all would not fit in memory for a large vocabulary.
    fn logits(
        &mut self,
        sequences: &[Vec<u32>],
        places: &[SequencePosition],
        take: TakeLogits<'_>,
    ) -> Result<(), EngineError>;

    /// The mean of the last block's normed output over the tokens of each sequence: a vector for each.
    fn embed(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError>;

    /// The `tokens` most probable tokens, one after the other, behind `prompts` of one length.
    fn generate(&mut self, prompts: &[Vec<u32>], tokens: usize) -> Result<Vec<Vec<u32>>, EngineError>;
}

/// A language model that says how its weights are held.
pub trait HeldWeights: LanguageModel {
    /// Bytes of the matrices as the engine holds them.
    fn matrix_bytes(&self) -> Bytes;

    /// How many weights of the matrices are stored in each encoding.
    fn stored(&self) -> Vec<(Encoding, usize)>;

    /// Matrices that got another encoding than the level's own, in words.
    fn notes(&self) -> &[String];

    /// Weights that pruning set to zero.
    fn zeros(&self) -> usize {
        0
    }
}
