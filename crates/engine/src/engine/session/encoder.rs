//! Encoders as systems under test: texts to embeddings (BERT) and images to classes (ViT), on the CPU or a card by the
//! project's kernels, or on the CPU by candle-transformers.

use crate::device::cuda::Card;
use crate::device::memory;
use crate::engine::backend::cpu::values::with_f32_values;
use crate::engine::backend::cuda::{self, CudaModel, LoadError};
use crate::engine::backend::ops::Compute;
use crate::engine::backend::ops::Kernels;
use crate::engine::model::Model;
use crate::engine::model::reference::{self, Reference};
use crate::engine::session::candle::{RESERVE, encoding_notes, failed, or_lost};
use crate::engine::weights::ModelError;
use crate::engine::weights::OpenedModel;
use crate::engine::{Engine, EngineError, Generated, Prepared, Step};
use crate::units::{Bytes, Seconds};
use crate::workload::model::config::encoder::{self as config, Pooling};
use crate::workload::{Case, Encoding, ModelShape, Quant};
use crate::workload::{ImageShape, Task};
use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Texts of one length that [`EncoderEngine::embed`] runs together.
const EMBED_BATCH: usize = 32;

/// Seed of the pixels that images are made of.
const PIXEL_SEED: u64 = 0x1EAF;

/// An encoder with its weights, whoever computes.
pub trait Forward: Send {
    /// What the last block makes of `ids: (batch, seq)`: `(batch, seq, hidden)`, contiguous `f32` on the CPU. An error
    /// where the model takes images or has fewer positions.
    fn hidden(&mut self, ids: &Tensor) -> candle_core::Result<Tensor>;

    /// Logits `(batch, classes)` of `pixels: (batch, channels, height, width)`, both contiguous `f32` on the CPU. An
    /// error where the model takes texts, or where patches do not divide the image.
    fn logits(&mut self, pixels: &Tensor) -> candle_core::Result<Tensor>;

    /// Makes room for passes of `batch` inputs of `seq` rows, where that is to be had before.
    fn prepare(&mut self, _batch: usize, _seq: usize) -> Result<(), EngineError> {
        Ok(())
    }

    /// What the user should know of how passes are computed.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Bytes of the matrices as stored.
    fn matrix_bytes(&self) -> Bytes;

    /// How many matrices got each encoding.
    fn encodings(&self) -> &[(Encoding, usize)];
}

impl Forward for Model<Compute> {
    fn hidden(&mut self, ids: &Tensor) -> candle_core::Result<Tensor> {
        Model::hidden(self, ids)
    }

    fn logits(&mut self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        self.classify(pixels)
    }

    fn matrix_bytes(&self) -> Bytes {
        self.matrix_bytes()
    }

    fn encodings(&self) -> &[(Encoding, usize)] {
        &self.encodings
    }
}

/// The engine, with at most one level of weights in memory.
pub struct EncoderEngine {
    model: OpenedModel,
    kernels: Kernels,
    /// The card that computes, where it is not the CPU.
    card: Option<Arc<Card>>,
    loaded: Option<(Quant, Box<dyn Forward>)>,
    /// The images of the case that was prepared last.
    pixels: Option<Tensor>,
    on_load: Box<dyn FnMut(usize, usize) + Send>,
}

impl EncoderEngine {
    /// An engine for `model` on the CPU, with nothing loaded yet.
    pub fn new(model: OpenedModel, kernels: Kernels) -> Self {
        Self { model, kernels, card: None, loaded: None, pixels: None, on_load: Box::new(|_, _| ()) }
    }

    /// An engine for `model` by the project's kernels on `card`, with nothing loaded yet.
    pub fn on_card(model: OpenedModel, card: Arc<Card>) -> Self {
        Self { card: Some(card), ..Self::new(model, Kernels::Own) }
    }

    /// An error of candle, or that the card is lost.
    fn explained(&self, error: candle_core::Error) -> EngineError {
        self.or_lost(failed(error))
    }

    fn or_lost(&self, error: EngineError) -> EngineError {
        match &self.card {
            Some(card) => or_lost(error, card),
            None => error,
        }
    }

    /// The model.
    pub fn model(&self) -> &OpenedModel {
        &self.model
    }

