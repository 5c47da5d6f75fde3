//! `sizewell validate`.

use super::catalog::load_catalog;
use super::console::Console;
use super::{Exit, output, usage};
use crate::evidence;
use crate::record::Run;
use crate::report::content;
use crate::sizing::validate::{fixed_split, leave_one_out};
use std::path::PathBuf;

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Result files of other tools or run folders: one card model after the other is left out. Without any, the
    /// measurements that the program carries.
    #[arg(value_name = "EVIDENCE", conflicts_with_all = ["train", "test"])]
    evidence: Vec<PathBuf>,
    /// Fit on these instead.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "test")]
    train: Vec<PathBuf>,
    /// Project to these.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train")]
    test: Vec<PathBuf>,
    /// Catalog folder with the cards and prices.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn read(paths: &[PathBuf], console: &Console) -> anyhow::Result<Vec<Run>> {
    let (runs, left_out) = evidence::read_any(paths)?;
    for why in left_out {
        console.warn(format!("left out: {why}"));
    }
    Ok(runs)
}

/// Says how far off projections are.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<Exit> {
    let catalog = load_catalog(args.catalog.as_deref())?;
    let validation = if !args.train.is_empty() {
        let (train, test) = (read(&args.train, console)?, read(&args.test, console)?);
        fixed_split(&train, &test, &catalog)
    } else if args.evidence.is_empty() {
        console.say("no evidence was named: the measurements that the program carries");
        leave_one_out(evidence::bundled(), &catalog)
    } else {
        leave_one_out(&read(&args.evidence, console)?, &catalog)
    };
    let validation = validation.or_else(usage)?;
    if args.json {
        output::json(&validation)?;
        return Ok(Exit::Done);
    }
    for table in content::validation(&validation) {
        output::table(&table)?;
        output::text("\n")?;
    }
    Ok(Exit::Done)
}
