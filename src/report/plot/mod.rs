//! Plots as SVG text. Colours are Okabe and Ito's, which colour-blind readers can tell apart; marks differ in shape too,
//! so that a grey print still reads. Each plot has a title and a description for screen readers.

mod canvas;
pub mod chart;
pub mod cost;
pub mod curves;
pub mod front;
pub mod history;
pub mod load;
pub mod pareto;
pub mod roofline;
pub mod stack;
pub mod trace;
pub mod traffic;

use super::table::Table;

/// A finished plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// File-safe name.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The same in a sentence or two.
    pub description: String,
    /// Sizes of samples, and what bars and marks mean.
    pub note: String,
    /// What is drawn, as a table.
    pub data: Table,
    /// The picture.
    pub svg: String,
}
