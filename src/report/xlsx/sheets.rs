//! What is read and not computed: the answer, cases with every metric as a number, and the tables of the report.

use super::{CellFormats, plain};
use crate::record::metric;
use crate::report::Report;
use crate::report::sections::{self, Section};
use crate::report::table::{DASH, Table};
use rust_xlsxwriter::{Workbook, XlsxError};

/// The first sheet: the answer in sentences.
pub(crate) fn answer(workbook: &mut Workbook, looks: &CellFormats, report: &Report<'_>) -> Result<(), XlsxError> {
    let sheet = workbook.add_worksheet().set_name("Answer")?;
    let record = &report.run().record;
    let model = record.model.as_ref().map_or("This machine", |model| &model.name);
    sheet.set_column_width(0, 150)?;
    sheet.write_string_with_format(0, 0, plain(&format!("What {model} costs")), &looks.title)?;
    let origin =
        format!("measured {} on {}, report of {}", record.started_at, record.environment.hostname, report.today());
    sheet.write_string_with_format(1, 0, plain(&origin), &looks.note)?;
    for (index, line) in sections::answer(report).iter().enumerate() {
        sheet.write_string_with_format(index as u32 + 3, 0, plain(line), &looks.wrap)?;
    }
    Ok(())
}

/// One row for each case, every metric in SI units.
pub(crate) fn cases(workbook: &mut Workbook, looks: &CellFormats, report: &Report<'_>) -> Result<(), XlsxError> {
    let sheet = workbook.add_worksheet().set_name("Cases")?;
    let first = ["level", "batch", "prompt tokens", "generated tokens", "outcome", "state", "samples"];
    let titles = first.into_iter().chain(metric::all().map(|metric| metric.tag));
    for (index, title) in titles.enumerate() {
        sheet.write_string_with_format(0, index as u16, title, &looks.head)?;
    }
    sheet.set_freeze_panes(1, 4)?;
    for (index, row) in report.runs.iter().flat_map(|run| &run.cases).enumerate() {
        let line = index as u32 + 1;
        let case = row.key.case;
        let doubts: Vec<&str> = row.invalid.iter().map(|reason| reason.name()).collect();
        let state = match (row.is_valid(), doubts.is_empty()) {
            (true, _) => "valid".to_string(),
            (_, false) => format!("doubtful: {}", doubts.join(", ")),
            _ => row.reason.map_or(String::new(), |reason| reason.to_string()),
        };
        sheet.write_string(line, 0, case.quant.name())?;
        for (column, number) in [case.batch, case.prompt_tokens(), case.gen_tokens()].into_iter().enumerate() {
            sheet.write_number(line, column as u16 + 1, number as f64)?;
        }
        sheet.write_string(line, 4, row.outcome.name())?;
        sheet.write_string(line, 5, plain(&state))?;
        sheet.write_number(line, 6, row.samples as f64)?;
        for (column, metric) in metric::all().enumerate() {
            if let Some(value) = (metric.get)(&row.metrics) {
                sheet.write_number(line, (column + first.len()) as u16, value)?;
            }
        }
    }
    Ok(())
}

/// The tables of the report, one sheet for each section that has some.
pub(crate) fn tables(workbook: &mut Workbook, looks: &CellFormats, report: &Report<'_>) -> Result<(), XlsxError> {
    for section in report.sections() {
        let name = match section.id {
            "cost" => "Ranking",
            "tradeoff" => "Levels",
            "memory" => "Memory",
            "serverless" => "Serverless",
            "own" => "Own hardware",
            "sensitivity" => "Sensitivity",
            "cases" => "States of cases",
            "method" => "Method",
            "excluded" => "Left out",
            "roofline-of-cases" => "Ceilings",
            "energy" => "Energy",
            _ => continue,
        };
        let sheet = workbook.add_worksheet().set_name(name)?;
        let mut row = 0;
        write_section(sheet, looks, &section, &mut row)?;
    }
    Ok(())
}

fn write_section(
    sheet: &mut rust_xlsxwriter::Worksheet,
    looks: &CellFormats,
    section: &Section,
    row: &mut u32,
) -> Result<(), XlsxError> {
    sheet.write_string_with_format(*row, 0, plain(&section.title), &looks.title)?;
    *row += 1;
    for line in section.missing.iter().chain(&section.text) {
        sheet.write_string(*row, 0, plain(line))?;
        *row += 1;
    }
    let plots = section.plots.iter().map(|plot| &plot.data);
    for table in section.tables.iter().chain(plots) {
        *row += 1;
        write_table(sheet, looks, table, row)?;
    }
    for more in &section.more {
        *row += 1;
        write_section(sheet, looks, more, row)?;
    }
    Ok(())
}

fn write_table(
    sheet: &mut rust_xlsxwriter::Worksheet,
    looks: &CellFormats,
    table: &Table,
    row: &mut u32,
) -> Result<(), XlsxError> {
    sheet.write_string_with_format(*row, 0, plain(&table.title), &looks.note)?;
    *row += 1;
    for (column, head) in table.columns.iter().enumerate() {
        sheet.write_string_with_format(*row, column as u16, plain(&head.title), &looks.head)?;
    }
    *row += 1;
    for cells in &table.rows {
        for (column, cell) in cells.iter().enumerate() {
            // Money is a number too, so that the column sorts.
            let usd = cell.strip_prefix('$').and_then(|number| number.parse::<f64>().ok());
            match cell.parse::<f64>().or(usd.ok_or(())) {
                Ok(number) if number.is_finite() && usd.is_some() => {
                    sheet.write_number_with_format(*row, column as u16, number, &looks.money)?
                }
                Ok(number) if number.is_finite() => sheet.write_number(*row, column as u16, number)?,
                _ if cell == DASH => continue,
                _ => sheet.write_string(*row, column as u16, plain(cell))?,
            };
        }
        *row += 1;
    }
    for note in &table.notes {
        sheet.write_string_with_format(*row, 0, plain(note), &looks.note)?;
        *row += 1;
    }
    Ok(())
}
