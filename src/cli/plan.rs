//! `sizewell plan`.

use super::catalog::load_catalog;
use super::console::Console;
use super::rank_args::RankArgs;
use super::{Exit, output, usage};
use crate::record::Run;
use crate::report::content;
use crate::sizing::plan::plan;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    what: RankArgs,
    /// Rows of the table.
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Plans for a demand.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<Exit> {
    if !args.what.has_demand() {
        return usage("what is asked of the service? --rps R, --day FILE, or --users N --think-time TIME");
    }
    let (runs, cold) = args.what.read_runs()?;
    let request = args.what.request(cold, console)?;
    let catalog = load_catalog(args.what.catalog.as_deref())?;
    let runs: Vec<&Run> = runs.iter().collect();
    let plan = plan(&runs, &catalog, &request).or_else(usage)?;
    if args.json {
        output::json(&plan)?;
        return Ok(Exit::Done);
    }
    output::table(&content::options(&plan, args.top))?;
    for table in [content::warm(&plan, args.top), content::bought(&plan)].into_iter().flatten() {
        output::text("\n")?;
        output::table(&table)?;
    }
    output::text(&format!("\n{}\n", plan.headline.join("\n")))?;
    if plan.options.is_empty() {
        console.warn(
            "nothing carries the demand: every offer was filtered out or excluded; `sizewell rank --explain` says why",
        );
    }
    Ok(Exit::Done)
}
