//! One transformer encoder for texts (BERT) and images (ViT), on the project's kernels: every position sees every
//! other, norms are behind attention and feed-forward (BERT) or before them (ViT), and products have biases.

use super::Forward;
use super::source::{EncoderWeights, LayerPart, names};
use crate::engine::backend::cpu::{attention, rows};
use crate::engine::backend::linear::{Layout, Linear};
use crate::engine::model::decoder::count_encoding;
use crate::engine::weights::ModelError;
use crate::units::Bytes;
use crate::workload::model::shape::ImageShape;
use crate::workload::{Architecture, Encoding, ModelShape, Quant};
use candle_core::{Device, Result, Tensor, bail};

/// A layer norm, in `f32`.
struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rows::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// A matrix and, with most, a bias in `f32`.
struct Projection {
    weight: Linear,
    bias: Option<Tensor>,
}

impl Projection {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.biased(self.weight.forward(x)?)
    }

    /// The bias added to the product `y`.
    fn biased(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => rows::add_bias(&y, bias),
            None => Ok(y),
        }
    }
}

/// One block.
struct Layer {
    /// Query, key and value.
    inputs: [Projection; 3],
    attention_output: Projection,
    attention_norm: Norm,
    up: Projection,
    down: Projection,
    feed_forward_norm: Norm,
    /// Norms stand behind what they are named after, not before it.
    post_norm: bool,
    heads: usize,
}

impl Layer {
    /// `(batch, seq, hidden)` to the same.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.post_norm {
            let x = self.attention_norm.forward(&(self.attend(x)? + x)?)?;
            return self.feed_forward_norm.forward(&(self.feed_forward(&x)? + &x)?);
        }
        let x = (self.attend(&self.attention_norm.forward(x)?)? + x)?;
        self.feed_forward(&self.feed_forward_norm.forward(&x)?)? + &x
    }

    fn attend(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, seq, hidden) = x.dims3()?;
        let [query, key, value] = &self.inputs;
        let [q, k, v] = Linear::forward_all([&query.weight, &key.weight, &value.weight], x)?;
        let heads = |projection: &Projection, y: Tensor| {
            projection.biased(y)?.reshape((batch, seq, self.heads, hidden / self.heads))
        };
        let (q, k, v) = (heads(query, q)?, heads(key, k)?, heads(value, v)?);
        self.attention_output.forward(&attention::bidirectional(&q, &k, &v)?)
    }

    fn feed_forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&rows::gelu(&self.up.forward(x)?)?)
    }

    fn matrices(&self) -> impl Iterator<Item = &Linear> {
        let others = [&self.attention_output, &self.up, &self.down];
        self.inputs.iter().chain(others).map(|projection| &projection.weight)
    }
}

/// What texts become before the first block.
struct Text {
    words: Linear,
    /// Positions with the first type of tokens added, the only one that an engine without pairs of texts needs:
    /// `(positions, hidden)`.
    positions: Tensor,
    norm: Norm,
}

impl Text {
    /// `(batch, seq)` tokens to `(batch, seq, hidden)`.
    fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let (_, seq) = ids.dims2()?;
        let most = self.positions.dim(0)?;
        if seq > most {
            bail!("{seq} tokens exceed the model's {most} positions");
        }
        self.norm.forward(&self.words.embed(ids)?.broadcast_add(&self.positions.narrow(0, 0, seq)?)?)
    }
}

/// What images become before the first block, and what becomes of them behind the last.
struct Image {
    shape: ImageShape,
    /// A row of `channels * patch * patch` weights for each hidden number.
    patches: Projection,
    /// `(1, 1, hidden)`.
    class_token: Tensor,
    /// Of the class token and of the patches of the resolution that the model was trained at: `(patches + 1, hidden)`.
    positions: Tensor,
    /// Those of the patches, `(high, wide)`, of the last images, where they were of another resolution.
    resized: Option<((usize, usize), Tensor)>,
    norm: Norm,
    classifier: Projection,
}

impl Image {
    /// `(batch, channels, height, width)` pixels to `(batch, 1 + patches, hidden)`.
    fn embed(&mut self, pixels: &Tensor) -> Result<Tensor> {
        let grid = patch_grid(&self.shape, pixels.dims4()?)?;
        let x = self.patches.forward(&patches(pixels, &self.shape, grid)?)?;
        let (batch, _, hidden) = x.dims3()?;
        let class_token = self.class_token.broadcast_as((batch, 1, hidden))?.contiguous()?;
        let x = Tensor::cat(&[&class_token, &x], 1)?;
        x.broadcast_add(&self.positions_of(grid)?)
    }

