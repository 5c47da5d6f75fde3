//! A ranking as CSV: ranked rows first, then what was left out with the reason.

use super::columns::{self, Column, Ranked};
use super::{Exporter, Report};
use crate::sizing::Ranking;

/// The rankings of a report as one table.
pub struct Csv;

impl Exporter for Csv {
    fn extension(&self) -> &'static str {
        "csv"
    }

    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>> {
        let rankings = report.rankings.as_ref().map_err(|why| anyhow::anyhow!("no ranking: {why}"))?;
        let mut text = String::new();
        for (index, ranking) in rankings.iter().enumerate() {
            let one = export(ranking)?;
            // One header for all of them.
            text.push_str(if index == 0 { &one } else { one.split_once('\n').map_or("", |(_, rows)| rows) });
        }
        Ok(text.into_bytes())
    }
}

/// The ranking as text, with every column of [`columns::all`] that files have.
pub fn export(ranking: &Ranking) -> anyhow::Result<String> {
    let columns: Vec<Column> = columns::all().into_iter().filter(|column| column.in_csv).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| &column.name))?;
    for (index, row) in ranking.rows.iter().enumerate() {
        let ranked = Ranked { ranking, index, row };
        writer.write_record(columns.iter().map(|column| column.in_file(&ranked)))?;
    }
    for item in &ranking.excluded {
        writer.write_record(columns.iter().map(|column| columns::of_excluded(column, item)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
