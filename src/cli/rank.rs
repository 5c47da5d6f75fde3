//! `sizewell rank`.

use super::catalog::load_catalog;
use super::rank_args::RankArgs;
use super::talk::Talk;
use super::{Exit, output, usage};
use crate::record::{Outcome, Run};
use crate::report::{content, rank_csv};
use crate::sizing::{Interval, rank_runs};
use clap::ValueEnum;
use std::path::PathBuf;

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Json,
}

/// Arguments of `rank`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    what: RankArgs,
    /// Rows of the table.
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    /// Also list every offer that was left out, with the reason.
    #[arg(long)]
    explain: bool,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Short for --format json.
    #[arg(long)]
    json: bool,
}

/// The runs of folders: those with measured cases, and the cold start that any of them measured.
pub fn read_runs(folders: &[PathBuf]) -> anyhow::Result<(Vec<Run>, Option<Interval>)> {
    let (mut profiles, mut started): (Vec<Run>, Vec<Run>) = Default::default();
    let mut starts: Vec<f64> = Vec::new();
    for folder in folders {
        let run = Run::read(folder)?;
        let cold = run.cold_starts()?;
        starts.extend(cold.iter());
        match cold.is_empty() || run.cases.iter().any(|row| row.outcome == Outcome::Ok) {
            true => profiles.push(run),
            false => started.push(run),
        }
    }
    if profiles.is_empty() {
        return usage("none of the folders has measured cases: give one of `sizewell run` or `sizewell profile` too");
    }
    let model = |run: &Run| run.record.model.as_ref().map(|model| model.name.clone());
    if let Some(other) = started.iter().find(|run| model(run) != model(&profiles[0])) {
        return usage(format!(
            "{} has starts of another model than {}",
            other.path.display(),
            profiles[0].path.display()
        ));
    }
    starts.sort_by(f64::total_cmp);
    let median = starts.get(starts.len() / 2).copied();
    Ok((profiles, median.map(|median| Interval::new(median, starts[0], starts[starts.len() - 1]))))
}

/// Ranks runs.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let (runs, cold) = read_runs(&args.what.runs)?;
    let request = args.what.request(cold)?;
    let catalog = load_catalog(args.what.catalog.as_deref())?;
    let runs: Vec<&Run> = runs.iter().collect();
    let ranking = rank_runs(&runs, &catalog, &request).or_else(usage)?;
    match args.format {
        _ if args.json => output::json(&ranking)?,
        Format::Json => output::json(&ranking)?,
        Format::Csv => output::text(&rank_csv::export(&ranking)?)?,
        Format::Table => {
            output::table(&content::ranking(&ranking, args.top))?;
            output::text("\n")?;
            output::table(&content::components(&ranking, args.top))?;
            if !ranking.excluded.is_empty() {
                let table = match args.explain {
                    true => content::excluded_offers(&ranking.excluded),
                    false => content::excluded(&ranking.excluded),
                };
                output::text("\n")?;
                output::table(&table)?;
            }
            output::text(&format!("\n{}\n", ranking.headline.join("\n")))?;
        }
    }
    if ranking.rows.is_empty() {
        talk.warn("nothing is left to rank: every offer was filtered out or excluded");
    }
    let stale = ranking.rows.iter().filter(|row| row.stale).count();
    if stale > 0 {
        talk.warn(format!(
            "{stale} prices are older than 30 days (spot: 1) or of unknown age; see `sizewell catalog update`"
        ));
    }
    Ok(Exit::Done)
}
