//! Opening what requests are sent to.

use super::options::EndpointOptions;
use super::served::{self, ServedModel};
use crate::engine::endpoint::{Endpoint, Key, Location, Patch, RequestFormat, ServerDescription, Trust};
use crate::engine::target::Target;
use crate::engine::weights as source;
use crate::job::Context;
use crate::job::error::{JobError, failed, usage};
use crate::record::{EngineRecord, ModelRecord};
use crate::workload::Quant;
use crate::workload::traffic::Wording;
use crate::workload::traffic::prompts::Vocabulary;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An opened target: what requests are sent to, and what a record says of it.
pub(super) struct OpenedTarget {
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
    /// What made-up prompts are made of.
    pub(super) wording: Wording,
    /// Counts tokens, where there is one.
    pub(super) vocabulary: Option<Arc<Vocabulary>>,
    /// It runs on this machine.
    pub(super) is_here: bool,
    pub(super) scheduler: Option<crate::record::SchedulerRecord>,
    /// What must stand nowhere.
    pub(super) secrets: Vec<Key>,
}

/// A tokenizer.json, or the one in a folder.
fn vocabulary(path: Option<&Path>) -> Result<Option<Arc<Vocabulary>>, JobError> {
    let Some(path) = path else { return Ok(None) };
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
    Ok(Some(Arc::new(Vocabulary::new(source::read_tokenizer(&file)?))))
}

impl EndpointOptions {
    /// Whose certificates are believed.
    fn trust(&self) -> Result<Trust, JobError> {
        match (&self.ca_cert, self.insecure) {
            (Some(file), _) => Trust::file(file).or_else(|why| usage(format!("--ca-cert: {why}"))),
            (None, true) => Ok(Trust::Anything),
            (None, false) => Ok(Trust::System),
        }
    }

    /// The key, out of the environment. A key that others on the way could read is warned of.
    fn key(&self, location: &Location, context: Context<'_>) -> Result<Option<Key>, JobError> {
        let key = self.api_key_env.as_deref().map(Key::from_environment).transpose().or_else(usage)?;
        if key.is_some() && self.url.starts_with("http://") && !location.is_local() {
            context.warn("the key goes to another machine without encryption: use https:// where the server has it");
        }
        Ok(key)
    }

    /// What to know of how the server is asked.
    fn notes(&self, has_tokenizer: bool, has_prompts: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if !has_tokenizer && !has_prompts {
            notes.push(
                "no --tokenizer: made-up prompts have as many words as tokens were asked for, and the server says how many \
                 tokens that is"
                    .to_string(),
            );
        }
        if let Some((as_written, _)) = &self.body {
            notes.push(format!("bodies of requests are changed by {as_written}"));
        }
        if self.insecure {
            notes.push("the certificate of the server was not looked at (--insecure)".to_string());
        }
        notes
    }
}

/// A client of a server, which may end answers where it will if `allow_eos`; prompts are those of a file if `has_prompts`.
pub(super) fn endpoint(
    target: &EndpointOptions,
    allow_eos: bool,
    has_prompts: bool,
    context: Context<'_>,
) -> Result<OpenedTarget, JobError> {
    let location = target.location()?;
    let key = target.key(&location, context)?;
    let patch = target.body.as_ref().map(|(_, patch)| patch.clone());
    let mut secrets = location.secrets();
    secrets.extend(patch.iter().flat_map(Patch::secrets));
    let keys: Vec<Key> = key.iter().chain(&secrets).cloned().collect();
    // Whatever is written or said from here on.
    let shown = |text: &str| keys.iter().fold(text.to_string(), |text, key| key.hidden_in_name(&text));
    let place = shown(&location.to_string());
    let vocabulary = vocabulary(target.tokenizer.as_deref())?;
    let format = RequestFormat {
        ignore_eos: !allow_eos,
        vocabulary: vocabulary.clone(),
        key,
        patch,
        trust: target.trust()?,
        secrets,
        ..RequestFormat::new(target.api(), target.served_model.clone().unwrap_or_default())
    };
    let endpoint = Endpoint::new(&location, format).or_else(|why| failed(format!("--endpoint: {why}")))?;
    let (served, about) = introduce(&endpoint, &location, &place, target.served_model.clone())?;
    let endpoint = endpoint.with_model(served.clone());
    let wording = vocabulary.clone().map_or(Wording::Words, Wording::Vocabulary);
    let name = shown(&served).rsplit('/').next().unwrap_or_default().to_string();
    let ServedModel { model, quant, engine, mut notes } =
        served::known(target, &about, (&shown(&served), &name), location.is_local())?;
    notes.extend(target.notes(vocabulary.is_some(), has_prompts));
    Ok(OpenedTarget {
        place,
        api: target.api().to_string(),
        engine: EngineRecord {
            name: shown(&engine.name),
            hardware: Some(if location.is_local() {
                "a server on this machine".to_string()
            } else {
                shown(&format!("the server at {}", location.host()))
            }),
            ..engine
        },
        model,
        model_name: name,
        quant,
        notes: notes.iter().map(|note| shown(note)).collect(),
        wording,
        vocabulary,
        is_here: location.is_local(),
        scheduler: None,
        target: Arc::new(endpoint),
        secrets: keys,
    })
}

/// The model that is asked for, by default the first that the server lists; and what the server says of itself.
fn introduce(
    endpoint: &Endpoint,
    location: &Location,
    place: &str,
    named: Option<String>,
) -> Result<(String, ServerDescription), JobError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = match named {
        Some(name) => name,
        None => {
            let asked = async { tokio::time::timeout(Duration::from_secs(10), endpoint.models(location)).await };
            let models = match runtime.block_on(asked) {
                Ok(Ok(models)) => models,
                Ok(Err(why)) => {
                    return failed(format!(
                        "{place}: its list of models: {why}; is the server there? --served-model names a model"
                    ));
                }
                Err(_) => {
                    return failed(format!("{place}: no list of models within 10 s; --served-model names a model"));
                }
            };
            match models.into_iter().next() {
                Some(model) => model,
                None => return failed(format!("{place} lists no model: name it with --served-model")),
            }
        }
    };
    let about = runtime.block_on(endpoint.about(location, &served));
    Ok((served, about))
}
