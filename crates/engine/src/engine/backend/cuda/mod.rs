//! The engine on an NVIDIA card: weights come through candle, and the kernels of `kernels/` compute with them.

pub mod backend;
mod batch;
mod buffers;
pub mod encoder;
mod fitting;
mod generate;
mod language;
mod launcher;
mod model;
mod ops;
mod products;
mod segments;
mod serving;
mod stack;
mod weights;

pub use batch::CudaBatch;
pub use language::CudaLanguageModel;
pub use model::{CudaModel, LoadError};
pub use weights::Compute;

use crate::device::cuda::{Card, CudaError};
use crate::engine::model::computed::{self, ComputedBlock, blocks_of};
use crate::engine::session::candle::or_lost;
use crate::engine::weights::OpenedModel;
use crate::engine::{Engine, EngineError, Generated, Prepared, Step};
use crate::units::{Bytes, Seconds};
use crate::workload::model::parts::{Activation, Embedding, NormKind, NormPlace, Parts};
use crate::workload::{CacheType, Case, ModelShape, Quant};
use generate::DecodeGraph;
use products::ProductPath;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of one number of the key-value cache.
const CACHE: CacheType = CacheType::F16;

/// The engine, with at most one level of weights on the card.
pub struct CudaEngine {
    card: Arc<Card>,
    model: OpenedModel,
    loaded: Option<(Quant, CudaModel)>,
    /// For the buffers of the case that was prepared last.
    replay: Option<DecodeGraph>,
    on_load: Box<dyn FnMut(usize, usize) + Send>,
    /// Bytes that weights turned out to take.
    learned: HashMap<Quant, Bytes>,
}

