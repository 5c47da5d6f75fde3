//! The same encoders by candle-transformers, on candle's own kernels: a second system to compare the project's with, in
//! `f32`, `f16` and `bf16`.

use super::count_encoding;
use super::images::{interpolated, patch_grid};
use crate::engine::backend::linear::{Layout, Parts};
use crate::engine::session::encoder::Forward;
use crate::engine::weights::ModelError;
use crate::engine::weights::WeightSource;
use crate::engine::weights::folder::hugging_face;
use crate::units::Bytes;
use crate::workload::model::shape::ImageShape;
use crate::workload::model::tensors::{TensorKind, TensorName, TensorSpec};
use crate::workload::{Architecture, Encoding, ModelShape, Quant};
use candle_core::{DType, Device, Module, Result, Tensor, bail};
use candle_nn::{Activation, Embedding, LayerNorm, VarBuilder, embedding, layer_norm};
use candle_transformers::models::{bert, vit};
use std::collections::HashMap;

/// Whether encoders can run by candle-transformers: they can.
pub fn check() -> std::result::Result<(), String> {
    Ok(())
}

/// Candle's type for weights of a model at `quant`, or why there is none.
pub fn dtype(architecture: Architecture, quant: Quant) -> std::result::Result<DType, String> {
    match quant {
        Quant::Bf16 if architecture == Architecture::Vit => {
            Err("candle has no convolution in bf16 on the CPU; the project's own kernels run ViT in it".to_string())
        }
        Quant::F32 => Ok(DType::F32),
        Quant::F16 => Ok(DType::F16),
        Quant::Bf16 => Ok(DType::BF16),
        _ => Err(format!(
            "candle-transformers has BERT and ViT in f32, f16 and bf16 only, not in {quant}; the project's own kernels \
             have them"
        )),
    }
}

/// An encoder of candle-transformers with its weights.
pub struct Reference {
    body: Body,
    matrix_bytes: usize,
    encodings: Vec<(Encoding, usize)>,
}

enum Body {
    Text(Box<Text>),
    Image(Box<Image>),
}

type Loaded<T> = std::result::Result<T, ModelError>;

/// Gathers the tensors of an encoder under the names that candle-transformers asks for.
struct Loader<'a> {
    weights: &'a mut dyn WeightSource,
    shape: &'a ModelShape,
    quant: Quant,
    /// What candle-transformers puts before the names.
    prefix: &'static str,
    tensors: HashMap<String, Tensor>,
    matrix_bytes: usize,
    encodings: Vec<(Encoding, usize)>,
}

impl Loader<'_> {
    fn load(&mut self, spec: &TensorSpec) -> Loaded<()> {
        let name = hugging_face(self.shape.architecture, spec.name);
        let tensor = match spec.kind {
            TensorKind::Matrix => self.matrix(spec, &name)?,
            _ => self.weights.tensor(spec.name, &spec.dims)?,
        };
        // The classifier stands beside the encoder.
        let is_head = matches!(spec.name, TensorName::Output | TensorName::OutputBias);
        let prefix = if is_head { "" } else { self.prefix };
        self.tensors.insert(format!("{prefix}{name}"), tensor);
        Ok(())
    }

    fn matrix(&mut self, spec: &TensorSpec, name: &str) -> Loaded<Tensor> {
        let (rows, cols) = spec.rows_and_cols();
        let (linear, encoding) = self.weights.matrix(spec.name, rows, cols, (self.quant, Layout::Rows))?;
        count_encoding(&mut self.encodings, encoding);
        self.matrix_bytes += linear.bytes();
        let Ok(Parts::Dense(weights)) = linear.parts() else {
            return Err(ModelError::new(name, format!("is {encoding}, which candle-transformers cannot take")));
        };
        weights.reshape(spec.dims.as_slice()).map_err(|e| ModelError::new(name, e))
    }
}

