//! Tables on a terminal.

use super::table::{Align, Table};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement};

/// The table as text, `width` columns wide at most; `None` takes the terminal's width.
pub fn render(table: &Table, width: Option<u16>) -> String {
    let mut out = comfy_table::Table::new();
    out.load_style(UTF8_FULL_CONDENSED).set_header(table.columns.iter().map(|c| printable(&c.title)));
    out.set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width {
        out.set_width(width);
    }
    for row in &table.rows {
        out.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (index, column) in table.columns.iter().enumerate() {
        if let Some(cells) = out.column_mut(index)
            && column.align == Align::Right
        {
            cells.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{}\n{out}\n", table.title);
    for note in &table.notes {
        text.push_str(&format!("  {}\n", printable(note)));
    }
    text
}

/// Text without control characters: a name from a file must not move the cursor or change colours.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let mut table = Table::new("T", &["a", ">b"]);
        table.push(vec!["\u{1b}[31mred\u{1b}[0m\n".into(), "1".into()]);
        let text = render(&table, Some(40));
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("[31mred"));
    }
}
