//! The report as Markdown, for a pull request or a wiki.

use super::sections::{Section, answer};
use super::table::{Align, Table};
use super::{Exporter, Report};

/// Markdown with tables and no pictures.
pub struct Markdown;

impl Exporter for Markdown {
    fn extension(&self) -> &'static str {
        "md"
    }

    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>> {
        let model = report.run().record.model.as_ref().map_or("ceilings", |m| &m.name);
        let mut out = format!("# What {} costs\n\n", escape(model));
        for line in answer(report) {
            out.push_str(&format!("- {}\n", escape(&line)));
        }
        for part in report.sections() {
            section(&part, 2, &mut out);
        }
        Ok(out.into_bytes())
    }
}

fn section(part: &Section, level: usize, out: &mut String) {
    out.push_str(&format!("\n{} {}\n", "#".repeat(level), escape(&part.title)));
    for line in part.missing.iter().chain(&part.text) {
        out.push_str(&format!("\n{}\n", escape(line)));
    }
    if !part.plots.is_empty() {
        let titles: Vec<&str> = part.plots.iter().map(|plot| plot.title.as_str()).collect();
        out.push_str(&format!("\nPlots in the HTML and PDF forms: {}.\n", escape(&titles.join("; "))));
    }
    for part in &part.tables {
        out.push_str(&format!("\n{} {}\n\n", "#".repeat(level + 1), escape(&part.title)));
        out.push_str(&cells(part));
    }
    for part in &part.more {
        section(part, level + 1, out);
    }
}

/// A table under a heading.
pub fn table(table: &Table) -> String {
    format!("\n## {}\n\n{}", escape(&table.title), cells(table))
}

/// A table with its notes.
fn cells(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = String::new();
    out.push_str(&line(table.columns.iter().map(|c| escape(&c.title)).collect()));
    let rule = |align: Align| if align == Align::Right { "---:" } else { "---" };
    out.push_str(&line(table.columns.iter().map(|c| rule(c.align).to_string()).collect()));
    for (index, row) in table.rows.iter().enumerate() {
        let mut cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(place, cell)| match table.anchor_of(place, cell) {
                Some(anchor) => format!("[{}](#{anchor})", escape(cell)),
                None => escape(cell),
            })
            .collect();
        if let Some((anchor, first)) = table.anchors.get(index).zip(cells.first_mut()) {
            *first = format!("<a id=\"{anchor}\"></a>{first}");
        }
        out.push_str(&line(cells));
    }
    if !table.notes.is_empty() {
        out.push('\n');
    }
    for note in &table.notes {
        out.push_str(&format!("- {}\n", escape(note)));
    }
    out
}

/// Text that Markdown shows as it is: no markup, no HTML, no new cell or line.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => {}
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(escape("<img src=x>|**b**\n[a](b)"), "&lt;img src=x&gt;\\|\\*\\*b\\*\\* \\[a\\](b)");
    }

    #[test]
    fn a_table_has_one_line_a_row() {
        let mut t = Table::new("Title", &["a", ">b"]);
        t.push(vec!["x\ny".into()]);
        t.notes.push("note".into());
        assert_eq!(table(&t), "\n## Title\n\n| a | b |\n| --- | ---: |\n| x y | - |\n\n- note\n");
    }
}
