//! Tables on a terminal.

use super::table::{Align, Table};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width};
use std::borrow::Cow;

/// Columns of text are not made narrower than this for the sake of a long word.
const TEXT_WIDTH: usize = 24;
/// Columns that a cell takes beside its text: a space on either side and a line.
const PADDING: usize = 3;

/// The table as text, `width` columns wide at most; `None` takes the terminal's width. Numbers stay whole: where there
/// is no room for all columns, those that the table can spare go, and a note names them.
pub fn render(table: &Table, width: Option<u16>) -> String {
    let mut out = comfy_table::Table::new();
    out.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width {
        out.set_width(width);
    }
    let least: Vec<usize> = (0..table.columns.len()).map(|index| least_width(table, index)).collect();
    let spared = spared(table, &least, out.width().map(usize::from));
    let kept: Vec<usize> = (0..table.columns.len()).filter(|index| !spared.contains(index)).collect();
    out.set_header(kept.iter().map(|index| printable(&table.columns[*index].title).into_owned()));
    for row in &table.rows {
        out.add_row(kept.iter().map(|index| printable(&row[*index]).into_owned()));
    }
    for (place, index) in kept.iter().enumerate() {
        let Some(cells) = out.column_mut(place) else { continue };
        if table.columns[*index].align == Align::Right {
            cells.set_cell_alignment(CellAlignment::Right);
        }
        let boundary = (least[*index] + PADDING - 1).min(u16::MAX as usize) as u16;
        cells.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(boundary)));
    }
    let mut text = format!("{}\n{out}\n", printable(&table.title));
    let names: Vec<&str> = spared.iter().map(|index| table.columns[*index].title.as_str()).collect();
    if !names.is_empty() {
        text.push_str(&format!("  not shown on a terminal this narrow: {}\n", names.join(", ")));
    }
    for note in &table.notes {
        text.push_str(&format!("  {}\n", printable(note)));
    }
    text
}

/// The columns to leave out so that the others fit into `width`.
fn spared(table: &Table, least: &[usize], width: Option<usize>) -> Vec<usize> {
    let Some(width) = width else { return Vec::new() };
    let mut needed: usize = least.iter().map(|column| column + PADDING).sum::<usize>() + 1;
    let mut spared = Vec::new();
    for index in &table.spare {
        if needed <= width {
            break;
        }
        needed -= least[*index] + PADDING;
        spared.push(*index);
    }
    spared
}

/// How narrow a column may get: numbers stay on one line, but for their margin; text breaks between words.
fn least_width(table: &Table, index: usize) -> usize {
    let column = &table.columns[index];
    let longest = |parts: &mut dyn Iterator<Item = &str>| parts.map(|part| part.chars().count()).max().unwrap_or(0);
    let cells = table.rows.iter().map(|row| row[index].as_str());
    let title = longest(&mut column.title.split(' '));
    match column.align {
        Align::Right => title.max(longest(&mut cells.flat_map(|cell| cell.split_inclusive(" \u{b1}")))),
        Align::Left => title.max(longest(&mut cells.flat_map(|cell| cell.split(' '))).min(TEXT_WIDTH)),
    }
}

/// Text whose characters all show: what would move the cursor, change colours, set the title of the window or turn the
/// direction of writing stands as its number. Names come from files and servers that nobody here wrote.
pub fn printable(text: &str) -> Cow<'_, str> {
    shown(text, &[])
}

/// The same of several lines: line breaks and tabs stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    shown(text, &['\n', '\t'])
}

fn shown<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let hidden = |c: char| (c.is_control() && !kept.contains(&c)) || is_unseen(c);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let show = |c: char| match c {
        c if !hidden(c) => c.to_string(),
        '\n' => "\\n".to_string(),
        '\r' => "\\r".to_string(),
        '\t' => "\\t".to_string(),
        c if (c as u32) < 0x100 => format!("\\x{:02x}", c as u32),
        c => format!("\\u{{{:x}}}", c as u32),
    };
    Cow::Owned(text.chars().map(show).collect())
}

/// Characters that change how others are shown: marks of direction, and ends of lines that are none on a terminal.
pub fn is_unseen(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let mut table = Table::new("T", &["a", ">b"]);
        table.push(vec!["\u{1b}[31mred\u{1b}[0m\n".into(), "1".into()]);
        let text = render(&table, Some(80));
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("\\x1b[31mred\\x1b[0m\\n"), "{text}");
        assert_eq!(printable("a\u{9b}2J\u{202e}b\u{7f}\tc"), "a\\x9b2J\\u{202e}b\\x7f\\tc");
        assert_eq!(printable_lines("a\n\u{1b}]0;x\u{7}\tb"), "a\n\\x1b]0;x\\x07\tb");
    }

    #[test]
    fn narrow_terminals_lose_spare_columns_before_numbers_break() {
        let mut table = Table::new("T", &["offer", ">cost", ">requests", ">TTFT"]).spare(&["TTFT", "requests"]);
        table.push(vec!["aws:g6.xlarge us-east-1".into(), "$0.0123".into(), "12.3 req/s".into(), "3.21 ms".into()]);
        let wide = render(&table, Some(80));
        assert!(wide.contains("12.3 req/s") && wide.contains("3.21 ms") && !wide.contains("not shown"));
        let narrow = render(&table, Some(45));
        assert!(narrow.contains("12.3 req/s") && !narrow.contains("3.21") && narrow.contains("this narrow: TTFT\n"));
        let tiny = render(&table, Some(28));
        assert!(tiny.contains("$0.0123") && tiny.contains("aws:g6.xlarge") && tiny.contains("TTFT, requests"));
    }
}
