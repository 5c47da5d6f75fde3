//! `sizewell import`.

use super::talk::Talk;
use super::{Exit, usage};
use crate::evidence::{self, Overrides};
use crate::sizing::MachinePrice;
use crate::workload::{Preset, Quant};
use std::path::PathBuf;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The format, or `auto`: llama-bench, vllm-serve, aiperf, guidellm, mlperf, inferencex, optimum-benchmark,
    /// sparecores-llama, sparecores-vllm.
    format: String,
    /// Result files; through gzip where a name ends in .gz.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Folder of the run.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// The accelerator, where the files do not name it, or `cpu`.
    #[arg(long, value_name = "NAME")]
    hardware: Option<String>,
    /// The instance that was measured, such as aws:g6.xlarge.
    #[arg(long = "as", value_name = "PROVIDER:TYPE")]
    instance: Option<String>,
    /// Precision of the weights, where the files do not name it.
    #[arg(long, value_name = "LEVEL")]
    quant: Option<Quant>,
    /// The preset whose shape the model has, where its name does not say.
    #[arg(long, value_name = "PRESET")]
    model: Option<String>,
    /// The engine behind the endpoint.
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Accelerators that the model was spread over.
    #[arg(long, value_name = "N")]
    accelerators: Option<usize>,
}

/// Reads result files into a run folder.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    if let Some(preset) = &args.model {
        Preset::named(preset).or_else(usage)?;
    }
    let instance = args.instance.as_deref().map(MachinePrice::parse_instance).transpose().or_else(usage)?;
    let overrides = Overrides {
        hardware: args.hardware,
        instance,
        quant: args.quant,
        model: args.model,
        engine: args.engine,
        accelerators: args.accelerators,
    };
    let known = evidence::formats();
    let format = Some(args.format.as_str()).filter(|format| *format != "auto");
    if let Some(name) = format.filter(|name| !known.iter().any(|(known, _)| known == name)) {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        return usage(format!("`{name}` is not a format that can be imported; there are auto, {}", names.join(", ")));
    }
    let runs = evidence::read(&args.files, format, &overrides)?;
    evidence::write(&args.output, &runs, super::argv(), jiff::Timestamp::now())?;
    let cases: usize = runs.iter().map(|run| run.cases.len()).sum();
    let shapeless = runs.iter().filter(|run| run.record.model.is_none()).count();
    talk.say(format!("{cases} measurements of {} systems in {}", runs.len(), args.output.display()));
    for skipped in evidence::skipped(&runs) {
        talk.warn(format!("left out: {} {}", skipped.records, skipped.reason));
    }
    if shapeless > 0 {
        talk.warn(format!(
            "{shapeless} systems have a model whose shape is not known: they are listed, and nothing is projected from \
             them; --model PRESET gives it a shape"
        ));
    }
    Ok(Exit::Done)
}
