//! Which shape a model of a result file has: by its count of parameters, which tells models apart as well as a name does,
//! or by the name of a preset within its name.

use crate::record::ModelRecord;
use crate::workload::{ModelShape, Preset};
use std::sync::OnceLock;

/// Files count a few vectors more or less than the published figure (frequencies of rotary positions, for one).
const SAME_COUNT: f64 = 1e-6;

fn presets() -> &'static [Preset] {
    static PRESETS: OnceLock<Vec<Preset>> = OnceLock::new();
    PRESETS.get_or_init(Preset::all)
}

/// The shape of a model with so many parameters, its output matrix stored apart or not.
fn by_count(parameters: f64) -> Option<ModelShape> {
    let close = |count: f64| (count / parameters - 1.0).abs() <= SAME_COUNT;
    presets().iter().find_map(|preset| {
        let shape = &preset.shape;
        let apart = ModelShape { tied_embeddings: false, ..shape.clone() };
        if close(shape.parameters()) {
            Some(shape.clone())
        } else if shape.tied_embeddings && close(apart.parameters()) {
            Some(apart)
        } else {
            None
        }
    })
}

/// The name without its owner, its file ending, and the words that do not change a shape.
fn bare(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let name = name.strip_suffix(".gguf").unwrap_or(&name).replace('_', "-");
    let mut parts: Vec<&str> = name.split('-').collect();
    while parts.len() > 1 {
        let last = parts[parts.len() - 1];
        let word =
            matches!(last, "instruct" | "it" | "chat" | "hf" | "base" | "bnb" | "4bit" | "bf16" | "fp16" | "f16");
        match word {
            true => parts.pop(),
            false => break,
        };
    }
    parts.join("-").replace("llama-3.3-70b", "llama-3.1-70b").replace("meta-llama-3", "llama-3")
}

fn by_name(name: &str) -> Option<ModelShape> {
    let bare = bare(name);
    presets().iter().find(|preset| preset.name == bare).map(|preset| preset.shape.clone())
}

/// What is known of a model; `None` where its shape is not.
pub fn record(name: &str, parameters: Option<f64>, asked: Option<&str>) -> Option<ModelRecord> {
    let shape = match asked {
        Some(preset) => Some(Preset::named(preset).ok()?.shape),
        None => parameters.and_then(by_count).or_else(|| by_name(name)),
    }?;
    Some(ModelRecord {
        name: name.to_string(),
        kind: "imported".to_string(),
        location: None,
        synthetic: false,
        hash: String::new(),
        parameters: parameters.unwrap_or(shape.parameters()),
        shape,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_count_or_by_name() {
        let layers = |name: &str, count: Option<f64>| record(name, count, None).map(|model| model.shape.layers);
        assert_eq!(layers("llama-7b.Q4_K_M.gguf", Some(6_738_415_616.0)), Some(32));
        // 64 frequencies more than published, and a model whose output matrix is stored apart.
        assert_eq!(layers("Llama-3.3-70B-Instruct-Q4_K_M.gguf", Some(70_553_706_560.0)), Some(80));
        let qwen = record("qwen1_5-0_5b-chat-q4_k_m.gguf", Some(619_570_176.0), None).unwrap();
        assert!(!qwen.shape.tied_embeddings && qwen.shape.layers == 24);
        assert_eq!(layers("meta-llama/Llama-3.1-8B-Instruct", None), Some(32));
        assert_eq!(layers("HuggingFaceTB/SmolLM2-135M-Instruct", None), Some(30));
        assert_eq!(layers("google/gemma-2-2b-it", None), Some(26));
        assert_eq!(layers("unsloth/Llama-3.3-70B-Instruct-bnb-4bit", None), Some(80));
        assert_eq!(layers("somebody/something", None), None);
        assert_eq!(record("anything", None, Some("phi-4")).map(|model| model.shape.layers), Some(40));
    }
}