    fn positions_of(&mut self, grid: (usize, usize)) -> Result<Tensor> {
        let side = self.shape.size / self.shape.patch;
        if grid == (side, side) {
            return Ok(self.positions.clone());
        }
        if let Some((_, positions)) = self.resized.as_ref().filter(|(known, _)| *known == grid) {
            return Ok(positions.clone());
        }
        let positions = interpolated(&self.positions, side, grid)?;
        self.resized = Some((grid, positions.clone()));
        Ok(positions)
    }
}

/// How many patches high and wide images of `(batch, channels, height, width)` are, or why the model cannot have them.
pub(super) fn patch_grid(
    shape: &ImageShape,
    (_, channels, height, width): (usize, usize, usize, usize),
) -> Result<(usize, usize)> {
    if channels != shape.channels {
        bail!("images of {channels} channels are not the {} that the model takes", shape.channels);
    }
    let patch = shape.patch;
    if height == 0 || width == 0 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
        bail!("images of {height} x {width} pixels are not made of patches of {patch} x {patch}");
    }
    Ok((height / patch, width / patch))
}

/// The pixels of each patch as a row, channel by channel: `(batch, patches, channels * patch * patch)`. Patches do not
/// overlap, so that their convolution is one product of these rows.
fn patches(pixels: &Tensor, shape: &ImageShape, (high, wide): (usize, usize)) -> Result<Tensor> {
    let ImageShape { patch, channels, .. } = *shape;
    let batch = pixels.dim(0)?;
    let apart = pixels.contiguous()?.reshape((batch, channels, high, patch, wide, patch))?;
    let rows = apart.permute((0, 2, 4, 1, 3, 5))?.contiguous()?;
    rows.reshape((batch, high * wide, channels * patch * patch))
}

/// The position table of a square of `side` patches, `(1 + side^2, hidden)` in `f32`, for a grid of `(high, wide)` of
/// them: bilinear between the centres of the patches, the outermost ones kept beyond the edge. (The Python tools
/// interpolate bicubically, so that logits differ a little from theirs at resolutions other than the table's.)
pub(super) fn interpolated(table: &Tensor, side: usize, (high, wide): (usize, usize)) -> Result<Tensor> {
    let hidden = table.dim(1)?;
    let values = table.flatten_all()?.to_vec1::<f32>()?;
    let row = |y: usize, x: usize| &values[(1 + y * side + x) * hidden..][..hidden];
    let mut made = values[..hidden].to_vec();
    let across = places(side, wide);
    for (y0, y1, down) in places(side, high) {
        for &(x0, x1, right) in &across {
            let (above, below) = ((row(y0, x0), row(y0, x1)), (row(y1, x0), row(y1, x1)));
            made.extend((0..hidden).map(|index| {
                let between = |(left, other): (&[f32], &[f32])| left[index] * (1.0 - right) + other[index] * right;
                between(above) * (1.0 - down) + between(below) * down
            }));
        }
    }
    Tensor::from_vec(made, (1 + high * wide, hidden), &Device::Cpu)
}

/// For each of `count` equal parts of a line of `side` points: the points around its centre, and the share of the
/// second.
fn places(side: usize, count: usize) -> Vec<(usize, usize, f32)> {
    let place = |index: usize| {
        let centre = (index as f32 + 0.5) * side as f32 / count as f32 - 0.5;
        let centre = centre.clamp(0.0, (side - 1) as f32);
        let before = centre as usize;
        (before, (before + 1).min(side - 1), centre - before as f32)
    };
    (0..count).map(place).collect()
}

/// What differs between texts and images.
enum Ends {
    Text(Text),
    Image(Box<Image>),
}

/// An encoder with its weights.
pub struct Encoder {
    ends: Ends,
    layers: Vec<Layer>,
    encodings: Vec<(Encoding, usize)>,
}

/// Loads the tensors of an encoder and counts the encodings of its matrices.
struct Loader<'a> {
    weights: &'a mut dyn EncoderWeights,
    shape: &'a ModelShape,
    quant: Quant,
    encodings: Vec<(Encoding, usize)>,
}

