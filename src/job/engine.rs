//! Which engine runs a model on a device, and what a record says of it: the only place of this room that names engines.

use super::error::{JobError, usage};
use crate::device::cuda::{Card, CudaError};
use crate::device::{DeviceId, nvidia};
use crate::engine::backend::cpu::simd::Level;
use crate::engine::backend::ops::Kernels;
use crate::engine::open::About;
use crate::engine::session::candle::{CANDLE_VERSION, CandleEngine};
use crate::engine::weights::OpenedModel;
use crate::record::run::{EngineRecord, ModelRecord};
use std::sync::Arc;

/// The name of the engine that computes by candle's own kernels: what it measures is not mixed with the other's.
const CANDLE_OPS: &str = "candle-ops";

/// What a record says of a model.
pub(super) fn model_record(about: About<'_>) -> anyhow::Result<ModelRecord> {
    Ok(ModelRecord {
        name: about.name.to_string(),
        kind: about.kind.to_string(),
        location: about.location.map(str::to_string),
        synthetic: about.synthetic,
        hash: about.origin.hash()?,
        parameters: about.shape.parameters(),
        shape: about.shape.clone(),
    })
}

/// The card of a device: one for all of this process that computes on it.
pub(super) fn open_card(device: DeviceId) -> Result<Option<Arc<Card>>, CudaError> {
    device.card().map(|index| nvidia::while_opening(index as u32, || Card::shared(index))).transpose()
}

/// What computes on `card`, or on the CPU.
pub(super) fn engine_record(card: Option<&Card>, kernels: Kernels) -> EngineRecord {
    let own = card.map_or_else(cpu_engine, cuda_engine);
    match kernels {
        Kernels::Own => own,
        Kernels::Candle => by_candle(own),
    }
}

/// Whose kernels the engine of a record has.
pub(super) fn kernels_of(engine: &EngineRecord) -> Kernels {
    if engine.name == CANDLE_OPS { Kernels::Candle } else { Kernels::Own }
}

/// The engine record of candle's own kernels, from that of the project's.
fn by_candle(own: EngineRecord) -> EngineRecord {
    EngineRecord {
        name: CANDLE_OPS.to_string(),
        kernels: "candle's own, one operation after the other".to_string(),
        compute_type: "activations and KV cache in the type of the weights, f32 for weights in blocks".to_string(),
        ..own
    }
}

/// What computes on a card.
fn cuda_engine(card: &Card) -> EngineRecord {
    let (major, minor) = card.facts.capability;
    let gemm = match card.blas() {
        Ok(_) => "cuBLASLt",
        Err(_) => "the project's own kernel",
    };
    let form = card.kernel_form().unwrap_or_else(|error| error.to_string());
    let memory =
        card.no_pool().map_or(String::new(), |why| format!(", memory piece by piece as its pool is not used ({why})"));
    EngineRecord {
        name: "candle".to_string(),
        version: CANDLE_VERSION.to_string(),
        device: format!("cuda:{}", card.facts.index),
        hardware: Some(card.facts.name.clone()),
        kernels: format!(
            "fused kernels ({form}) on compute capability {major}.{minor}, matrix products by {gemm}{memory}"
        ),
        compute_type: "16-bit activations and KV cache, f32 residual".to_string(),
        ..EngineRecord::default()
    }
}

/// What computes on the CPU.
pub(super) fn cpu_engine() -> EngineRecord {
    EngineRecord {
        name: "candle".to_string(),
        version: CANDLE_VERSION.to_string(),
        device: "cpu".to_string(),
        hardware: None,
        kernels: cpu_kernels().to_string(),
        compute_type:
            "f32 activations, rounded to 8 bits by blocks of 32 for quantized weights; f16 KV cache (f32 for f32)"
                .to_string(),
        ..EngineRecord::default()
    }
}

/// The kernels that compute on this CPU.
pub(super) fn cpu_kernels() -> &'static str {
    Level::best().name()
}

/// The engine that `quality` asks, whose logits can be had.
pub(super) fn answering(model: OpenedModel, device: DeviceId, kernels: Kernels) -> Result<CandleEngine, JobError> {
    Ok(match open_card(device)? {
        Some(_) if kernels == Kernels::Own => {
            return usage("quality on a card is measured by candle's kernels: add --kernels candle");
        }
        Some(card) => CandleEngine::on_card(model, card)?,
        None => CandleEngine::new(model, kernels),
    })
}

/// The engine that `load` serves a model by, and what a record says of it. The project's kernels of cards run batches of one
/// length: sequences that come and go need candle's.
pub(super) fn serving(model: OpenedModel, device: DeviceId) -> Result<(CandleEngine, EngineRecord), JobError> {
    Ok(match open_card(device)? {
        Some(card) => {
            let record = engine_record(Some(&card), Kernels::Candle);
            (CandleEngine::on_card(model, card)?, record)
        }
        None => (CandleEngine::new(model, Kernels::Own), cpu_engine()),
    })
}
