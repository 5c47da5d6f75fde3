//! `sizewell catalog check`.

use super::place;
use crate::catalog::check;
use crate::catalog::finding::{Finding, Severity};
use crate::catalog::load::{embedded_files, folder_files};
use crate::cli::console::Console;
use crate::cli::{Exit, output, today};
use crate::report::table::Table;
use std::path::PathBuf;

/// Arguments of `catalog check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The catalog folder to check; the one that rankings use by default.
    #[arg(value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Checks a catalog: exit status 1 where it has an error.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<Exit> {
    let (origin, files) = match place::folder(args.catalog.as_deref()) {
        Some(folder) => (folder.display().to_string(), folder_files(&folder)?),
        None => ("embedded".to_string(), embedded_files()),
    };
    let findings = check::check(&origin, &files, today());
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    if args.json {
        output::json(&findings)?;
    } else {
        output::table(&table(&origin, &findings))?;
    }
    let warnings = findings.len() - errors;
    console.say(format!("{errors} errors, {warnings} warnings"));
    Ok(if errors == 0 { Exit::Done } else { Exit::Failed })
}

/// Findings as a table.
pub(crate) fn table(origin: &str, findings: &[Finding]) -> Table {
    let mut table = Table::new(format!("Check of the {origin} catalog"), &["what", "where", "message", "remedy"]);
    for finding in findings {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        table.push(vec![
            format!("{severity}: {}", finding.kind),
            format!("{}:{}", finding.file, finding.line),
            finding.message.clone(),
            finding.remedy.clone(),
        ]);
    }
    if findings.is_empty() {
        table.notes.push("nothing was found".to_string());
    }
    table
}
