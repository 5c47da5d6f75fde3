//! Tables over pages: columns as wide as they need, text columns narrower where there is no room, the head again on each
//! page; columns that the table can spare go before numbers break.

use super::layout::{Item, Kind, Layout, Style};
use super::text::Weight;
use crate::report::table::{Align, Table};

const SIZE: f32 = 7.0;
const LINE: f32 = SIZE * 1.3;
const PAD: f32 = 4.0;
/// A column of text is no wider than this if it can break.
const WIDEST_TEXT: f32 = 330.0;

impl Layout {
    /// A table from here on.
    pub(crate) fn table(&mut self, table: &Table) {
        if table.columns.is_empty() {
            return;
        }
        let (kept, widths) = self.widths(table);
        let node = self.group(Kind::Table);
        let heads: Vec<String> = kept.iter().map(|index| table.columns[*index].title.clone()).collect();
        self.head(node, table, &kept, &widths, &heads, true);
        for row in &table.rows {
            let cells: Vec<Vec<String>> = kept
                .iter()
                .zip(&widths)
                .map(|(index, width)| {
                    let text = self.metrics.drawable(&row[*index]);
                    self.metrics.lines(&text, Weight::Regular, SIZE, width - 2.0 * PAD)
                })
                .collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(1) as f32 * LINE + 3.0;
            if self.top() + height > self.bottom() {
                self.new_page();
                self.head(node, table, &kept, &widths, &heads, false);
            }
            let row_node = self.node(node, Kind::Row);
            self.row(row_node, Kind::Cell, table, &kept, &widths, cells, Weight::Regular);
            self.move_to(self.top() + height);
            let at = (self.left(), self.top() - 1.5);
            self.put(Item::Fill { at, size: (widths.iter().sum(), 0.3), grey: 215 });
        }
        if kept.len() < table.columns.len() {
            let gone: Vec<&str> = (0..table.columns.len())
                .filter(|index| !kept.contains(index))
                .map(|index| table.columns[index].title.as_str())
                .collect();
            self.paragraph(&format!("No room on paper for: {}.", gone.join(", ")), Style::Note);
        }
        self.move_to(self.top() + 3.0);
    }

    /// The head; again on a further page, where a screen reader has read it.
    fn head(&mut self, node: usize, table: &Table, kept: &[usize], widths: &[f32], heads: &[String], first: bool) {
        let cells: Vec<Vec<String>> = heads
            .iter()
            .zip(widths)
            .map(|(head, width)| {
                let head = self.metrics.drawable(head);
                self.metrics.lines(&head, Weight::SemiBold, SIZE, width - 2.0 * PAD)
            })
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1) as f32 * LINE + 3.0;
        self.reserve(height + 2.0 * LINE);
        let at = (self.left(), self.top());
        self.put(Item::Fill { at, size: (widths.iter().sum(), height - 1.0), grey: 238 });
        let row = if first { Some(self.node(node, Kind::Row)) } else { None };
        match row {
            Some(row) => self.row(row, Kind::Head, table, kept, widths, cells, Weight::SemiBold),
            None => self.decoration(table, kept, widths, cells),
        }
        self.move_to(self.top() + height);
    }

    #[allow(clippy::too_many_arguments)]
    fn row(
        &mut self,
        row: usize,
        kind: Kind,
        table: &Table,
        kept: &[usize],
        widths: &[f32],
        cells: Vec<Vec<String>>,
        weight: Weight,
    ) {
        let mut left = self.left();
        for ((index, width), lines) in kept.iter().zip(widths).zip(cells) {
            let cell = self.node(row, kind.clone());
            self.cell(lines, left, *width, table.columns[*index].align, weight, Some(cell));
            left += width;
        }
    }

    fn decoration(&mut self, table: &Table, kept: &[usize], widths: &[f32], cells: Vec<Vec<String>>) {
        let mut left = self.left();
        for ((index, width), lines) in kept.iter().zip(widths).zip(cells) {
            self.cell(lines, left, *width, table.columns[*index].align, Weight::SemiBold, None);
            left += width;
        }
    }

    fn cell(&mut self, lines: Vec<String>, left: f32, width: f32, align: Align, weight: Weight, node: Option<usize>) {
        for (index, text) in lines.into_iter().enumerate() {
            let shift = match align {
                Align::Left => PAD,
                Align::Right => width - PAD - self.metrics.width(&text, weight, SIZE),
            };
            let at = (left + shift, self.top() + SIZE + 1.0 + index as f32 * LINE);
            self.put(Item::Text { at, size: SIZE, weight, grey: 0, text, node });
        }
    }

    /// The columns that are shown, and how wide each is.
    fn widths(&mut self, table: &Table) -> (Vec<usize>, Vec<f32>) {
        let natural: Vec<f32> = (0..table.columns.len()).map(|index| self.natural(table, index)).collect();
        let least: Vec<f32> = (0..table.columns.len()).map(|index| self.least(table, index)).collect();
        let room = self.width();
        let mut kept: Vec<usize> = (0..table.columns.len()).collect();
        for spare in &table.spare {
            if kept.iter().map(|index| least[*index]).sum::<f32>() <= room {
                break;
            }
            kept.retain(|index| index != spare);
        }
        let wanted: f32 = kept.iter().map(|index| natural[*index]).sum();
        let fixed: f32 = kept.iter().map(|index| least[*index]).sum();
        let share = if wanted <= room { 1.0 } else { ((room - fixed) / (wanted - fixed)).max(0.0) };
        // Where even the least is too much, every column gives way alike.
        let squeeze = if fixed > room { room / fixed } else { 1.0 };
        let widths =
            kept.iter().map(|index| (least[*index] + (natural[*index] - least[*index]) * share) * squeeze).collect();
        (kept, widths)
    }

    fn natural(&mut self, table: &Table, column: usize) -> f32 {
        let head = self.longest_word(&table.columns[column].title, Weight::SemiBold);
        let cells =
            table.rows.iter().map(|row| self.metrics.width(&row[column], Weight::Regular, SIZE)).fold(0.0, f32::max);
        let cells = if table.columns[column].align == Align::Left { cells.min(WIDEST_TEXT) } else { cells };
        head.max(cells) + 2.0 * PAD + 0.5
    }

    fn least(&mut self, table: &Table, column: usize) -> f32 {
        let head = self.longest_word(&table.columns[column].title, Weight::SemiBold);
        let mut most = head;
        for row in &table.rows {
            let width = match table.columns[column].align {
                // Numbers stay on one line, but for their margin.
                Align::Right => row[column]
                    .split(" \u{b1}")
                    .map(|part| self.metrics.width(part, Weight::Regular, SIZE) + 4.0)
                    .fold(0.0, f32::max),
                Align::Left => self.longest_word(&row[column], Weight::Regular).min(110.0),
            };
            most = most.max(width);
        }
        most + 2.0 * PAD + 0.5
    }

    fn longest_word(&mut self, text: &str, weight: Weight) -> f32 {
        text.split(' ').map(|word| self.metrics.width(word, weight, SIZE)).fold(0.0, f32::max)
    }
}
