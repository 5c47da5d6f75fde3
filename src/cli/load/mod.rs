//! `sizewell load`: traffic against a server or an engine in process, and the highest rate under an SLO.

mod args;
mod display;

pub(crate) use args::Args;
pub(crate) use display::LoadDisplay;

use super::console::Console;
use super::{Exit, configure_threads, output, signals};
use crate::job::Stop;
use crate::job::load::{self, LoadOptions, Plan};
use crate::record::Run;
use crate::report::content::traffic as tables;

/// Runs the load test, and shows it.
pub(crate) fn run(args: Args, console: &Console, stop: &Stop) -> anyhow::Result<Exit> {
    let (json, only_serves) = (args.json, args.only_serves());
    let plan = Plan::new(LoadOptions::try_from(args)?)?;
    configure_threads(plan.threads(), None);
    signals::hear(stop);
    if only_serves {
        load::serve(&plan, console, stop)?;
        return Ok(Exit::Done);
    }
    let test = load::run(plan, console, stop)?;
    show(&test.run, json)?;
    let exit = test.conclude(console).into();
    // What it says holds for what there is of it.
    Ok(if stop.is_asked() { Exit::Interrupted } else { exit })
}

fn show(run: &Run, json: bool) -> anyhow::Result<()> {
    let Some(traffic) = &run.record.traffic else { return Ok(()) };
    if json {
        return output::json(&serde_json::json!({
            "run": run.path.display().to_string(), "target": traffic.target, "slo": traffic.slo, "steps": traffic.steps,
            "limit": traffic.limit, "recovery": traffic.recovery, "notes": traffic.notes,
        }));
    }
    for table in tables::tables(traffic) {
        output::table(&table)?;
    }
    for sentence in tables::sentences(run) {
        output::text(&format!("{sentence}\n"))?;
    }
    output::text(&format!("\n{}\n", run.path.display()))
}