impl Reference {
    /// Loads all weights at `quant`, which must be one of `f32`, `f16` and `bf16`. `progress(done, blocks)` is told
    /// after each block.
    pub fn load(
        shape: &ModelShape,
        weights: &mut dyn WeightSource,
        quant: Quant,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Loaded<Self> {
        let fail = |message: String| ModelError::new("candle-transformers", message);
        let dtype = dtype(shape.architecture, quant).map_err(fail)?;
        let prefix = if shape.architecture == Architecture::Vit { "vit." } else { "" };
        let (tensors, encodings) = (HashMap::new(), Vec::new());
        let mut loader = Loader { weights, shape, quant, prefix, tensors, matrix_bytes: 0, encodings };
        let mut loaded = 0;
        for spec in &shape.tensors() {
            if let TensorName::Block(index, _) = spec.name
                && index > loaded
            {
                loaded = index;
                progress(loaded, shape.layers);
            }
            loader.load(spec)?;
        }
        progress(shape.layers, shape.layers);
        let Loader { tensors, matrix_bytes, encodings, .. } = loader;
        let body = match &shape.image {
            Some(image) => Image::new(shape, image, tensors, dtype).map(|image| Body::Image(Box::new(image))),
            None => Text::new(shape, tensors, dtype).map(|text| Body::Text(Box::new(text))),
        };
        Ok(Self { body: body.map_err(|e| fail(e.to_string()))?, matrix_bytes, encodings })
    }
}

/// BERT. The embeddings are added as `bert::BertModel` adds them, and its encoder follows. The whole of it gives no
/// numbers in 16 bits: it multiplies a mask of zeros with the least number of `f32`, which is minus infinity there.
struct Text {
    words: Embedding,
    /// `(positions, hidden)`.
    positions: Tensor,
    /// The first type of tokens: `(1, hidden)`.
    first_type: Tensor,
    norm: LayerNorm,
    encoder: bert::BertEncoder,
    /// What is added to scores: nothing.
    mask: Tensor,
}

impl Text {
    fn new(shape: &ModelShape, tensors: HashMap<String, Tensor>, dtype: DType) -> Result<Self> {
        let (hidden, device) = (shape.hidden_size, Device::Cpu);
        let config = bert::Config {
            vocab_size: shape.vocab_size,
            hidden_size: hidden,
            num_hidden_layers: shape.layers,
            num_attention_heads: shape.heads,
            intermediate_size: shape.intermediate_size,
            hidden_act: bert::HiddenAct::Gelu,
            max_position_embeddings: shape.max_context,
            type_vocab_size: shape.token_types,
            layer_norm_eps: shape.norm_eps,
            ..bert::Config::default()
        };
        let weights = VarBuilder::from_tensors(tensors, dtype, &device);
        Ok(Self {
            words: embedding(shape.vocab_size, hidden, weights.pp("embeddings.word_embeddings"))?,
            positions: weights.get((shape.max_context, hidden), "embeddings.position_embeddings.weight")?,
            first_type: weights
                .get((shape.token_types, hidden), "embeddings.token_type_embeddings.weight")?
                .narrow(0, 0, 1)?,
            norm: layer_norm(hidden, shape.norm_eps, weights.pp("embeddings.LayerNorm"))?,
            encoder: bert::BertEncoder::load(weights.pp("encoder"), &config)?,
            mask: Tensor::zeros((1, 1, 1, 1), dtype, &device)?,
        })
    }

    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (_, seq) = ids.dims2()?;
        let most = self.positions.dim(0)?;
        if seq > most {
            bail!("{seq} tokens exceed the model's {most} positions");
        }
        let x = self.words.forward(ids)?.broadcast_add(&self.first_type)?;
        let x = self.norm.forward(&x.broadcast_add(&self.positions.narrow(0, 0, seq)?)?)?;
        self.encoder.forward(&x, &self.mask)
    }
}

/// ViT. The model of candle-transformers takes images of one size, so that one is made for the size at hand.
struct Image {
    shape: ImageShape,
    config: vit::Config,
    classes: usize,
    tensors: HashMap<String, Tensor>,
    /// Positions of the size that the table is for: `(patches + 1, hidden)` in `f32`.
    positions: Tensor,
    dtype: DType,
    /// Patches of a side, and the model for them.
    model: (usize, vit::Model),
}

/// Where candle-transformers looks for the positions.
const POSITIONS: &str = "vit.embeddings.position_embeddings";

impl Image {
    fn new(shape: &ModelShape, image: &ImageShape, tensors: HashMap<String, Tensor>, dtype: DType) -> Result<Self> {
        let Some(positions) = tensors.get(POSITIONS).map(|table| table.squeeze(0)).transpose()? else {
            bail!("the positions are missing");
        };
        let config = vit::Config {
            hidden_size: shape.hidden_size,
            num_hidden_layers: shape.layers,
            num_attention_heads: shape.heads,
            intermediate_size: shape.intermediate_size,
            hidden_act: Activation::Gelu,
            layer_norm_eps: shape.norm_eps,
            image_size: image.size,
            patch_size: image.patch,
            num_channels: image.channels,
            qkv_bias: shape.qkv_bias,
        };
        // Each only once in memory, in the type that the model computes in.
        let converted = tensors.into_iter().map(|(name, tensor)| tensor.to_dtype(dtype).map(|tensor| (name, tensor)));
        let tensors = converted.collect::<Result<HashMap<_, _>>>()?;
        let classes = shape.vocab_size;
        let weights = VarBuilder::from_tensors(tensors.clone(), dtype, &Device::Cpu);
        let model = (image.size / image.patch, vit::Model::new(&config, classes, weights)?);
        Ok(Self { shape: *image, config, classes, tensors, positions, dtype, model })
    }

    fn forward(&mut self, pixels: &Tensor) -> Result<Tensor> {
        let (high, wide) = patch_grid(&self.shape, pixels.dims4()?)?;
        if high != wide {
            bail!("the ViT of candle-transformers takes square images only");
        }
        if self.model.0 != high {
            self.model = (high, self.model_for(high)?);
        }
        self.model.1.forward(&pixels.to_dtype(self.dtype)?)
    }

    fn model_for(&self, side: usize) -> Result<vit::Model> {
        let positions = interpolated(&self.positions, self.shape.size / self.shape.patch, (side, side))?;
        let mut tensors = self.tensors.clone();
        tensors.insert(POSITIONS.to_string(), positions.unsqueeze(0)?);
        let config = vit::Config { image_size: side * self.shape.patch, ..self.config.clone() };
        vit::Model::new(&config, self.classes, VarBuilder::from_tensors(tensors, self.dtype, &Device::Cpu))
    }
}

impl Forward for Reference {
    fn hidden(&mut self, ids: &Tensor) -> Result<Tensor> {
        match &self.body {
            Body::Text(text) => text.forward(ids)?.to_dtype(DType::F32)?.contiguous(),
            Body::Image(_) => bail!("the model takes images, not texts"),
        }
    }

    fn logits(&mut self, pixels: &Tensor) -> Result<Tensor> {
        match &mut self.body {
            Body::Image(image) => image.forward(pixels)?.to_dtype(DType::F32)?.contiguous(),
            Body::Text(_) => bail!("the model takes texts, not images"),
        }
    }

    fn matrix_bytes(&self) -> Bytes {
        Bytes(self.matrix_bytes as f64)
    }

    fn encodings(&self) -> &[(Encoding, usize)] {
        &self.encodings
    }
}
