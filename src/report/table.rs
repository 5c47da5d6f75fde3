//! A table that any form can show.

use serde::Serialize;

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A column head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// What it holds, with the unit where the cells have none.
    pub title: String,
    /// How it is set.
    pub align: Align,
}

/// A table with its title and the remarks below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Heads.
    pub columns: Vec<Column>,
    /// Cells; each row has as many as there are columns.
    pub rows: Vec<Vec<String>>,
    /// What to know when reading it.
    pub notes: Vec<String>,
    /// Columns that a narrow terminal does without, the first to go first.
    #[serde(skip)]
    pub spare: Vec<usize>,
    /// Anchors of rows that others link to, as many as rows, or none.
    #[serde(skip)]
    pub anchors: Vec<String>,
    /// The column whose cells link to anchors, each by the second part of its text behind this prefix.
    #[serde(skip)]
    pub link: Option<(usize, &'static str)>,
}

impl Table {
    /// An empty table. A column title that begins with `>` is set right.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        let column = |title: &&str| match title.strip_prefix('>') {
            Some(title) => Column { title: title.to_string(), align: Align::Right },
            None => Column { title: title.to_string(), align: Align::Left },
        };
        Self {
            title: title.into(),
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
            spare: Vec::new(),
            anchors: Vec::new(),
            link: None,
        }
    }

    /// Names the columns that a narrow terminal does without, the first to go first.
    pub fn spare(mut self, titles: &[&str]) -> Self {
        let find = |title: &&str| self.columns.iter().position(|column| column.title == *title);
        self.spare = titles.iter().filter_map(find).collect();
        self
    }

    /// The anchor that a cell links to: `projected X*` in the linking column is `tier-X`.
    pub fn anchor_of(&self, column: usize, cell: &str) -> Option<String> {
        let (linking, prefix) = self.link?;
        let word = cell.split_whitespace().nth(1).filter(|_| linking == column)?;
        Some(format!("{prefix}{}", word.trim_end_matches('*')))
    }

    /// Adds a row; missing cells are dashes.
    pub fn push(&mut self, mut row: Vec<String>) {
        row.resize(self.columns.len(), DASH.to_string());
        self.rows.push(row);
    }
}

/// What stands for a value that is absent.
pub const DASH: &str = "-";