type Loaded<T> = std::result::Result<T, ModelError>;

impl Loader<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Loaded<Linear> {
        let (linear, encoding) = self.weights.matrix(name, rows, cols, (self.quant, Layout::Panels))?;
        count_encoding(&mut self.encodings, encoding);
        Ok(linear)
    }

    fn norm(&mut self, name: &str) -> Loaded<Norm> {
        let width = [self.shape.hidden_size];
        Ok(Norm {
            weight: self.weights.tensor(&format!("{name}.weight"), &width)?,
            bias: self.weights.tensor(&format!("{name}.bias"), &width)?,
            eps: self.shape.norm_eps as f32,
        })
    }

    /// A `(rows, cols)` matrix `name.weight`, ready for its products, and `name.bias`.
    fn projection(&mut self, name: &str, rows: usize, cols: usize) -> Loaded<Projection> {
        let linear = self.matrix(&format!("{name}.weight"), rows, cols)?;
        let bias = self.weights.tensor(&format!("{name}.bias"), &[rows])?;
        Ok(Projection { weight: linear, bias: Some(bias) })
    }

    /// Query, key or value.
    fn input(&mut self, part: LayerPart, layer: usize) -> Loaded<Projection> {
        let hidden = self.shape.hidden_size;
        let name = part.name(self.shape.architecture, layer);
        if self.shape.qkv_bias {
            return self.projection(&name, hidden, hidden);
        }
        Ok(Projection { weight: self.matrix(&format!("{name}.weight"), hidden, hidden)?, bias: None })
    }

    fn layer(&mut self, index: usize) -> Loaded<Layer> {
        let (hidden, ff) = (self.shape.hidden_size, self.shape.intermediate_size);
        let name = |part: LayerPart| part.name(self.shape.architecture, index);
        let [output, attention_norm] = [LayerPart::AttentionOutput, LayerPart::AttentionNorm].map(name);
        let [up, down, feed_forward_norm] = [LayerPart::Up, LayerPart::Down, LayerPart::FeedForwardNorm].map(name);
        Ok(Layer {
            inputs: [
                self.input(LayerPart::Query, index)?,
                self.input(LayerPart::Key, index)?,
                self.input(LayerPart::Value, index)?,
            ],
            attention_output: self.projection(&output, hidden, hidden)?,
            attention_norm: self.norm(&attention_norm)?,
            up: self.projection(&up, ff, hidden)?,
            down: self.projection(&down, hidden, ff)?,
            feed_forward_norm: self.norm(&feed_forward_norm)?,
            post_norm: self.shape.architecture == Architecture::Bert,
            heads: self.shape.heads,
        })
    }

    fn text(&mut self) -> Loaded<Text> {
        let ModelShape { hidden_size, vocab_size, max_context, token_types, .. } = *self.shape;
        // Only looked up in, row by row.
        let at = (self.quant, Layout::Rows);
        let (words, encoding) = self.weights.matrix(names::WORDS, vocab_size, hidden_size, at)?;
        count_encoding(&mut self.encodings, encoding);
        let positions = self.weights.tensor(names::POSITIONS, &[max_context, hidden_size])?;
        let types = self.weights.tensor(names::TYPES, &[token_types, hidden_size])?;
        let positions = types
            .narrow(0, 0, 1)
            .and_then(|first| positions.broadcast_add(&first))
            .map_err(|e| ModelError::new(names::TYPES, e))?;
        Ok(Text { words, positions, norm: self.norm(names::EMBEDDING_NORM)? })
    }

    fn image(&mut self, image: &ImageShape) -> Loaded<Image> {
        let hidden = self.shape.hidden_size;
        let count = (image.size / image.patch).pow(2) + 1;
        let positions = self.weights.tensor(names::PATCH_POSITIONS, &[1, count, hidden])?;
        Ok(Image {
            shape: *image,
            patches: self.projection(names::PATCHES, hidden, image.channels * image.patch * image.patch)?,
            class_token: self.weights.tensor(names::CLASS_TOKEN, &[1, 1, hidden])?,
            positions: positions.squeeze(0).map_err(|e| ModelError::new(names::PATCH_POSITIONS, e))?,
            resized: None,
            norm: self.norm(names::FINAL_NORM)?,
            classifier: self.projection(names::CLASSIFIER, self.shape.vocab_size, hidden)?,
        })
    }
}

