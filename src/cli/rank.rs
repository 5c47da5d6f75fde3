//! `sizewell rank`.

use super::catalog::load_catalog;
use super::console::Console;
use super::rank_args::RankArgs;
use super::{Exit, output, usage};
use crate::record::Run;
use crate::report::{content, rank_csv};
use crate::sizing::rank_runs;
use clap::ValueEnum;

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
}

/// Arguments of `rank`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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

/// Ranks runs.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<Exit> {
    let (runs, cold) = args.what.read_runs()?;
    let request = args.what.request(cold, console)?;
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
                let table = if args.explain {
                    content::excluded_offers(&ranking.excluded)
                } else {
                    content::excluded(&ranking.excluded)
                };
                output::text("\n")?;
                output::table(&table)?;
            }
            output::text(&format!("\n{}\n", ranking.headline.join("\n")))?;
        }
    }
    if ranking.rows.is_empty() {
        console.warn("nothing is left to rank: every offer was filtered out or excluded");
    }
    let stale = ranking.rows.iter().filter(|row| row.stale).count();
    if stale > 0 {
        console.warn(format!(
            "{stale} prices are older than 30 days (spot: 1) or of unknown age; see `sizewell catalog update`"
        ));
    }
    Ok(Exit::Done)
}
