//! `sizewell import`.

use super::console::Console;
use super::{Exit, shape, usage};
use crate::evidence::{self, Overrides};
use crate::sizing::MachinePrice;
use crate::workload::Quant;
use std::path::PathBuf;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = formats())]
pub(crate) struct Args {
    /// The format, or `auto`, which recognises a file by its keys; the list stands below.
    #[arg(value_name = "FORMAT")]
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
    /// Precision of the weights, where the files do not name it: a level that can be run, or one that others have, such as
    /// fp8, nvfp4, awq, iq4_xs or exl2@4.25.
    #[arg(long, value_name = "LEVEL")]
    quant: Option<Quant>,
    /// The shape of the model, where its name does not say: a preset, a folder with config.json or the file, a GGUF file, or
    /// counts in the words of config.json: hidden_size=4096,num_hidden_layers=32 and so on.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The engine behind the endpoint.
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Accelerators that the model was spread over.
    #[arg(long, value_name = "N")]
    accelerators: Option<usize>,
    /// Tokens of a prompt in the mean, where the files do not say how long theirs were (MLPerf, AIPerf).
    #[arg(long, value_name = "N")]
    prompt: Option<usize>,
    /// Generated tokens of a request in the mean, likewise.
    #[arg(long, value_name = "N")]
    gen_tokens: Option<usize>,
}

/// The formats by name, each with the tool that writes it.
fn formats() -> String {
    let known = evidence::formats();
    let width = known.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = known.iter().map(|(name, tool)| format!("  {name:width$}  {tool}\n"));
    format!(
        "Formats:\n{}Files of further tools are recognised and answered with what to do instead. Records that cannot be \
         read are left out, counted and named.",
        lines.collect::<String>()
    )
}

/// Reads result files into a run folder.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<Exit> {
    let shape =
        args.model.as_deref().map(|model| shape::read(model, console.shows_progress())).transpose().or_else(usage)?;
    let instance = args.instance.as_deref().map(MachinePrice::parse_instance).transpose().or_else(usage)?;
    let overrides = Overrides {
        hardware: args.hardware,
        instance,
        quant: args.quant,
        model: args.model,
        shape,
        engine: args.engine,
        accelerators: args.accelerators,
        prompt_tokens: args.prompt,
        gen_tokens: args.gen_tokens,
    };
    let known = evidence::formats();
    let format = Some(args.format.as_str()).filter(|format| *format != "auto");
    if let Some(name) = format.filter(|name| !known.iter().any(|(known, _)| known == name)) {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        return usage(format!("`{name}` is not a format that can be imported; there are auto, {}", names.join(", ")));
    }
    let reading = evidence::read_files(&args.files, format, &overrides)?;
    evidence::write(&args.output, &reading, super::argv(), crate::record::clock::now())?;
    let runs = &reading.runs;
    let cases: usize = runs.iter().map(|run| run.cases.len()).sum();
    let shapeless = runs.iter().filter(|run| run.record.model.is_none()).count();
    console.say(format!("{cases} measurements of {} systems in {}", runs.len(), args.output.display()));
    for said in evidence::contradictions(runs) {
        console.warn(said);
    }
    for skipped in &reading.skipped {
        console.warn(format!("left out: {} {}", skipped.records, skipped.reason));
    }
    for file in &reading.left_out {
        console.warn(format!("left out: {file}"));
    }
    if shapeless > 0 {
        console.warn(format!(
            "{shapeless} systems have a model whose shape is not known: they are listed, and nothing is projected from \
             them; --model gives it a shape: a preset, a config.json, or counts"
        ));
    }
    Ok(Exit::Done)
}