    /// The embedding of each of `sequences`: a vector of `hidden_size` numbers, pooled over the tokens as the model's
    /// folder says, and divided by its length. An error for an image classifier, and for a sequence that is empty,
    /// longer than the positions, or of other tokens than the vocabulary's.
    pub fn embed(&mut self, quant: Quant, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.must_be(Task::Embed)?;
        for sequence in sequences {
            self.check_tokens(sequence.len())?;
            if let Some(id) = sequence.iter().find(|id| **id as usize >= self.model.shape.vocab_size) {
                let vocabulary = self.model.shape.vocab_size;
                return Err(EngineError::Unsupported(format!(
                    "token {id} is not one of the {vocabulary} of the model"
                )));
            }
        }
        self.load_unless(quant)?;
        let mut lengths: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, sequence) in sequences.iter().enumerate() {
            lengths.entry(sequence.len()).or_default().push(index);
        }
        let mut embeddings = vec![Vec::new(); sequences.len()];
        for indices in lengths.values().flat_map(|indices| indices.chunks(EMBED_BATCH)) {
            let batch: Vec<&[u32]> = indices.iter().map(|index| sequences[*index].as_slice()).collect();
            for (index, embedding) in indices.iter().zip(self.embed_batch(&batch)?) {
                embeddings[*index] = embedding;
            }
        }
        Ok(embeddings)
    }

    /// Logits `(batch, classes)` of images `(batch, channels, height, width)`, normalised as the model was trained, in
    /// `f32` on the CPU. An error for a text encoder, and for images that patches do not divide.
    pub fn classify(&mut self, quant: Quant, pixels: &Tensor) -> Result<Tensor, EngineError> {
        self.must_be(Task::ClassifyImage)?;
        self.load_unless(quant)?;
        let weights = loaded(&mut self.loaded)?;
        Device::Cpu.with_context(|| weights.logits(pixels)).map_err(|error| self.explained(error))
    }

    /// Embeddings of sequences of one length.
    fn embed_batch(&mut self, sequences: &[&[u32]]) -> Result<Vec<Vec<f32>>, EngineError> {
        let weights = loaded(&mut self.loaded)?;
        let flat: Vec<u32> = sequences.concat();
        let seq = flat.len() / sequences.len().max(1);
        let pooling = self.model.pooling;
        let embedded = Device::Cpu.with_context(|| {
            let ids = Tensor::from_vec(flat, (sequences.len(), seq), &Device::Cpu)?;
            let hidden = weights.hidden(&ids)?;
            let width = hidden.dim(2)?;
            with_f32_values(&hidden, |values| {
                values.chunks_exact((seq * width).max(1)).map(|rows| embedding(rows, width, pooling)).collect()
            })
        });
        embedded.map_err(|error| self.explained(error))
    }

    /// An error where the model is of another task.
    fn must_be(&self, task: Task) -> Result<(), EngineError> {
        let architecture = self.model.shape.architecture;
        if architecture.task() == task {
            Ok(())
        } else {
            Err(EngineError::Unsupported(match task {
                Task::Embed => format!("a model of the architecture `{architecture}` does not embed texts"),
                _ => format!("a model of the architecture `{architecture}` does not classify images"),
            }))
        }
    }

    /// An error where the positions do not take a text of so many tokens.
    fn check_tokens(&self, tokens: usize) -> Result<(), EngineError> {
        let most = self.model.shape.max_context;
        match tokens {
            0 => Err(EngineError::Unsupported("a text without tokens has no embedding".to_string())),
            _ if tokens > most => {
                Err(EngineError::Unsupported(format!("{tokens} tokens exceed the model's {most} positions")))
            }
            _ => Ok(()),
        }
    }

    fn load_unless(&mut self, quant: Quant) -> Result<bool, EngineError> {
        let missing = self.loaded.as_ref().is_none_or(|(known, _)| *known != quant);
        if missing {
            self.load(quant)?;
        }
        Ok(missing)
    }

    fn load(&mut self, quant: Quant) -> Result<(), EngineError> {
        self.loaded = None;
        match &self.card {
            Some(card) => card.trim()?,
            None => memory::return_freed_memory(),
        }
        self.model.weights.check_quant(quant).map_err(EngineError::Unsupported)?;
        if self.kernels == Kernels::Candle {
            reference::dtype(self.model.shape.architecture, quant).map_err(EngineError::Unsupported)?;
        }
        let kernels = self.kernels;
        let shape = &self.model.shape;
        let weights = self.model.weights.as_mut();
        let on_load = self.on_load.as_mut();
        if let Some(card) = self.card.clone() {
            let made = CudaModel::load(card.clone(), shape, weights, quant, None, on_load);
            let made = made.map_err(|error| match error {
                LoadError::Model(error) => EngineError::Model(error.to_string()),
                LoadError::Cuda(error) => or_lost(error.into(), &card),
            })?;
            self.loaded = Some((quant, Box::new(made)));
            return Ok(());
        }
        let made = Device::Cpu.with_context(|| -> Result<Box<dyn Forward>, ModelError> {
            match kernels {
                Kernels::Own => Ok(Box::new(Model::load(shape, weights, quant, None, Compute::own(), on_load)?)),
                Kernels::Candle => Ok(Box::new(Reference::load(shape, weights, quant, on_load)?)),
            }
        });
        self.loaded = Some((quant, made.map_err(|e| EngineError::Model(e.to_string()))?));
        Ok(())
    }

    /// About what a case needs beyond what is loaded already: weights, activations, pixels; and what there is.
    fn memory(&self, case: &Case, seq: usize, side: usize) -> (Bytes, Bytes) {
        if let Some(card) = &self.card {
            return cuda::encoder::memory(card, &self.model.shape, case.quant, case.batch, seq);
        }
        let ModelShape { hidden_size, intermediate_size, heads, .. } = self.model.shape;
        let weights = |quant| match self.kernels {
            Kernels::Own => self.model.shape.weight_bytes(quant).0,
            Kernels::Candle => self.model.shape.weight_bytes(quant).0,
        };
        let available = Bytes(memory::available().0 + self.loaded.as_ref().map_or(0.0, |(quant, _)| weights(*quant)));
        // candle's kernels keep the scores of all heads at once, and copies of them.
        let scores = if self.kernels == Kernels::Candle { 3 * heads * seq } else { 0 };
        let per_token = (8 * hidden_size + 2 * intermediate_size + scores) as f64;
        let channels = self.model.shape.image.as_ref().map_or(0, |image| image.channels);
        // The images, and a copy of them cut into patches.
        let pixels = 2.0 * channels as f64 * (side as f64).powi(2);
        let activations = 4.0 * case.batch as f64 * (seq as f64 * per_token + pixels);
        (Bytes(weights(case.quant) + activations) + RESERVE, available)
    }

    /// Tokens of each input of `case`, and pixels of its side where it is an image; an error where the model has no
    /// positions for it.
    fn sizes(&self, case: &Case) -> Result<(usize, usize), EngineError> {
        let shape = &self.model.shape;
        let Some(ImageShape { patch, size, .. }) = shape.image.as_ref() else {
            self.must_be(Task::Embed)?;
            self.check_tokens(case.prompt_tokens())?;
            return Ok((case.prompt_tokens(), 0));
        };
        self.must_be(Task::ClassifyImage)?;
        let side = case.image_side().unwrap_or(*size);
        if (1..=config::MOST_SIDE).contains(&side) && side.is_multiple_of(*patch) {
            Ok(((side / patch).pow(2) + 1, side))
        } else {
            Err(EngineError::Unsupported(format!(
                "images have sides of a multiple of {patch} pixels, up to {}, not of {side}",
                config::MOST_SIDE
            )))
        }
    }
}

