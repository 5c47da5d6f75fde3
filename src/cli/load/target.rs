//! Opening what requests are sent to.

use super::args::{Args, Asked};
use crate::cli::talk::Talk;
use crate::cli::usage;
use crate::engine::candle::source;
use crate::engine::endpoint::{Asks, Endpoint, Key, Location};
use crate::engine::target::Target;
use crate::record::{EngineRecord, ModelRecord};
use crate::workload::traffic::prompts::Vocabulary;
use crate::workload::traffic::{PromptSource, Wording};
use crate::workload::{Preset, Quant};
use std::path::Path;
use std::sync::Arc;

/// What requests are sent to, and what a record says of it.
pub(super) struct Opened {
    pub(super) target: Arc<dyn Target>,
    /// How the record names it.
    pub(super) place: String,
    pub(super) api: String,
    pub(super) engine: EngineRecord,
    /// The model's name.
    pub(super) model_name: String,
    pub(super) model: Option<ModelRecord>,
    pub(super) quant: Quant,
    /// What the quantization is known from.
    pub(super) notes: Vec<String>,
    pub(super) prompts: PromptSource,
    /// It runs on this machine.
    pub(super) is_here: bool,
    pub(super) scheduler: Option<crate::record::SchedulerRecord>,
    /// What must stand nowhere.
    pub(super) key: Option<Key>,
}

/// A tokenizer.json, or the one in a folder.
fn vocabulary(path: Option<&Path>) -> anyhow::Result<Option<Arc<Vocabulary>>> {
    let Some(path) = path else { return Ok(None) };
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
    Ok(Some(Arc::new(Vocabulary::new(source::read_tokenizer(&file)?))))
}

/// Prompts as the arguments ask for them, in words of `wording`.
pub(super) fn prompts(
    args: &Args,
    (shared, nonce): (f64, u64),
    wording: Wording,
    vocabulary: Option<Arc<Vocabulary>>,
) -> anyhow::Result<PromptSource> {
    let traffic = &args.traffic;
    match &traffic.prompts {
        Some(file) => PromptSource::read(file, vocabulary, traffic.gen_tokens, args.seed).or_else(usage),
        None => Ok(PromptSource::synthetic(wording, traffic.prompt, traffic.gen_tokens, shared, (args.seed, nonce))),
    }
}

/// A client of the server that `--endpoint` names.
pub(super) fn endpoint(args: &Args, asked: &Asked, talk: &Talk) -> anyhow::Result<Opened> {
    let target = &args.target;
    let url = target.endpoint.as_deref().unwrap_or_default();
    let location = match Location::parse(url) {
        Ok(location) => location,
        Err(why) => return usage(format!("--endpoint: {why}")),
    };
    let key = target.api_key_env.as_deref().map(|name| Key::from_environment(name).or_else(usage)).transpose()?;
    if key.is_some() && url.starts_with("http://") && !location.is_local() {
        talk.warn("the key goes to another machine without encryption: use https:// where the server has it");
    }
    // Whatever is written or said from here on.
    let shown = |text: &str| key.as_ref().map_or(text.to_string(), |key| key.hidden_in_name(text));
    let place = shown(&location.to_string());
    let vocabulary = vocabulary(target.tokenizer.as_deref())?;
    let asks = Asks {
        api: target.api,
        model: target.served_model.clone().unwrap_or_default(),
        ignore_eos: !target.allow_eos,
        vocabulary: vocabulary.clone(),
        key: key.clone(),
    };
    let mut endpoint = Endpoint::new(&location, asks).map_err(|why| anyhow::anyhow!("--endpoint: {why}"))?;
    let served = match &target.served_model {
        Some(name) => name.clone(),
        None => first_model(&endpoint, &location, &place)?,
    };
    endpoint = endpoint.with_model(served.clone());
    let wording = vocabulary.clone().map_or(Wording::Words, Wording::Vocabulary);
    let mut notes = Vec::new();
    if vocabulary.is_none() && args.traffic.prompts.is_none() {
        notes.push(
            "no --tokenizer: made-up prompts have as many words as tokens were asked for, and the server says how many \
             tokens that is"
                .to_string(),
        );
    }
    if target.quant.is_none() {
        notes.push("the precision of the server is not known: f16 is assumed (--quant names it)".to_string());
    }
    let name = shown(&served).rsplit('/').next().unwrap_or_default().to_string();
    Ok(Opened {
        place,
        api: target.api.to_string(),
        engine: EngineRecord {
            name: shown(target.engine.as_deref().unwrap_or("endpoint")),
            version: String::new(),
            device: "endpoint".to_string(),
            hardware: Some(match location.is_local() {
                true => "a server on this machine".to_string(),
                false => shown(&format!("the server at {}", location.host())),
            }),
            ..EngineRecord::default()
        },
        model: known_model(&name),
        model_name: name,
        quant: target.quant.unwrap_or(Quant::F16),
        notes,
        prompts: prompts(args, (asked.shared, asked.nonce), wording, vocabulary)?,
        is_here: location.is_local(),
        scheduler: None,
        target: Arc::new(endpoint),
        key,
    })
}

/// The first model that a server lists.
fn first_model(endpoint: &Endpoint, location: &Location, place: &str) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async { tokio::time::timeout(std::time::Duration::from_secs(10), endpoint.models(location)).await };
    let models = match runtime.block_on(asked) {
        Ok(Ok(models)) => models,
        Ok(Err(why)) => anyhow::bail!("{place}/v1/models: {why}; is the server there? --served-model names a model"),
        Err(_) => anyhow::bail!("{place}/v1/models: no answer within 10 s; --served-model names a model"),
    };
    match models.into_iter().next() {
        Some(model) => Ok(model),
        None => anyhow::bail!("{place}/v1/models lists no model: name it with --served-model"),
    }
}

/// The preset of this name, whose shape projections need.
fn known_model(name: &str) -> Option<ModelRecord> {
    let preset = Preset::named(&name.to_lowercase()).ok()?;
    Some(ModelRecord {
        name: preset.name.clone(),
        kind: "preset".to_string(),
        location: None,
        synthetic: false,
        hash: String::new(),
        parameters: preset.shape.parameters(),
        shape: preset.shape,
    })
}
