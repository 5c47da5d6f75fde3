//! Opening what requests are sent to.

use super::args::{Args, Asked};
use super::served::{self, Served};
use crate::cli::talk::Talk;
use crate::cli::usage;
use crate::engine::endpoint::{About, Asks, Endpoint, Key, Location, Patch, Trust};
use crate::engine::target::Target;
use crate::engine::weights as source;
use crate::record::{EngineRecord, ModelRecord};
use crate::workload::Quant;
use crate::workload::traffic::prompts::Vocabulary;
use crate::workload::traffic::{PromptSource, Wording};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    pub(super) secrets: Vec<Key>,
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

/// Whose certificates are believed.
fn trust(args: &Args) -> anyhow::Result<Trust> {
    match (&args.target.ca_cert, args.target.insecure) {
        (Some(file), _) => Trust::file(file).or_else(|why| usage(format!("--ca-cert: {why}"))),
        (None, true) => Ok(Trust::Anything),
        (None, false) => Ok(Trust::System),
    }
}

/// A client of the server that `--endpoint` names.
pub(super) fn endpoint(args: &Args, asked: &Asked, talk: &Talk) -> anyhow::Result<Opened> {
    let target = &args.target;
    let Some(location) = args.location()? else { return usage("--endpoint: no address") };
    let key = target.api_key_env.as_deref().map(|name| Key::from_environment(name).or_else(usage)).transpose()?;
    let url = target.endpoint.as_deref().unwrap_or_default();
    if key.is_some() && url.starts_with("http://") && !location.is_local() {
        talk.warn("the key goes to another machine without encryption: use https:// where the server has it");
    }
    let patch = target.patch()?;
    let mut secrets = location.secrets();
    secrets.extend(patch.iter().flat_map(Patch::secrets));
    let keys: Vec<Key> = key.iter().chain(&secrets).cloned().collect();
    // Whatever is written or said from here on.
    let shown = |text: &str| keys.iter().fold(text.to_string(), |text, key| key.hidden_in_name(&text));
    let place = shown(&location.to_string());
    let vocabulary = vocabulary(target.tokenizer.as_deref())?;
    let asks = Asks {
        ignore_eos: !target.allow_eos,
        vocabulary: vocabulary.clone(),
        key,
        patch,
        trust: trust(args)?,
        secrets,
        ..Asks::new(args.api(), target.served_model.clone().unwrap_or_default())
    };
    let mut endpoint = Endpoint::new(&location, asks).map_err(|why| anyhow::anyhow!("--endpoint: {why}"))?;
    let (served, about) = introduce(&endpoint, &location, &place, target.served_model.clone())?;
    endpoint = endpoint.with_model(served.clone());
    let wording = vocabulary.clone().map_or(Wording::Words, Wording::Vocabulary);
    let name = shown(&served).rsplit('/').next().unwrap_or_default().to_string();
    let Served { model, quant, engine, mut notes } =
        served::known(args, &about, (&shown(&served), &name), location.is_local())?;
    notes.extend(words_of(args, vocabulary.is_some()));
    Ok(Opened {
        place,
        api: args.api().to_string(),
        engine: EngineRecord {
            name: shown(&engine.name),
            hardware: Some(match location.is_local() {
                true => "a server on this machine".to_string(),
                false => shown(&format!("the server at {}", location.host())),
            }),
            ..engine
        },
        model,
        model_name: name,
        quant,
        notes: notes.iter().map(|note| shown(note)).collect(),
        prompts: prompts(args, (asked.shared, asked.nonce), wording, vocabulary)?,
        is_here: location.is_local(),
        scheduler: None,
        target: Arc::new(endpoint),
        secrets: keys,
    })
}

/// What to know of how the server is asked.
fn words_of(args: &Args, has_tokenizer: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !has_tokenizer && args.traffic.prompts.is_none() {
        notes.push(
            "no --tokenizer: made-up prompts have as many words as tokens were asked for, and the server says how many \
             tokens that is"
                .to_string(),
        );
    }
    if let Some(patch) = &args.target.body_json {
        notes.push(format!("bodies of requests are changed by {patch}"));
    }
    if args.target.insecure {
        notes.push("the certificate of the server was not looked at (--insecure)".to_string());
    }
    notes
}

/// The model that is asked for, by default the first that the server lists; and what the server says of itself.
fn introduce(
    endpoint: &Endpoint,
    location: &Location,
    place: &str,
    named: Option<String>,
) -> anyhow::Result<(String, About)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = match named {
        Some(name) => name,
        None => {
            let asked = async { tokio::time::timeout(Duration::from_secs(10), endpoint.models(location)).await };
            let models = match runtime.block_on(asked) {
                Ok(Ok(models)) => models,
                Ok(Err(why)) => {
                    anyhow::bail!(
                        "{place}: its list of models: {why}; is the server there? --served-model names a model"
                    )
                }
                Err(_) => {
                    anyhow::bail!("{place}: no list of models within 10 s; --served-model names a model")
                }
            };
            match models.into_iter().next() {
                Some(model) => model,
                None => anyhow::bail!("{place} lists no model: name it with --served-model"),
            }
        }
    };
    let about = runtime.block_on(endpoint.about(location, &served));
    Ok((served, about))
}
