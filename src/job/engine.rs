//! Which engine runs a model on a device, and what a record says of it: the only place of this room that names engines.

use super::error::JobError;
use crate::device::cuda::{Card, CudaError};
use crate::device::{DeviceId, nvidia};
use crate::engine::backend::cpu::simd::Level;
use crate::engine::backend::ops::Kernels;
use crate::engine::open::{LanguageEngine, batch_model, describe};
use crate::engine::scheduler::BatchModel;
use crate::engine::weights::ModelDescription;
use crate::engine::weights::OpenedModel;
use crate::record::run::{BY_CANDLE, EngineRecord, ModelRecord};
use crate::workload::Quant;
use std::sync::Arc;

/// What a record says of a model.
pub(super) fn model_record(about: ModelDescription<'_>) -> anyhow::Result<ModelRecord> {
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

/// Whose kernels the engine of a record has.
pub(super) fn kernels_of(engine: &EngineRecord) -> Kernels {
    if engine.name == BY_CANDLE { Kernels::Candle } else { Kernels::Own }
}

/// The kernels that compute on this CPU.
pub(super) fn cpu_kernels() -> &'static str {
    Level::best().name()
}

/// The engine that `quality` asks, whose logits can be had.
pub(super) fn answering(model: OpenedModel, device: DeviceId, kernels: Kernels) -> Result<LanguageEngine, JobError> {
    Ok(LanguageEngine::new(model, open_card(device)?, kernels)?)
}

/// The model that `load` serves, with places for up to so many sequences of so many tokens, and passes of up to so many tokens
/// of prompts; whether memory allowed fewer; and what a record says of the engine.
pub(super) fn serving(
    model: OpenedModel,
    (device, kernels): (DeviceId, Kernels),
    quant: Quant,
    room: (usize, usize, usize),
) -> Result<(Box<dyn BatchModel>, bool, EngineRecord), JobError> {
    let card = open_card(device)?;
    let record = describe(card.as_deref(), kernels);
    let (batch, is_fewer) = batch_model(model, (card, kernels), quant, room)?;
    Ok((batch, is_fewer, record))
}
