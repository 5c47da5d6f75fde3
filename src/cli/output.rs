//! Writing results to stdout.

use crate::record::Run;
use crate::report::table::Table;
use crate::report::{content, terminal};
use std::io::{IsTerminal, Write};

/// Width for output that no terminal limits.
const PIPE_WIDTH: u16 = 160;

/// Writes text; a closed pipe is an error like any other, which `main` forgives.
pub fn text(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a table as wide as the terminal.
pub fn table(table: &Table) -> anyhow::Result<()> {
    // On a terminal the table library asks for the width itself.
    let width = if std::io::stdout().is_terminal() { None } else { Some(PIPE_WIDTH) };
    text(&terminal::render(table, width))
}

/// Writes JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Writes what one run is as JSON; of several, an array.
pub fn one_or_all(values: &[serde_json::Value]) -> anyhow::Result<()> {
    match values {
        [one] => json(one),
        all => json(&all),
    }
}

/// Writes several runs side by side; nothing for one.
pub fn comparison(runs: &[&Run]) -> anyhow::Result<()> {
    content::series(runs).map_or(Ok(()), |side_by_side| table(&side_by_side))
}
