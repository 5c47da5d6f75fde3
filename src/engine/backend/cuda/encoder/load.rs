//! Reading the tensors of an encoder and putting them on a card.

use super::super::load::{LoadError, Stack};
use super::super::ops::Ops;
use super::super::weights::Packed;
use super::{Compute, CudaEncoder, Ends, Image, Layer, LayerNorm, Text};
use crate::device::cuda::{Buffer, Card};
use crate::engine::backend::linear::Layout;
use crate::engine::model::decoder::count_encoding;
use crate::engine::model::encoder::source::{EncoderWeights, LayerPart, names};
use crate::engine::weights::ModelError;
use crate::workload::ImageShape;
use crate::workload::{Encoding, ModelShape, Quant};
use std::sync::Arc;

type Loaded<T> = Result<T, LoadError>;

struct Loader<'a> {
    card: &'a Card,
    shape: &'a ModelShape,
    weights: &'a mut dyn EncoderWeights,
    quant: Quant,
    compute: Compute,
    encodings: Vec<(Encoding, usize)>,
}

impl Loader<'_> {
    fn packed(&mut self, name: &str, rows: usize, cols: usize) -> Loaded<Packed> {
        let (linear, encoding) = self.weights.matrix(name, rows, cols, (self.quant, Layout::Rows))?;
        count_encoding(&mut self.encodings, encoding);
        Ok(Packed::new(&linear, rows, cols, self.compute)?)
    }

    fn floats(&mut self, name: &str, dims: &[usize]) -> Loaded<Buffer> {
        let tensor = self.weights.tensor(name, dims)?;
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
        Ok(self.card.with(&values.map_err(|e| ModelError::new(name, e))?)?)
    }

    /// Matrices `name.weight` of `(rows, cols)` with the same input, and their biases `name.bias` where they have some.
    fn stack(&mut self, names: &[String], rows: usize, cols: usize, has_bias: bool) -> Loaded<Stack> {
        let (mut packed, mut biases) = (Vec::new(), Vec::new());
        for name in names {
            packed.push(self.packed(&format!("{name}.weight"), rows, cols)?);
            if has_bias {
                let bias = self.weights.tensor(&format!("{name}.bias"), &[rows])?;
                biases.push(self.compute.bits(&bias).map_err(|e| ModelError::new(name, e))?);
            }
        }
        Stack::new(self.card, packed, biases)
    }

    fn norm(&mut self, name: &str) -> Loaded<LayerNorm> {
        let width = [self.shape.hidden_size];
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        Ok(LayerNorm { weight: self.floats(&weight, &width)?, bias: self.floats(&bias, &width)? })
    }

    fn layer(&mut self, index: usize) -> Loaded<Layer> {
        use LayerPart::*;
        let (hidden, ff, has_bias) = (self.shape.hidden_size, self.shape.intermediate_size, self.shape.qkv_bias);
        let architecture = self.shape.architecture;
        let name = |part: LayerPart| part.name(architecture, index);
        Ok(Layer {
            qkv: self.stack(&[Query, Key, Value].map(name), hidden, hidden, has_bias)?,
            output: self.stack(&[name(AttentionOutput)], hidden, hidden, true)?,
            attention_norm: self.norm(&name(AttentionNorm))?,
            up: self.stack(&[name(Up)], ff, hidden, true)?,
            down: self.stack(&[name(Down)], hidden, ff, true)?,
            feed_forward_norm: self.norm(&name(FeedForwardNorm))?,
        })
    }

    fn text(&mut self) -> Loaded<Text> {
        let ModelShape { hidden_size, vocab_size, max_context, token_types, .. } = *self.shape;
        let words = self.packed(names::WORDS, vocab_size, hidden_size)?.upload(self.card)?;
        let positions = self.weights.tensor(names::POSITIONS, &[max_context, hidden_size])?;
        let types = self.weights.tensor(names::TYPES, &[token_types, hidden_size])?;
        let positions = types
            .narrow(0, 0, 1)
            .and_then(|first| positions.broadcast_add(&first)?.flatten_all()?.to_vec1::<f32>())
            .map_err(|e| ModelError::new(names::TYPES, e))?;
        Ok(Text { words, positions: self.card.with(&positions)?, norm: self.norm(names::EMBEDDING_NORM)? })
    }

    fn image(&mut self, image: &ImageShape) -> Loaded<Image> {
        let hidden = self.shape.hidden_size;
        let count = (image.size / image.patch).pow(2) + 1;
        let table = self.weights.tensor(names::PATCH_POSITIONS, &[1, count, hidden])?;
        let patch = image.channels * image.patch * image.patch;
        let classifier = [names::CLASSIFIER.to_string()];
        Ok(Image {
            shape: *image,
            patches: self.stack(&[names::PATCHES.to_string()], hidden, patch, true)?,
            class_token: self.floats(names::CLASS_TOKEN, &[1, 1, hidden])?,
            table: table.squeeze(0).map_err(|e| ModelError::new(names::PATCH_POSITIONS, e))?,
            positions: None,
            norm: self.norm(names::FINAL_NORM)?,
            classifier: self.stack(&classifier, self.shape.vocab_size, hidden, true)?,
        })
    }
}

impl CudaEncoder {
    /// Loads all weights at `quant` onto `card`. `progress(done, blocks)` is told after each block.
    pub fn load(
        card: Arc<Card>,
        shape: &ModelShape,
        weights: &mut dyn EncoderWeights,
        quant: Quant,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Loaded<Self> {
        let compute = Compute::of(quant);
        let mut loader = Loader { card: &card, shape, weights, quant, compute, encodings: Vec::new() };
        let ends = match &shape.image {
            Some(image) => Ends::Image(Box::new(loader.image(image)?)),
            None => Ends::Text(loader.text()?),
        };
        let mut layers = Vec::with_capacity(shape.layers);
        for index in 0..shape.layers {
            layers.push(loader.layer(index)?);
            progress(index + 1, shape.layers);
        }
        let encodings = loader.encodings;
        let ops = Ops::new(card, compute);
        Ok(Self { ops, shape: shape.clone(), ends, layers, encodings, room: None })
    }
}