/// The weights in memory, for what needs them.
fn loaded(loaded: &mut Option<(Quant, Box<dyn Forward>)>) -> Result<&mut (dyn Forward + 'static), EngineError> {
    match loaded {
        Some((_, weights)) => Ok(weights.as_mut()),
        None => Err(EngineError::Failed("no weights are loaded".to_string())),
    }
}

/// Hidden states `(seq, width)` of one text, pooled and divided by their length, as sentence-transformers does it.
fn embedding(rows: &[f32], width: usize, pooling: Pooling) -> Vec<f32> {
    let mut pooled = rows[..width].to_vec();
    if pooling == Pooling::Mean {
        for row in rows.chunks_exact(width).skip(1) {
            pooled.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
    // The length of a sum is as many times that of the mean as there are tokens: dividing by it is the same.
    let length = pooled.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    pooled.iter_mut().for_each(|value| *value /= length);
    pooled
}

/// Images of normal random numbers, as a normalised photograph has them about: `(batch, channels, side, side)`.
fn random_pixels(batch: usize, channels: usize, side: usize) -> candle_core::Result<Tensor> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(PIXEL_SEED);
    let count = batch * channels * side * side;
    let values: Vec<f32> = (0..count).map(|_| StandardNormal.sample(&mut rng)).collect();
    Tensor::from_vec(values, (batch, channels, side, side), &Device::Cpu)
}

impl Engine for EncoderEngine {
    fn prepare(&mut self, case: &Case) -> Result<Prepared, EngineError> {
        let (seq, side) = self.sizes(case)?;
        if self.card.is_some() {
            cuda::encoder::check(&self.model.shape, case.quant)?;
        }
        let (needed, available) = self.memory(case, seq, side);
        if needed.0 > available.0 {
            return Err(EngineError::DoesNotFit { needed, available });
        }
        self.pixels = None;
        let anew = self.load_unless(case.quant)?;
        if let Some(image) = &self.model.shape.image {
            self.pixels = Some(random_pixels(case.batch, image.channels, side).map_err(failed)?);
        }
        let weights = loaded(&mut self.loaded)?;
        let prepared = weights.prepare(case.batch, seq);
        let weight_bytes = weights.matrix_bytes();
        let notes = encoding_notes(case.quant, weights.encodings());
        let remarks = weights.remarks();
        prepared.map_err(|error| self.or_lost(error))?;
        Ok(Prepared {
            loaded: anew,
            weight_bytes,
            decode_weight_bytes: weight_bytes,
            cache_bytes: Bytes(0.0),
            cache_token_bytes: Bytes(0.0),
            notes,
            remarks,
            ..Prepared::default()
        })
    }

    /// One forward pass. `step` is called once, when embeddings or logits are on the host; no tokens are generated.
    fn iterate(&mut self, case: &Case, prompts: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError> {
        let finite = match &self.pixels {
            Some(pixels) => {
                let weights = loaded(&mut self.loaded)?;
                let logits = Device::Cpu.with_context(|| weights.logits(pixels)?.flatten_all()?.to_vec1::<f32>());
                logits.map_err(|error| self.explained(error))?.iter().all(|logit| logit.is_finite())
            }
            None => {
                let texts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
                self.embed_batch(&texts)?.iter().flatten().all(|number| number.is_finite())
            }
        };
        if step().is_break() {
            return Err(EngineError::Stopped);
        }
        Ok(Generated { tokens: vec![Vec::new(); case.batch], finite })
    }

    fn synchronize(&mut self) -> Result<(), EngineError> {
        match &self.card {
            Some(card) => Ok(card.synchronize()?),
            None => Ok(()),
        }
    }

    fn lost(&mut self) -> Option<String> {
        self.card.as_ref().and_then(|card| card.lost()).map(|error| error.to_string())
    }

    fn copy_time(&self) -> Option<Seconds> {
        self.card.as_ref().map(|card| card.upload_time())
    }

    fn peak_device_memory(&mut self) -> Option<Bytes> {
        self.card.as_ref().map(|card| card.allocated_peak())
    }

    fn reset_peak_device_memory(&mut self) -> bool {
        self.card.as_ref().is_some_and(|card| {
            card.reset_allocated_peak();
            true
        })
    }

    fn vocab_size(&self) -> usize {
        self.model.shape.vocab_size
    }

    fn on_load(&mut self, told: Box<dyn FnMut(usize, usize) + Send>) {
        self.on_load = told;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_are_pooled_and_of_length_one() {
        let rows = [3.0, 0.0, 3.0, 8.0];
        assert_eq!(embedding(&rows, 2, Pooling::Mean), [0.6, 0.8]);
        assert_eq!(embedding(&rows, 2, Pooling::Cls), [1.0, 0.0]);
        assert_eq!(embedding(&[0.0, 0.0], 2, Pooling::Mean), [0.0, 0.0]);
    }
}