impl Encoder {
    /// Loads all weights at `quant`. `progress(done, blocks)` is told after each block.
    pub fn load(
        shape: &ModelShape,
        weights: &mut dyn EncoderWeights,
        quant: Quant,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Loaded<Self> {
        let mut loader = Loader { weights, shape, quant, encodings: Vec::new() };
        let ends = match &shape.image {
            Some(image) => Ends::Image(Box::new(loader.image(image)?)),
            None => Ends::Text(loader.text()?),
        };
        let mut layers = Vec::with_capacity(shape.layers);
        for index in 0..shape.layers {
            layers.push(loader.layer(index)?);
            progress(index + 1, shape.layers);
        }
        Ok(Self { ends, layers, encodings: loader.encodings })
    }

    fn through_layers(&self, mut x: Tensor) -> Result<Tensor> {
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        Ok(x)
    }
}

impl Forward for Encoder {
    fn hidden(&mut self, ids: &Tensor) -> Result<Tensor> {
        match &self.ends {
            Ends::Text(text) => self.through_layers(text.embed(ids)?),
            Ends::Image(_) => bail!("the model takes images, not texts"),
        }
    }

    fn logits(&mut self, pixels: &Tensor) -> Result<Tensor> {
        let embedded = match &mut self.ends {
            Ends::Image(image) => image.embed(pixels)?,
            Ends::Text(_) => bail!("the model takes texts, not images"),
        };
        let x = self.through_layers(embedded)?;
        match &self.ends {
            Ends::Image(image) => {
                let class = image.norm.forward(&x.narrow(1, 0, 1)?.contiguous()?)?;
                image.classifier.forward(&class)?.squeeze(1)
            }
            Ends::Text(_) => bail!("the model takes texts, not images"),
        }
    }

    fn matrix_bytes(&self) -> Bytes {
        let layers: usize = self.layers.iter().flat_map(Layer::matrices).map(Linear::bytes).sum();
        let ends = match &self.ends {
            Ends::Text(text) => text.words.bytes(),
            Ends::Image(image) => image.patches.weight.bytes() + image.classifier.weight.bytes(),
        };
        Bytes((layers + ends) as f64)
    }

    fn encodings(&self) -> &[(Encoding, usize)] {
        &self.encodings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_the_same_grid_are_the_table() {
        let table = Tensor::rand(-1f32, 1.0, (1 + 9, 5), &Device::Cpu).unwrap();
        let same = interpolated(&table, 3, (3, 3)).unwrap();
        assert_eq!(same.to_vec2::<f32>().unwrap(), table.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn positions_between_patches_lie_between_theirs() {
        // The class token, then a row number and a column number for each patch.
        let mut values = vec![7.0, 8.0];
        values.extend((0..4).flat_map(|y| (0..4).flat_map(move |x| [y as f32, x as f32])));
        let table = Tensor::from_vec(values, (17, 2), &Device::Cpu).unwrap();
        let made = interpolated(&table, 4, (8, 2)).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(made.len(), 17);
        assert_eq!(made[0], [7.0, 8.0]);
        // Eight parts of four patches: centres a quarter before and behind theirs, kept within the outermost.
        let rows: Vec<f32> = (0..8).map(|y| made[1 + y * 2][0]).collect();
        assert_eq!(rows, [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]);
        assert_eq!([made[1][1], made[2][1]], [0.5, 2.5]);
    }

    #[test]
    fn a_patch_is_a_row_of_its_pixels() {
        let shape = ImageShape { patch: 2, size: 4, channels: 2 };
        let values: Vec<f32> = (0..32).map(|value| value as f32).collect();
        let pixels = Tensor::from_vec(values, (1, 2, 4, 4), &Device::Cpu).unwrap();
        let grid = patch_grid(&shape, (1, 2, 4, 4)).unwrap();
        let rows = patches(&pixels, &shape, grid).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows[1], [2.0, 3.0, 6.0, 7.0, 18.0, 19.0, 22.0, 23.0]);
        assert!(patch_grid(&shape, (1, 2, 4, 5)).unwrap_err().to_string().contains("4 x 5 pixels"));
        assert!(patch_grid(&shape, (1, 3, 4, 4)).unwrap_err().to_string().contains("3 channels"));
    }
}
