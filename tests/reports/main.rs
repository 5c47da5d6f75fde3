//! What is said of runs: reports, workbooks, comparisons and gates.

#[path = "../support/mod.rs"]
mod support;

mod action;
mod gate;
mod reporting;
mod workbook;
