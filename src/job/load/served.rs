//! What is served behind an endpoint, as far as the server, `--model` and the names say: its shape, precision, engine. What
//! nobody says is unknown, and never assumed.

use super::options::EndpointOptions;
use crate::engine::endpoint::ServerDescription;
use crate::engine::weights::{KnownShape, model_shape};
use crate::evidence::{level_within, model_named};
use crate::job::error::{JobError, usage};
use crate::record::{EngineRecord, ModelRecord};
use crate::workload::Quant;
use serde_json::Value;
use std::path::Path;

/// What is known of a served model.
pub(super) struct ServedModel {
    pub(super) model: Option<ModelRecord>,
    pub(super) quant: Quant,
    pub(super) engine: EngineRecord,
    pub(super) notes: Vec<String>,
}

/// The level that stands for one that nobody says.
fn unknown() -> Quant {
    Quant::of_file("precision", None).unwrap_or(Quant::F16)
}

/// Puts together what is said of the model `served`, which the record calls `name`.
pub(super) fn known(
    target: &EndpointOptions,
    about: &ServerDescription,
    (served, name): (&str, &str),
    is_local: bool,
) -> Result<ServedModel, JobError> {
    let mut notes = Vec::new();
    let model = model(target, about, (served, name), is_local, &mut notes)?;
    let place = about.place.as_deref().filter(|_| is_local);
    let quant = quant(target, about, (served, place), &mut notes);
    let mut engine = EngineRecord {
        name: target.engine.clone().or(about.engine.clone()).unwrap_or("endpoint".to_string()),
        version: about.version.clone().unwrap_or_default(),
        device: "endpoint".to_string(),
        ..EngineRecord::default()
    };
    let settings = [
        ("dtype", about.dtype.clone()),
        ("quantization", about.quantization.clone()),
        ("max_context", about.max_context.map(|most| most.to_string())),
    ];
    engine.settings.extend(settings.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))));
    Ok(ServedModel { model, quant, engine, notes })
}

/// The shape: of `--model`, of the folder that a server on this machine names, or of a preset of that name or size.
fn model(
    target: &EndpointOptions,
    about: &ServerDescription,
    (served, name): (&str, &str),
    is_local: bool,
    notes: &mut Vec<String>,
) -> Result<Option<ModelRecord>, JobError> {
    let record = |known: KnownShape, kind: &str| ModelRecord {
        name: name.to_string(),
        kind: kind.to_string(),
        location: Some(known.source),
        synthetic: false,
        hash: String::new(),
        parameters: known.shape.parameters(),
        shape: known.shape,
    };
    if let Some(model) = &target.model {
        return match model_shape(model, false) {
            Ok(known) => Ok(Some(record(known, "named"))),
            Err(why) => usage(format!("--model: {why}")),
        };
    }
    let place = about.place.as_deref().map(Path::new).filter(|place| is_local && place.is_absolute() && place.exists());
    if let Some(known) = place.and_then(|place| model_shape(place, false).ok()) {
        notes.push(format!("the shape of the model is that of {}, which the server names", known.source));
        return Ok(Some(record(known, "served")));
    }
    let names = [Some(served), about.place.as_deref()];
    let found = names.into_iter().flatten().find_map(|name| model_named(name, about.parameters, None));
    let found = found.map(|found| ModelRecord { name: name.to_string(), kind: "served".to_string(), ..found });
    if found.is_none() {
        notes.push(
            "the sizes of the served model are not known: --model takes its config.json, folder, GGUF file or preset"
                .to_string(),
        );
    }
    Ok(found)
}

/// The precision: of `--quant`, in the server's words, in the name of the model, or of its config.json.
fn quant(
    target: &EndpointOptions,
    about: &ServerDescription,
    (served, place): (&str, Option<&str>),
    notes: &mut Vec<String>,
) -> Quant {
    if let Some(quant) = target.quant {
        return quant;
    }
    let word = |word: &Option<String>| word.as_deref().and_then(level_within);
    // Weights in blocks are computed with in the type that the server names.
    let said = word(&about.quantization);
    let named = || [Some(served), about.place.as_deref()].into_iter().flatten().find_map(level_within);
    let (quant, from) = match (said, word(&about.dtype)) {
        (Some(quant), _) => (Some(quant), "as the server says"),
        (None, dtype) => match named() {
            Some(quant) => (Some(quant), "by the model's name"),
            None if dtype.is_some() => (dtype, "as the server says"),
            None => (config(target.model.as_deref().or(place)), "by the model's config.json"),
        },
    };
    match quant {
        Some(quant) => notes.push(format!("the precision of the model is {quant} {from}")),
        None => notes.push("the precision of the served model is not known: --quant names it".to_string()),
    }
    quant.unwrap_or_else(unknown)
}

/// What a config.json says of the precision of its weights.
fn config(model: Option<&str>) -> Option<Quant> {
    let path = Path::new(model?);
    let file = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    if file.extension().is_none_or(|ending| ending != "json") {
        return path.file_name().and_then(|name| level_within(&name.to_string_lossy()));
    }
    let config: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    if let Some(quantized) = config.get("quantization_config") {
        let method = quantized.get("quant_method").and_then(Value::as_str).unwrap_or("");
        let bits = quantized.get("bits").or(quantized.get("w_bit")).and_then(Value::as_u64);
        let with_bits = bits.and_then(|bits| level_within(&format!("{method}-int{bits}")));
        return with_bits.or_else(|| level_within(method)).or_else(|| Quant::of_file(method, bits.map(|b| b as f64)));
    }
    let dtype = config.get("torch_dtype").or(config.get("dtype")).and_then(Value::as_str)?;
    level_within(dtype)
}
