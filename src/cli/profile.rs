//! `sizewell profile`.

use super::measure_args::MeasureArgs;
use super::talk::Talk;
use super::{Exit, measuring, output};
use crate::report::{content, json};

/// Arguments of `profile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    measure: MeasureArgs,
    /// Print the run as JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and shows the cases.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let measured = measuring::measure(&args.measure, None, talk)?;
    match args.json {
        true => output::json(&json::run(&measured.run))?,
        false => {
            output::table(&content::cases(&measured.run))?;
            output::text(&format!("\n{}\n", measured.run.path.display()))?;
        }
    }
    measured.speak(talk);
    Ok(measured.exit())
}
