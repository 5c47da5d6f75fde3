//! The tensors before the first block of a model and behind its last.

use super::parts::{AudioEmbedding, Embedding, Head, LearnedEmbeddings, NormKind, Parts, PatchEmbedding};
use super::tensors::{TensorName, TensorSpec};

/// Steps of time that the convolutions before an encoder of speech reach over.
const AUDIO_REACH: usize = 3;

/// The tensors before the first block and behind the last.
pub fn ends(parts: &Parts) -> Vec<TensorSpec> {
    use TensorName::*;
    let mut list = List { all: Vec::new(), hidden: parts.hidden, norm: parts.norm };
    match parts.embedding {
        Embedding::Tokens { vocabulary, learned, .. } => {
            list.tokens(vocabulary, learned);
            list.inputs_of_layers(vocabulary, parts);
            if parts.head == Head::Tokens {
                list.put(Output, &[vocabulary, parts.hidden]);
            }
        }
        Embedding::Patches(patches) => list.patches(&patches),
        Embedding::Audio(audio) => list.audio(&audio),
        Embedding::Convolutions(_) => {}
    }
    for (index, convolution) in parts.convolutions.iter().enumerate() {
        let inputs = convolution.inputs / convolution.groups.max(1);
        list.put(Convolution(index), &[convolution.outputs, inputs, convolution.kernel, convolution.kernel]);
        if !convolution.bias {
            list.put(ConvolutionNorm(index), &[convolution.outputs]);
        }
        list.put(ConvolutionBias(index), &[convolution.outputs]);
    }
    if parts.final_norm {
        list.norm(OutputNorm, OutputNormBias);
    }
    list.head(parts.head);
    list.all
}

/// Tensors of a model whose residual stream is `hidden` wide.
struct List {
    all: Vec<TensorSpec>,
    hidden: usize,
    norm: NormKind,
}

impl List {
    fn put(&mut self, name: TensorName, dims: &[usize]) {
        self.all.push(TensorSpec::new(name, dims));
    }

    fn norm(&mut self, weight: TensorName, bias: TensorName) {
        self.put(weight, &[self.hidden]);
        if self.norm == NormKind::Layer {
            self.put(bias, &[self.hidden]);
        }
    }

    fn tokens(&mut self, vocabulary: usize, learned: Option<LearnedEmbeddings>) {
        use TensorName::*;
        let hidden = self.hidden;
        self.put(TokenEmbedding, &[vocabulary, hidden]);
        let Some(learned) = learned else { return };
        if learned.positions > 0 {
            self.put(Positions, &[learned.positions, hidden]);
        }
        if learned.types > 0 {
            self.put(TokenTypes, &[learned.types, hidden]);
        }
        if learned.norm {
            self.norm(EmbeddingNorm, EmbeddingNormBias);
        }
    }

    /// The table of what layers look up, and what it is mixed with: a projection of the embedding.
    fn inputs_of_layers(&mut self, vocabulary: usize, parts: &Parts) {
        let width = parts.blocks.iter().map(|(block, count)| block.per_layer * count).sum::<usize>();
        let one = parts.blocks.iter().map(|(block, _)| block.per_layer).max().unwrap_or(0);
        if width > 0 {
            self.put(TensorName::LayerEmbedding, &[vocabulary, width]);
            self.put(TensorName::LayerEmbeddingProjection, &[width, self.hidden]);
            self.put(TensorName::LayerEmbeddingNorm, &[one]);
        }
    }

    fn patches(&mut self, patches: &PatchEmbedding) {
        use TensorName::*;
        let &PatchEmbedding { image, frames, bias, positions, norm } = patches;
        let hidden = self.hidden;
        if image.class_token {
            self.put(ClassToken, &[1, 1, hidden]);
        }
        if positions > 0 {
            self.put(PatchPositions, &[1, positions, hidden]);
        }
        self.put(Patches, &[hidden, image.channels * frames, image.patch, image.patch]);
        if bias {
            self.put(PatchesBias, &[hidden]);
        }
        if norm {
            self.norm(EmbeddingNorm, EmbeddingNormBias);
        }
    }

    fn audio(&mut self, audio: &AudioEmbedding) {
        use TensorName::*;
        let hidden = self.hidden;
        self.put(AudioInput, &[hidden, audio.bands, AUDIO_REACH]);
        self.put(AudioInputBias, &[hidden]);
        self.put(AudioHalved, &[hidden, hidden, AUDIO_REACH]);
        self.put(AudioHalvedBias, &[hidden]);
        self.put(Positions, &[audio.positions, hidden]);
    }

    fn head(&mut self, head: Head) {
        use TensorName::*;
        let hidden = self.hidden;
        match head {
            Head::Classes(classes) => {
                self.put(Output, &[classes, hidden]);
                self.put(OutputBias, &[classes]);
            }
            Head::Scores { labels, norm } => {
                self.put(ScoreInput, &[hidden, hidden]);
                self.put(if norm { ScoreNorm } else { ScoreInputBias }, &[hidden]);
                self.put(Output, &[labels, hidden]);
                self.put(OutputBias, &[labels]);
            }
            Head::Projection(width) => self.put(Output, &[width, hidden]),
            Head::AttentionPooled(width) => {
                self.put(PoolingQuery, &[1, 1, hidden]);
                self.put(PoolingInput, &[3 * hidden, hidden]);
                self.put(PoolingInputBias, &[3 * hidden]);
                self.put(PoolingOutput, &[hidden, hidden]);
                self.put(PoolingOutputBias, &[hidden]);
                self.put(PoolingNorm, &[hidden]);
                self.put(PoolingNormBias, &[hidden]);
                self.put(PoolingUp, &[width, hidden]);
                self.put(PoolingUpBias, &[width]);
                self.put(PoolingDown, &[hidden, width]);
                self.put(PoolingDownBias, &[hidden]);
            }
            Head::Tokens | Head::TiedTokens | Head::Pooled => {}
        }
    }
}
