//! Model presets: published shapes, one TOML file each, embedded in the binary.

use super::shape::ModelShape;
use crate::data_file::{DataFileError, nearest, parse_toml};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// How far the parameters of a shape may be from those that are published: files hold buffers and parts that nothing is computed
/// with.
const MOST_DIFFERENCE: f64 = 0.005;

static MODELS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../models");

/// The files of the small trained model.
pub fn reference_files() -> Option<&'static Dir<'static>> {
    MODELS.get_dir("reference")
}

/// A model that is known by its shape. Without weights it runs on seeded random ones: speed does not depend on
/// their values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What `--model` takes.
    pub name: String,
    /// The model's own name.
    pub about: String,
    /// Where the shape was published.
    pub source: String,
    /// Parameters as published, to check the shape against; a preset of one's own can leave them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// The sizes.
    pub shape: ModelShape,
}

impl Preset {
    /// Parses and checks the text of a preset file.
    pub fn parse(file: &str, text: &str) -> Result<Self, DataFileError> {
        let preset: Preset = parse_toml(file, text)?;
        let at = |key: &str| 1 + text.lines().position(|l| l.trim_start().starts_with(key)).unwrap_or(0);
        let error = |line, message| DataFileError { file: file.to_string(), line, message };
        preset.shape.validate().map_err(|message| {
            let key = message.split([' ', '.']).next().unwrap_or("").to_string();
            error(at(&key), message)
        })?;
        let derived = preset.shape.parameters();
        let differs = |published: &u64| (*published as f64 / derived - 1.0).abs() > MOST_DIFFERENCE;
        if let Some(published) = preset.parameters.filter(differs) {
            return Err(error(
                at("parameters"),
                format!("parameters is {published}, but the shape has {derived}: one of them is wrong"),
            ));
        }
        Ok(preset)
    }

    /// All presets that the binary carries, by parameters.
    pub fn all() -> &'static [Preset] {
        static ALL: OnceLock<Vec<Preset>> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut presets: Vec<Preset> = MODELS
                .files()
                .filter(|file| file.path().extension().is_some_and(|e| e == "toml"))
                .filter_map(|file| {
                    let text = file.contents_utf8()?;
                    Preset::parse(&file.path().display().to_string(), text).ok()
                })
                .collect();
            presets.sort_by_cached_key(|preset| preset.shape.parameters() as u64);
            presets
        })
    }

    /// The preset called `name`, or a message with the nearest name and how to list them.
    pub fn named(name: &str) -> Result<Preset, String> {
        let all = Preset::all();
        let mut known = all.iter().map(|preset| preset.name.as_str());
        let hint = match nearest(name, known.by_ref()) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        };
        all.iter().find(|preset| preset.name == name.to_lowercase()).cloned().ok_or_else(|| {
            format!(
                "`{name}` is neither a preset nor a file or folder that exists; {hint}`sizewell models list` \
                 shows the presets, a hub id has the form `owner/name`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_preset_is_sound() {
        let mut count = 0;
        for file in MODELS.files().filter(|f| f.path().extension().is_some_and(|e| e == "toml")) {
            let name = file.path().display().to_string();
            let preset = Preset::parse(&name, file.contents_utf8().unwrap()).unwrap();
            assert_eq!(format!("{}.toml", preset.name), name);
            assert!(preset.source.starts_with("https://") && preset.parameters.is_some(), "{name}");
            count += 1;
        }
        assert_eq!(Preset::all().len(), count);
        for wanted in [
            "smollm2-135m",
            "tinyllama-1.1b",
            "llama-3.2-1b",
            "llama-3.2-3b",
            "llama-3.1-8b",
            "llama-3.1-70b",
            "qwen2.5-0.5b",
            "qwen3-0.6b",
            "qwen3-4b",
            "qwen3-8b",
            "mistral-7b",
        ] {
            assert!(Preset::named(wanted).is_ok(), "{wanted}");
        }
    }

    #[test]
    fn a_near_name_is_suggested() {
        let message = Preset::named("llama-3.1-8").unwrap_err();
        assert!(message.contains("did you mean `llama-3.1-8b`"), "{message}");
    }

    #[test]
    fn a_shape_that_contradicts_its_parameters_is_refused() {
        let text = MODELS.get_file("smollm2-135m.toml").unwrap().contents_utf8().unwrap();
        let error = Preset::parse("x.toml", &text.replace("layers = 30", "layers = 29")).unwrap_err();
        assert!(error.message.contains("one of them is wrong"), "{error}");
        let error = Preset::parse("x.toml", &text.replace("head_dim = 64", "head_dim = 63")).unwrap_err();
        assert_eq!(error.line, text.lines().position(|l| l.starts_with("head_dim")).unwrap() + 1);
    }
}