impl From<CudaError> for EngineError {
    fn from(error: CudaError) -> Self {
        match error {
            // What was asked for last is not what is needed: there is all that was allocated before it.
            CudaError::OutOfMemory { asked, free, held, .. } => {
                Self::DoesNotFit { needed: held + asked, available: held + free }
            }
            CudaError::Unsupported(why) => Self::Unsupported(why),
            lost @ CudaError::Lost { .. } => Self::DeviceLost(lost.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl CudaEngine {
    /// An engine for `model` on `card`, with nothing loaded yet.
    pub fn new(card: Arc<Card>, model: OpenedModel) -> Self {
        Self { card, model, loaded: None, replay: None, on_load: Box::new(|_, _| ()), learned: HashMap::new() }
    }

    /// The card.
    pub fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn load(&mut self, quant: Quant) -> Result<(), EngineError> {
        (self.replay, self.loaded) = (None, None);
        self.card.trim()?;
        let model = |e: crate::engine::weights::ModelError| EngineError::Model(e.to_string());
        let divisors = self.model.weights.rope_divisors().map_err(model)?;
        if let Some(count) = divisors.as_ref().map(Vec::len).filter(|n| *n != self.model.shape.head_dim / 2) {
            return Err(EngineError::Model(format!("rope_freqs.weight has {count} numbers, not half a head")));
        }
        let weights = self.model.weights.as_mut();
        let on_load = self.on_load.as_mut();
        let decoder = CudaModel::load(self.card.clone(), &self.model.shape, weights, quant, divisors, on_load);
        let decoder = decoder.map_err(|error| match error {
            LoadError::Model(error) => model(error),
            LoadError::Cuda(error) => {
                self.learn_of(quant, &error);
                EngineError::from(error)
            }
        })?;
        self.loaded = Some((quant, decoder));
        self.learn(quant);
        Ok(())
    }

    /// What the kernels ask of a case.
    fn check_case(&self, case: &Case) -> Result<(), EngineError> {
        check_shape(&self.model.shape)?;
        let most = self.model.shape.max_context;
        if case.context() > most {
            return Err(EngineError::Unsupported(format!(
                "{} prompt and {} generated tokens exceed the model's context of {most}",
                case.prompt_tokens(),
                case.gen_tokens()
            )));
        }
        self.check_level(case.quant)
    }

    /// What the kernels ask of a level, and what the weights can be had at.
    fn check_level(&self, quant: Quant) -> Result<(), EngineError> {
        check_level(quant)?;
        self.model.weights.check_quant(quant).map_err(EngineError::Unsupported)
    }
}

/// What the kernels lack of a model's parts, where they do.
fn lacking(parts: &Parts) -> Option<&'static str> {
    if matches!(parts.embedding, Embedding::Tokens { scale: Some(_), .. }) {
        return Some("embeddings that are scaled");
    }
    let lacking_of = |ComputedBlock { norms, feed_forward, .. }: &ComputedBlock| match (norms, parts.norm) {
        (NormPlace::Around, _) => Some("norms behind attention and feed-forward"),
        (NormPlace::Behind, NormKind::Rms) => Some("RMS norms behind a block"),
        _ => match (feed_forward.activation, feed_forward.gated) {
            (Activation::Silu, true) | (Activation::GeluErf, false) => None,
            _ => Some("the activation of its feed-forward part"),
        },
    };
    blocks_of(parts).iter().find_map(lacking_of)
}

/// What the kernels ask of a shape.
pub(super) fn check_shape(shape: &ModelShape) -> Result<(), EngineError> {
    let refuse = |why: String| Err(EngineError::Unsupported(format!("the CUDA kernels cannot: {why}")));
    computed::blocks(shape).map_err(EngineError::Unsupported)?;
    if let Some(what) = lacking(&shape.parts()) {
        return refuse(format!("{what}, as the architecture `{}` has them", shape.architecture));
    }
    if !shape.head_dim.is_multiple_of(8) || shape.head_dim > 256 {
        return refuse(format!("heads of {}: they take multiples of 8 up to 256", shape.head_dim));
    }
    if [shape.hidden_size, shape.intermediate_size].iter().any(|width| !width.is_multiple_of(8)) {
        return refuse("widths that are no multiple of 8".to_string());
    }
    if shape.heads / shape.kv_heads.max(1) > 16 {
        return refuse("more than 16 query heads that share a key head".to_string());
    }
    Ok(())
}

/// What the kernels ask of a level.
pub(super) fn check_level(quant: Quant) -> Result<(), EngineError> {
    if !quant.is_runnable() {
        let why =
            format!("{quant} is not computed on CUDA; its answers are had on the CPU, by rounding: leave out --device");
        return Err(EngineError::Unsupported(why));
    }
    if quant == Quant::F32 {
        let why = "f32 is not computed on CUDA: tensor cores and kernels take 16 bits (f16, bf16, int8, int4)";
        return Err(EngineError::Unsupported(why.to_string()));
    }
    weights::check_encoding(quant.nominal_encoding()).map_err(EngineError::Unsupported)
}

/// What computes the matrix products of a case that has some.
fn remarks(decoder: &CudaModel, case: &Case) -> Result<Vec<String>, EngineError> {
    let mut product_paths = decoder.product_paths(case.batch * case.prompt_tokens(), case.batch)?;
    product_paths.extend(decoder.product_paths(case.batch, case.batch)?);
    if !product_paths.iter().any(|way| matches!(way, ProductPath::Matrix | ProductPath::Widened)) {
        return Ok(Vec::new());
    }
    Ok(vec![products_by(decoder.card())])
}

/// Who computes matrix products on `card`.
fn products_by(card: &Card) -> String {
    match card.blas() {
        Ok(_) => "matrix products by cuBLASLt".to_string(),
        Err(why) => format!("matrix products by the project's own kernel: {why}"),
    }
}

/// What a decode step does with the weights more than once at this batch. Where the card has no matrix product a prefill does
/// so too, in as many passes as its rows take.
fn rereads(decoder: &CudaModel, case: &Case) -> Result<Option<String>, EngineError> {
    let first = |rows: usize| -> Result<Option<String>, CudaError> {
        Ok(decoder.product_paths(rows, case.batch)?.into_iter().find_map(ProductPath::rereads))
    };
    if case.gen_tokens() > 1
        && let Some(how) = first(case.batch)?
    {
        return Ok(Some(format!("a decode step of batch {} {how}", case.batch)));
    }
    if decoder.has_gemm()? {
        Ok(None)
    } else {
        Ok(first(case.batch * case.prompt_tokens())?.map(|how| format!("the prefill {how}")))
    }
}

impl CudaEngine {
    fn make_ready(&mut self, case: &Case) -> Result<Prepared, EngineError> {
        self.check_case(case)?;
        self.check_room(case)?;
        let shape = self.model.shape.clone();
        let loaded = self.loaded.as_ref().is_none_or(|(quant, _)| *quant != case.quant);
        if loaded {
            self.load(case.quant)?;
        }
        let Some((_, decoder)) = &mut self.loaded else {
            return Err(EngineError::Failed("no weights are loaded".to_string()));
        };
        self.replay = None;
        // The last token is generated but never fed back.
        decoder.allocate(case.batch, case.context() - 1, case.prompt_tokens())?;
        decoder.rehearse(case.prompt_tokens(), case.gen_tokens() > 1)?;
        self.replay = Some(DecodeGraph::new(&self.card, case.batch)?);
        Ok(Prepared {
            loaded,
            weight_bytes: decoder.matrix_bytes(),
            decode_weight_bytes: decoder.decode_matrix_bytes(),
            cache_bytes: shape.whole_cache_bytes(case.batch, case.context() - 1, CACHE),
            cache_token_bytes: shape.whole_cache_bytes(1, 1, CACHE),
            notes: crate::engine::session::candle::encoding_notes(case.quant, decoder.encodings()),
            remarks: remarks(decoder, case)?,
            rereads: rereads(decoder, case)?,
        })
    }
}

impl Engine for CudaEngine {
    fn prepare(&mut self, case: &Case) -> Result<Prepared, EngineError> {
        self.make_ready(case).map_err(|error| or_lost(error, &self.card))
    }

    fn iterate(&mut self, case: &Case, prompts: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError> {
        let (Some((_, decoder)), Some(replay)) = (&mut self.loaded, &mut self.replay) else {
            return Err(EngineError::Failed("iterate was called before prepare".to_string()));
        };
        let generated = replay.generate(decoder, prompts, case.gen_tokens(), step);
        generated.map_err(|error| or_lost(error, &self.card))
    }

    fn synchronize(&mut self) -> Result<(), EngineError> {
        Ok(self.card.synchronize()?)
    }

    fn lost(&mut self) -> Option<String> {
        self.card.lost().map(|error| error.to_string())
    }

    fn copy_time(&self) -> Option<Seconds> {
        Some(self.card.upload_time())
    }

    fn vocab_size(&self) -> usize {
        self.model.shape.vocab_size
    }

    fn on_load(&mut self, told: Box<dyn FnMut(usize, usize) + Send>) {
        self.on_load = told;
    }

    fn peak_device_memory(&mut self) -> Option<Bytes> {
        Some(self.card.allocated_peak())
    }

    fn reset_peak_device_memory(&mut self) -> bool {
        self.card.reset_allocated_peak();
        true
    }

    fn sample_text(&mut self, prompt: &str, tokens: usize) -> Option<String> {
        if self.model.synthetic {
            return None;
        }
        let tokenizer = self.model.tokenizer.as_ref()?;
        let (_, decoder) = self.loaded.as_mut()?;
        let mut ids = tokenizer.encode(prompt, true).ok()?.get_ids().to_vec();
        self.replay = None;
        decoder.allocate(1, ids.len() + tokens, ids.len()).ok()?;
        let mut replay = DecodeGraph::new(&self.card, 1).ok()?;
        let mut go_on = || ControlFlow::Continue(());
        let generated = replay.generate(decoder, &[ids.clone()], tokens, &mut go_on).ok()?;
        ids.extend_from_slice(&generated.tokens[0]);
        tokenizer.decode(&ids, true).ok()
    }
}
