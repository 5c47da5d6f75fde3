//! Reading the tensors of an encoder and putting them on a card.

use super::super::load::{LoadError, Stack};
use super::super::ops::Ops;
use super::super::weights::Packed;
use super::{Compute, CudaEncoder, Image, Layer, LayerNorm, Modality, Text};
use crate::device::cuda::{Buffer, Card};
use crate::engine::backend::linear::Layout;
use crate::engine::model::count_encoding;
use crate::engine::weights::{ModelError, WeightSource};
use crate::workload::ImageShape;
use crate::workload::model::tensors::{BlockTensor, TensorName};
use crate::workload::{Encoding, ModelShape, Quant};
use std::sync::Arc;

type Loaded<T> = Result<T, LoadError>;

struct Loader<'a> {
    card: &'a Card,
    shape: &'a ModelShape,
    weights: &'a mut dyn WeightSource,
    quant: Quant,
    compute: Compute,
    encodings: Vec<(Encoding, usize)>,
}

fn fail(name: TensorName) -> impl Fn(candle_core::Error) -> ModelError {
    move |error| ModelError::new(format!("{name:?}"), error)
}

impl Loader<'_> {
    fn packed(&mut self, name: TensorName, rows: usize, cols: usize) -> Loaded<Packed> {
        let (linear, encoding) = self.weights.matrix(name, rows, cols, (self.quant, Layout::Rows))?;
        count_encoding(&mut self.encodings, encoding);
        Ok(Packed::new(&linear, rows, cols, self.compute)?)
    }

    fn floats(&mut self, name: TensorName, dims: &[usize]) -> Loaded<Buffer> {
        let tensor = self.weights.tensor(name, dims)?;
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
        Ok(self.card.with(&values.map_err(fail(name))?)?)
    }

    /// Matrices of `(rows, cols)` with the same input, and the biases of those that have one.
    fn stack(&mut self, parts: &[(TensorName, Option<TensorName>)], rows: usize, cols: usize) -> Loaded<Stack> {
        let (mut packed, mut biases) = (Vec::new(), Vec::new());
        for (weight, bias) in parts {
            packed.push(self.packed(*weight, rows, cols)?);
            if let Some(name) = bias {
                let bias = self.weights.vector(*name, rows)?;
                biases.push(self.compute.bits(&bias).map_err(fail(*name))?);
            }
        }
        Stack::new(self.card, packed, biases)
    }

    fn norm(&mut self, weight: TensorName, bias: TensorName) -> Loaded<LayerNorm> {
        let width = [self.shape.hidden_size];
        Ok(LayerNorm { weight: self.floats(weight, &width)?, bias: self.floats(bias, &width)? })
    }

    fn layer(&mut self, index: usize) -> Loaded<Layer> {
        use BlockTensor::*;
        let (hidden, ff, has_bias) = (self.shape.hidden_size, self.shape.intermediate_size, self.shape.qkv_bias);
        let at = |tensor| TensorName::Block(index, tensor);
        let with = |weight, bias| (at(weight), Some(at(bias)));
        let input = |(weight, bias): (BlockTensor, BlockTensor)| (at(weight), has_bias.then(|| at(bias)));
        let inputs = [(Query, QueryBias), (Key, KeyBias), (Value, ValueBias)].map(input);
        Ok(Layer {
            qkv: self.stack(&inputs, hidden, hidden)?,
            output: self.stack(&[with(AttentionOutput, AttentionOutputBias)], hidden, hidden)?,
            attention_norm: self.norm(at(AttentionNorm), at(AttentionNormBias))?,
            up: self.stack(&[with(Up, UpBias)], ff, hidden)?,
            down: self.stack(&[with(Down, DownBias)], hidden, ff)?,
            feed_forward_norm: self.norm(at(FeedForwardNorm), at(FeedForwardNormBias))?,
        })
    }

    fn text(&mut self) -> Loaded<Text> {
        use TensorName::*;
        let ModelShape { hidden_size, vocab_size, max_context, token_types, .. } = *self.shape;
        let words = self.packed(TokenEmbedding, vocab_size, hidden_size)?.upload(self.card)?;
        let positions = self.weights.tensor(Positions, &[max_context, hidden_size])?;
        let types = self.weights.tensor(TokenTypes, &[token_types, hidden_size])?;
        let positions = types
            .narrow(0, 0, 1)
            .and_then(|first| positions.broadcast_add(&first)?.flatten_all()?.to_vec1::<f32>())
            .map_err(fail(TokenTypes))?;
        let norm = self.norm(EmbeddingNorm, EmbeddingNormBias)?;
        Ok(Text { words, positions: self.card.with(&positions)?, norm })
    }

    fn image(&mut self, image: &ImageShape) -> Loaded<Image> {
        use TensorName::*;
        let hidden = self.shape.hidden_size;
        let count = (image.size / image.patch).pow(2) + 1;
        let table = self.weights.tensor(PatchPositions, &[1, count, hidden])?;
        let patch = image.channels * image.patch * image.patch;
        Ok(Image {
            shape: *image,
            patches: self.stack(&[(Patches, Some(PatchesBias))], hidden, patch)?,
            class_token: self.floats(ClassToken, &[1, 1, hidden])?,
            table: table.squeeze(0).map_err(fail(PatchPositions))?,
            positions: None,
            norm: self.norm(OutputNorm, OutputNormBias)?,
            classifier: self.stack(&[(Output, Some(OutputBias))], self.shape.vocab_size, hidden)?,
        })
    }
}

impl CudaEncoder {
    /// Loads all weights at `quant` onto `card`. `progress(done, blocks)` is told after each block.
    pub fn load(
        card: Arc<Card>,
        shape: &ModelShape,
        weights: &mut dyn WeightSource,
        quant: Quant,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Loaded<Self> {
        let compute = Compute::of(quant);
        let mut loader = Loader { card: &card, shape, weights, quant, compute, encodings: Vec::new() };
        let ends = match &shape.image {
            Some(image) => Modality::Image(Box::new(loader.image(image)?)),
            None => Modality::Text(Box::new(loader.text()?)),
        };
        let mut layers = Vec::with_capacity(shape.layers);
        for index in 0..shape.layers {
            layers.push(loader.layer(index)?);
            progress(index + 1, shape.layers);
        }
        let encodings = loader.encodings;
        let ops = Ops::new(card, compute);
        Ok(Self { ops, shape: shape.clone(), ends, layers, encodings, buffers: None })
    }
}
