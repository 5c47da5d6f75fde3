//! `sizewell models`.

use super::console::Console;
use super::{Exit, output, usage};
use crate::engine::weights::{gguf_writer, hub, model_shape, synthetic};
use crate::report::table::{DASH, Table};
use crate::units::{Bytes, Quantity, digits};
use crate::workload::{Architecture, CacheType, ModelShape, Preset, Quant, Task};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What to do with model presets.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the presets.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the shape of one, and what it needs.
    Show {
        /// A preset, a file of one, a GGUF file, a folder with config.json, a config.json, or a hub id.
        #[arg(value_name = "MODEL")]
        name: OsString,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a GGUF file with seeded random weights.
    Synth {
        /// Name of the preset.
        #[arg(long, short)]
        model: String,
        /// Quantization level of the matrices.
        #[arg(long, value_parser = Quant::parse_runnable, default_value = "f16")]
        quant: Quant,
        /// Seed of the weights.
        #[arg(long, default_value_t = 42)]
        seed: u64,
        /// File to write.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
}

/// Levels whose sizes are listed.
const LISTED: [Quant; 3] = [Quant::F16, Quant::Int8, Quant::Int4];

/// Runs a verb.
pub(crate) fn run(verb: Verb, console: &Console) -> anyhow::Result<Exit> {
    match verb {
        Verb::List { json } => list(json),
        Verb::Show { name, json } => show(&name, json, console),
        Verb::Synth { model, quant, seed, output } => {
            let preset = named(&model).or_else(usage)?;
            check_writable(&preset).or_else(usage)?;
            output::check_files(&[&output], &[])?;
            if output.exists() {
                return usage(format!("{} exists: remove it, or choose another name", output.display()));
            }
            let mut opened = synthetic::open(&preset, seed);
            gguf_writer::write(&output, &opened.shape, opened.weights.as_mut(), quant, &preset.name)?;
            console.say(format!("wrote {}", output.display()));
            Ok(Exit::Done)
        }
    }
}

/// A preset for random weights; of a model that exists as files, its weights are there already.
fn named(model: &str) -> Result<Preset, String> {
    if Path::new(model).exists() {
        Err(format!("{model} is a file or folder: random weights are written of a preset, which --model names"))
    } else {
        Preset::named(model)
    }
}

/// That a GGUF file can be written of a preset: its family has names for all of its tensors there.
fn check_writable(preset: &Preset) -> Result<(), String> {
    let (name, task) = (&preset.name, preset.shape.task());
    if !task.generates() {
        return Err(format!("{name} is for {task}: GGUF files are written of models that generate text"));
    }
    let architecture = preset.shape.architecture;
    if architecture.family().runs {
        Ok(())
    } else {
        let runnable = Architecture::runnable_decoders();
        Err(format!("{name} is of `{architecture}`, which is sized alone: GGUF files are written of {runnable}"))
    }
}

fn list(json: bool) -> anyhow::Result<Exit> {
    let presets = Preset::all();
    if json {
        output::json(&presets)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(
        "Presets",
        &["name", "model", ">parameters", ">f16", ">int8", ">int4", ">KV per token (f16)", "source"],
    )
    .spare(&["source", "model", "KV per token (f16)"]);
    for preset in presets {
        let mut row =
            vec![preset.name.clone(), preset.about.clone(), format!("{} M", digits(preset.shape.parameters() / 1e6))];
        row.extend(LISTED.map(|quant| preset.shape.weight_bytes(quant).human()));
        row.extend([cache_of(&preset.shape), preset.source.clone()]);
        table.push(row);
    }
    output::table(&table)?;
    Ok(Exit::Done)
}

/// Bytes that a sequence grows by with a token, in a cache of 16 bits.
fn growth(shape: &ModelShape) -> Bytes {
    shape.cache_bytes(1, 2, CacheType::F16) - shape.cache_bytes(1, 1, CacheType::F16)
}

/// Bytes of a token in the cache in 16 bits; nothing of models that have none.
fn cache_of(shape: &ModelShape) -> String {
    if shape.task().generates() { growth(shape).human() } else { DASH.to_string() }
}

/// The preset called `name`, or one that says of a file, folder or hub id what a preset would.
fn described(name: &OsStr, console: &Console) -> anyhow::Result<(Preset, Option<String>)> {
    if let Some(name) = name.to_str().filter(|name| !Path::new(name).exists())
        && let Ok(preset) = Preset::named(name)
    {
        return Ok((preset, None));
    }
    let exists = Path::new(name).exists() || name.to_str().is_some_and(hub::is_hub_id);
    match model_shape(name, console.shows_progress()) {
        Ok(known) => Ok((
            Preset {
                about: known.name.clone(),
                name: known.name,
                source: known.source,
                parameters: None,
                shape: known.shape,
            },
            known.quantization,
        )),
        Err(error) if exists => Err(error.into()),
        Err(error) => usage(error.to_string()),
    }
}

/// A preset with what is counted from its shape, as `--json` has it.
#[derive(serde::Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    preset: &'a Preset,
    counts: Counts,
}

/// What follows from a shape.
#[derive(serde::Serialize)]
struct Counts {
    /// All parameters, those of encoders of images included.
    parameters: f64,
    /// Those that a token goes through.
    active_parameters: f64,
    /// Those of encoders before the model.
    encoder_parameters: f64,
    /// Bytes of a sequence of its longest context in the cache in 16 bits.
    cache_bytes_at_longest: f64,
    /// Bytes that a sequence takes whatever its length.
    state_bytes: f64,
    /// Operations of a token with one position before it.
    operations_per_token: f64,
}

fn counts(shape: &ModelShape) -> Counts {
    let parts = shape.parts();
    let generates = shape.task().generates();
    Counts {
        parameters: parts.parameters(),
        active_parameters: parts.active_parameters(),
        encoder_parameters: parts.tower_parameters(),
        cache_bytes_at_longest: shape.cache_bytes(1, shape.max_context, CacheType::F16).0,
        state_bytes: shape.state_bytes(1).0,
        operations_per_token: if generates { parts.decode_ops(1, 1) } else { 0.0 },
    }
}

fn show(name: &OsStr, json: bool, console: &Console) -> anyhow::Result<Exit> {
    let (preset, quantization) = described(name, console)?;
    if json {
        output::json(&Described { counts: counts(&preset.shape), preset: &preset })?;
        return Ok(Exit::Done);
    }
    let shape = &preset.shape;
    let mut table = Table::new(preset.about.clone(), &["what", "value"]);
    let mut line = |what: &str, value: String| table.push(vec![what.to_string(), value]);
    line("source", preset.source.clone());
    line("architecture", shape.architecture.to_string());
    let runs = match quantization {
        Some(how) => format!("no: the checkpoint is quantized already ({how}); it is sized, ranked and projected"),
        None if shape.architecture.family().runs => "yes".to_string(),
        None => "no: it is sized, ranked and projected".to_string(),
    };
    line("runs here", runs);
    for (what, value) in sizes(shape) {
        line(what, value);
    }
    for quant in LISTED {
        let kinds: Vec<String> = shape.encodings(quant).iter().map(|(e, n)| format!("{n} x {e}")).collect();
        line(quant.name(), format!("{} ({})", shape.weight_bytes(quant).human(), kinds.join(", ")));
    }
    for (what, value) in memory(shape) {
        line(what, value);
    }
    output::table(&table)?;
    Ok(Exit::Done)
}

/// Lines of a model's sizes.
fn sizes(shape: &ModelShape) -> Vec<(&'static str, String)> {
    let mut lines = vec![("parameters", shape.parameters().to_string())];
    let active = shape.active_parameters();
    if shape.experts.is_some() {
        lines.push(("active", format!("{active}: those that a token goes through")));
    }
    if let Some(experts) = shape.experts {
        let shared = if experts.shared_width > 0 {
            format!(", and one of {} that all share", experts.shared_width)
        } else {
            String::new()
        };
        lines
            .push(("experts", format!("{} of {}, each {} wide{shared}", experts.active, experts.count, experts.width)));
    }
    let encoder = shape.parts().tower_parameters();
    if encoder > 0.0 {
        lines.push(("encoder beside it", format!("{encoder} parameters, counted with it")));
    }
    if let Some(kinds) = &shape.layer_kinds {
        lines.push(("layers", format!("{} of the kinds {kinds}, repeated", shape.layers)));
    } else if shape.convolutional.is_some() {
        lines.push(("convolutions", shape.layers.to_string()));
    } else {
        lines.push(("layers", shape.layers.to_string()));
    }
    if shape.convolutional.is_none() {
        lines.push(("width", format!("{}, feed-forward {}", shape.hidden_size, shape.intermediate_size)));
        lines.push(match shape.latent {
            Some(latent) => ("heads", format!("{}, keys and values from {} numbers", shape.heads, latent.cached())),
            None => ("heads", format!("{} of {}, {} for keys and values", shape.heads, shape.head_dim, shape.kv_heads)),
        });
    }
    lines.push(("task", shape.task().name().to_string()));
    match shape.image {
        Some(image) => {
            if shape.task() == Task::ClassifyImage {
                lines.push(("classes", shape.vocab_size.to_string()));
            }
            lines.push(("images", format!("{0} x {0} pixels, a place for each {1} x {1}", image.size, image.patch)));
        }
        None => {
            lines.push(("vocabulary", shape.vocab_size.to_string()));
            lines.push(("longest context", shape.max_context.to_string()));
        }
    }
    lines
}

/// Lines of what sequences take beside the weights.
fn memory(shape: &ModelShape) -> Vec<(&'static str, String)> {
    if !shape.task().generates() {
        return Vec::new();
    }
    let mut lines = vec![("KV cache", format!("{} a token in f16", cache_of(shape)))];
    let longest = shape.cache_bytes(1, shape.max_context, CacheType::F16);
    // What is there beside what grows.
    let state = shape.cache_bytes(1, 1, CacheType::F16) - growth(shape);
    if state.0 > 0.0 {
        lines.push(("state", format!("{} a sequence, whatever its length", state.human())));
    }
    if let Some(window) = shape.sliding_window.filter(|_| shape.layer_kinds.is_some()) {
        lines.push(("window", format!("{window} positions in some layers, which keep no more")));
    }
    lines.push(("a sequence", format!("{} of the longest context", longest.human())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_of_what_runs() {
        let refused = |name: &str| check_writable(&Preset::named(name).unwrap()).err().unwrap_or_default();
        assert!(refused("llama-3.2-1b").is_empty() && refused("gemma-3-1b").is_empty());
        assert!(refused("mixtral-8x7b").contains("`mixtral`, which is sized alone"));
        assert!(refused("whisper-base").contains("`whisper`") && refused("bge-m3").contains("is for embed"));
    }

    #[test]
    fn what_grows_with_a_token_is_told_apart_from_what_does_not() {
        let of = |name: &str| Preset::named(name).unwrap().shape;
        let line = |name: &str, what: &str| {
            memory(&of(name)).into_iter().find(|(known, _)| *known == what).map(|(_, value)| value)
        };
        // 6 of 52 layers have attention, of two heads of 128; the others keep a state.
        assert_eq!(line("nemotron-3-nano-30b-a3b", "KV cache").unwrap(), "6.00 KiB a token in f16");
        assert!(line("nemotron-3-nano-30b-a3b", "state").unwrap().starts_with("46.8 MiB"));
        // What a decoder keeps of its encoder is there from the first token.
        assert_eq!(line("whisper-base", "KV cache").unwrap(), "12.0 KiB a token in f16");
        assert!(line("whisper-base", "state").unwrap().starts_with("17.6 MiB"));
        assert_eq!(line("llama-3.1-8b", "state"), None);
        assert_eq!(cache_of(&of("resnet-50")), DASH);
    }
}
