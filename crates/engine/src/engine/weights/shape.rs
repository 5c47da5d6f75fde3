//! The shape of a model that need not run: of what `--model` may name, and of a config.json by itself.

use super::{ModelError, REFERENCE, gguf, hub, names_file, read_preset};
use crate::workload::model::config;
use crate::workload::{ModelShape, Preset, model::preset};
use std::ffi::OsStr;
use std::path::Path;

/// A shape and where it is from.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownShape {
    /// What the model is called.
    pub name: String,
    /// The file, folder, hub id or page that gives the sizes.
    pub source: String,
    /// The sizes. Those of a model that the engine does not run are for sizing only.
    pub shape: ModelShape,
    /// How the checkpoint is quantized already, where its config.json says so.
    pub quantization: Option<String>,
}

/// The shape of a model by its preset, a file of one, a folder with config.json, a config.json, a GGUF file or a hub id, of
/// which no more than the config.json is fetched. No weights are needed and none are read. The error names the file and the
/// key that is missing or that makes the matrices others than the sizes say.
pub fn model_shape(model: impl AsRef<OsStr>, show_progress: bool) -> Result<KnownShape, ModelError> {
    let path = Path::new(model.as_ref());
    if path.is_dir() {
        let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        return of_config(&path.join("config.json"), name);
    }
    if path.is_file() {
        let known = |name: String, shape| {
            Ok(KnownShape { name, source: path.display().to_string(), shape, quantization: None })
        };
        let stem = path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
        return match path.extension().and_then(OsStr::to_str) {
            Some("toml") => read_preset(path).and_then(|preset| known(preset.name, preset.shape)),
            Some("json") => {
                let folder = path.canonicalize().ok().and_then(|path| Some(path.parent()?.file_name()?.to_owned()));
                let is_config = stem == "config";
                of_config(path, folder.filter(|_| is_config).map(|name| name.to_string_lossy().into_owned()))
            }
            Some("safetensors") => {
                Err(ModelError::new(path, "give the folder that holds it and config.json, or the config.json"))
            }
            _ => gguf::shape(path).and_then(|shape| known(stem, shape)),
        };
    }
    let Some(name) = path.to_str() else { return Err(ModelError::new(path, "no such file or folder")) };
    if name == REFERENCE
        && let Some(text) = preset::reference_files().and_then(|files| files.get_file(files.path().join("config.json")))
    {
        return parsed(Path::new(name), text.contents(), Some(name.to_string()));
    }
    match Preset::named(name) {
        Ok(preset) => {
            Ok(KnownShape { name: preset.name, source: preset.source, shape: preset.shape, quantization: None })
        }
        Err(_) if names_file(name) => Err(ModelError::new(path, "no such file")),
        Err(_) if hub::is_hub_id(name) => {
            let file = hub::config(name, show_progress)?;
            let known = of_config(&file, Some(hub::name(name)))?;
            Ok(KnownShape { source: name.to_string(), ..known })
        }
        Err(message) => Err(ModelError { file: "--model".to_string(), message }),
    }
}

fn of_config(path: &Path, name: Option<String>) -> Result<KnownShape, ModelError> {
    let text = std::fs::read(path)
        .map_err(|e| ModelError::new(path, format!("{e}; the sizes of a model stand in its config.json")))?;
    parsed(path, &text, name)
}

fn parsed(path: &Path, text: &[u8], name: Option<String>) -> Result<KnownShape, ModelError> {
    let stem = || path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
    let text = String::from_utf8_lossy(text);
    let shape = config::sizes(&text).map_err(|message| ModelError::new(path, message))?;
    let quantization = config::quantization(&text);
    Ok(KnownShape { name: name.unwrap_or_else(stem), source: path.display().to_string(), shape, quantization })
}
