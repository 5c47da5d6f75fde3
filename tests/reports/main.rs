//! What is said of runs: reports, workbooks, comparisons and gates.

// A program exports nothing.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod action;
mod gate;
mod reporting;
mod workbook;
