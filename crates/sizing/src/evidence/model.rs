//! Which shape a model of a result file has: by its count of parameters, which tells models apart as well as a name does,
//! or by the name of a preset within its name.

use super::level;
use super::observed::{OUTWEIGHS, Overrides};
use crate::record::ModelRecord;
use crate::workload::{ModelShape, Preset};
use std::sync::OnceLock;

/// Files count a few vectors more or less than the published figure (frequencies of rotary positions, for one).
const SAME_COUNT: f64 = 1e-6;

/// A preset as models of files are looked up by.
struct Known {
    shape: &'static ModelShape,
    /// Its parameters, and those with its output matrix stored apart.
    counts: (f64, Option<f64>),
    /// Its own name, and that of the page that it is from.
    names: [String; 2],
}

/// What hosts of models call one, of the page that gives its sizes.
fn hosted_name(source: &str) -> String {
    source.split('/').nth(4).map_or(String::new(), bare)
}

/// All presets. Counting a model goes over its tensors, and files ask for each of their rows.
fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let of = |preset: &'static Preset| {
            let shape = &preset.shape;
            let apart = || ModelShape { tied_embeddings: false, ..shape.clone() }.parameters();
            Known {
                shape,
                counts: (shape.parameters(), shape.tied_embeddings.then(apart)),
                names: [preset.name.clone(), hosted_name(&preset.source)],
            }
        };
        Preset::all().iter().map(of).collect()
    })
}

/// The shape of a model with so many parameters, its output matrix stored apart or not.
fn by_count(parameters: f64) -> Option<ModelShape> {
    let close = |count: f64| (count / parameters - 1.0).abs() <= SAME_COUNT;
    known().iter().find_map(|Known { shape, counts: (as_is, apart), .. }| {
        if close(*as_is) {
            Some((*shape).clone())
        } else if apart.is_some_and(close) {
            Some(ModelShape { tied_embeddings: false, ..(*shape).clone() })
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
            matches!(last, "instruct" | "it" | "chat" | "hf" | "base" | "bnb" | "4bit" | "8bit" | "dynamic" | "kv");
        let level = level::within(last).is_some() || last.starts_with("quantized.");
        if word || level {
            parts.pop()
        } else {
            break;
        };
    }
    parts.join("-").replace("meta-llama-3", "llama-3")
}

fn by_name(name: &str) -> Option<ModelShape> {
    let bare = bare(name);
    let own = known().iter().find(|known| known.names[0] == bare);
    let found = own.or_else(|| known().iter().find(|known| known.names[1] == bare && !bare.is_empty()));
    found.map(|known| known.shape.clone())
}

/// The shape that the user says, by its sizes or as that of a preset.
pub(crate) fn asked(overrides: &Overrides) -> Option<ModelShape> {
    let preset = || Preset::named(overrides.model.as_deref()?).ok();
    overrides.shape.clone().or_else(|| preset().map(|preset| preset.shape))
}

/// Counts that differ by more are of different models: a pruned vocabulary or an output matrix stored apart is less.
const OTHER_COUNT: f64 = 0.25;

/// Says so where the user gives a model another shape than its file does, by its count of parameters or by its name.
pub(crate) fn contradiction(name: &str, parameters: Option<f64>, overrides: &Overrides) -> Option<String> {
    let said = asked(overrides)?;
    let what = overrides.model.as_deref().unwrap_or("the shape that is given");
    if let Some(counted) = parameters.filter(|counted| *counted > 0.0) {
        let has = said.parameters();
        return ((has / counted).ln().abs() > (1.0 + OTHER_COUNT).ln()).then(|| {
            format!(
                "--model {what} ({:.2} billion parameters) {OUTWEIGHS} the {:.2} billion that the file counts",
                has / 1e9,
                counted / 1e9
            )
        });
    }
    let named = by_name(name)?;
    (named != said).then(|| format!("--model {what} {OUTWEIGHS} {name}, which the file names"))
}

/// What is known of a model; `None` where its shape is not.
pub fn record(name: &str, parameters: Option<f64>, asked: Option<&ModelShape>) -> Option<ModelRecord> {
    let shape = match asked {
        Some(shape) => Some(shape.clone()),
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
        assert_eq!(layers("mistralai/Mixtral-8x7B-v0.1", None), Some(32));
        assert_eq!(layers("Qwen/Qwen3-30B-A3B-FP8", None), Some(48));
        assert_eq!(layers("amd/gpt-oss-120b-mxfp4", None), Some(36));
        assert_eq!(layers("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", None), None);
        assert_eq!(layers("somebody/something", None), None);
        assert_eq!(layers("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", None), Some(32));
        assert_eq!(layers("x/Llama-3.1-8B-Instruct-quantized.w4a16", None), Some(32));
        let phi = Preset::named("phi-4").unwrap().shape;
        assert_eq!(record("anything", None, Some(&phi)).map(|model| model.shape.layers), Some(40));
    }

    #[test]
    fn a_shape_that_is_not_the_file_s_is_said() {
        let of = |model: &str| Overrides { model: Some(model.to_string()), ..Overrides::default() };
        let said = contradiction("meta-llama/Llama-3.1-8B-Instruct", None, &of("phi-4")).unwrap();
        assert_eq!(said, "--model phi-4 outweighs meta-llama/Llama-3.1-8B-Instruct, which the file names");
        assert_eq!(contradiction("meta-llama/Llama-3.1-8B-Instruct", None, &of("llama-3.1-8b")), None);
        assert_eq!(contradiction("/models/mine", None, &of("phi-4")), None);
        let counted = contradiction("x.gguf", Some(6_738_415_616.0), &of("phi-4")).unwrap();
        assert!(counted.contains("outweighs the 6.74 billion that the file counts"), "{counted}");
    }
}
