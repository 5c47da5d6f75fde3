//! Which engine computes: on the CPU or a card, by the project's own kernels or by candle's. Everything else asks what it gets
//! through a trait, and a record gets how the engine describes itself.

use super::backend::cpu::simd::Level;
use super::backend::cuda::CudaEngine;
use super::backend::ops::Kernels;
use super::language::HeldWeights;
use super::model::reference;
use super::scheduler::BatchModel;
use super::session::candle::{CANDLE_VERSION, CandleEngine};
use super::session::encoder::EncoderEngine;
use super::weights::OpenedModel;
use super::{Engine, EngineError};
use crate::device::cuda::Card;
use crate::record::EngineRecord;
use crate::record::run::{BY_CANDLE, OWN_ENGINE};
use crate::workload::{Pruning, Quant};
use std::sync::Arc;

/// How the engine describes itself in records.
pub fn describe(card: Option<&Card>, kernels: Kernels) -> EngineRecord {
    let own = match card {
        Some(card) => on_card(card),
        None => on_cpu(),
    };
    match kernels {
        Kernels::Own => own,
        Kernels::Candle => EngineRecord {
            name: BY_CANDLE.to_string(),
            version: CANDLE_VERSION.to_string(),
            kernels: "candle's own, one operation after the other".to_string(),
            compute_type: "activations and KV cache in the type of the weights, f32 for weights in blocks".to_string(),
            ..own
        },
    }
}

fn on_cpu() -> EngineRecord {
    EngineRecord {
        name: OWN_ENGINE.to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        device: "cpu".to_string(),
        hardware: None,
        kernels: Level::best().name().to_string(),
        compute_type:
            "f32 activations, rounded to 8 bits by blocks of 32 for quantized weights; f16 KV cache (f32 for f32)"
                .to_string(),
        ..EngineRecord::default()
    }
}

fn on_card(card: &Card) -> EngineRecord {
    let (major, minor) = card.facts.capability;
    let gemm = match card.blas() {
        Ok(_) => "cuBLASLt",
        Err(_) => "the project's own kernel",
    };
    let form = card.kernel_form().unwrap_or_else(|error| error.to_string());
    let memory =
        card.no_pool().map_or(String::new(), |why| format!(", memory piece by piece as its pool is not used ({why})"));
    EngineRecord {
        name: OWN_ENGINE.to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        device: format!("cuda:{}", card.facts.index),
        hardware: Some(card.facts.name.clone()),
        kernels: format!(
            "fused kernels ({form}) on compute capability {major}.{minor}, matrix products by {gemm}{memory}"
        ),
        compute_type: "16-bit activations and KV cache, f32 residual".to_string(),
        ..EngineRecord::default()
    }
}

impl OpenedModel {
    /// The engine that runs it: on `card`, or on the CPU.
    pub fn engine(self, card: Option<Arc<Card>>, kernels: Kernels) -> Result<Box<dyn Engine>, EngineError> {
        Ok(match (self.shape.is_encoder(), card, kernels) {
            (false, Some(card), Kernels::Own) => Box::new(CudaEngine::new(card, self)),
            (false, Some(card), Kernels::Candle) => Box::new(CandleEngine::on_card(self, card)?),
            (false, None, kernels) => Box::new(CandleEngine::new(self, kernels)),
            (true, None, kernels) => {
                if kernels == Kernels::Candle {
                    reference::check().map_err(EngineError::Unsupported)?;
                }
                Box::new(EncoderEngine::new(self, kernels))
            }
            (true, Some(card), Kernels::Own) => Box::new(EncoderEngine::on_card(self, card)),
            (true, Some(_), Kernels::Candle) => {
                return Err(EngineError::Unsupported(format!(
                    "models of the architecture `{}` run on cards by the project's own kernels only",
                    self.shape.architecture
                )));
            }
        })
    }
}

/// A model that runs pieces of sequences, with places for up to `most_slots` of `slot_tokens` positions each, as many as
/// memory allows, and passes of up to `prefill_chunk` tokens of prompts. Says whether memory allowed fewer.
pub fn batch_model(
    model: OpenedModel,
    (card, kernels): (Option<Arc<Card>>, Kernels),
    quant: Quant,
    (most_slots, slot_tokens, prefill_chunk): (usize, usize, usize),
) -> Result<(Box<dyn BatchModel>, bool), EngineError> {
    let (batch, is_fewer): (Box<dyn BatchModel>, bool) = match (card, kernels) {
        (Some(card), Kernels::Own) => {
            let engine = CudaEngine::new(card, model);
            let (batch, is_fewer) = engine.batch_model(quant, most_slots, slot_tokens, prefill_chunk)?;
            (Box::new(batch), is_fewer)
        }
        (card, kernels) => {
            let engine = by_tensors(model, card, kernels)?;
            let (batch, is_fewer) = engine.batch_model(quant, most_slots, slot_tokens, prefill_chunk)?;
            (Box::new(batch), is_fewer)
        }
    };
    Ok((batch, is_fewer))
}

fn by_tensors(model: OpenedModel, card: Option<Arc<Card>>, kernels: Kernels) -> Result<CandleEngine, EngineError> {
    match card {
        Some(card) => CandleEngine::on_card(model, card),
        None => Ok(CandleEngine::new(model, kernels)),
    }
}

/// An engine that gives language models of one opened model, one after the other.
pub struct LanguageEngine(EngineKind);

enum EngineKind {
    Tensors(Box<CandleEngine>),
    Card(Box<CudaEngine>),
}

impl LanguageEngine {
    /// For `model` on `card`, or on the CPU.
    pub fn new(model: OpenedModel, card: Option<Arc<Card>>, kernels: Kernels) -> Result<Self, EngineError> {
        Ok(Self(match (card, kernels) {
            (Some(card), Kernels::Own) => EngineKind::Card(Box::new(CudaEngine::new(card, model))),
            (card, kernels) => EngineKind::Tensors(Box::new(by_tensors(model, card, kernels)?)),
        }))
    }

    /// The model at `quant`, pruned first where that is asked for. `calibration` is the text that Wanda weighs activations
    /// by, as sequences of one length.
    pub fn language_model(
        &mut self,
        quant: Quant,
        pruning: Option<&Pruning>,
        calibration: &[Vec<u32>],
    ) -> Result<Box<dyn HeldWeights>, EngineError> {
        Ok(match &mut self.0 {
            EngineKind::Tensors(engine) => Box::new(engine.language_model(quant, pruning, calibration)?),
            EngineKind::Card(engine) => Box::new(engine.language_model(quant, pruning)?),
        })
    }

    /// Why the device is lost to this process, where it is.
    pub fn lost(&mut self) -> Option<String> {
        match &mut self.0 {
            EngineKind::Tensors(engine) => engine.lost(),
            EngineKind::Card(engine) => engine.lost(),
        }
    }
}
