//! `sizewell diff`.

use super::rank_args::share;
use super::{Exit, output, usage};
use crate::gate::{Side, compare};
use crate::report::content;
use std::path::PathBuf;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the run before.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// Folder of the run after.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Metrics to compare; TTFT, TPOT, E2E, peak memory and energy per token by default.
    #[arg(long, value_delimiter = ',', value_name = "TAG,...")]
    metric: Vec<String>,
    /// The least change to claim, such as 2%; by default that of one machine against itself, or of two machines.
    #[arg(long, value_name = "SHARE")]
    noise_floor: Option<String>,
    /// Confidence of the intervals.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    confidence: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Compares two runs.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let floor = args.noise_floor.as_deref().map(|text| share("--noise-floor", text)).transpose()?;
    if !(args.confidence > 0.5 && args.confidence < 1.0) {
        return usage("--confidence is a share above 0.5 and below 1");
    }
    let read = |folder: PathBuf| Side::read(&[folder]).map_err(anyhow::Error::msg);
    let (before, after) = (read(args.before)?, read(args.after)?);
    let comparison = compare(&before, &after, &args.metric, floor, args.confidence).or_else(usage)?;
    if args.json {
        output::json(&comparison)?;
        return Ok(Exit::Done);
    }
    match content::differences(&comparison.differences) {
        Some(table) => output::table(&table)?,
        None => output::text("Nothing differs in where they come from.\n")?,
    }
    output::text("\n")?;
    output::table(&content::changes(&comparison))?;
    Ok(Exit::Done)
}
