//! sizewell measures what a model costs on hardware and says which hardware to buy.
//!
//! The modules are in the order of the pipeline ([`units`], [`statistics`] and [`data_file`] stand below all of them):
//!
//! 1. [`workload`]: what to measure, as data: model presets, sweeps, cases.
//! 2. [`device`]: what is on this machine, and its measured ceilings.
//! 3. [`engine`]: the system under test: candle on the CPU, and on NVIDIA cards.
//! 4. [`measure`] and [`power`]: warm-up, stopping, statistics; energy. [`evaluation`]: what a model answers.
//! 5. [`record`]: what a measurement leaves behind: the run folder.
//! 6. [`catalog`]: accelerators and offers.
//!    [`evidence`]: what other tools measured, as run folders.
//! 7. [`quality`]: what quantization and pruning cost in answers, and drift: judgements of what was answered.
//!    [`sizing`]: what fits, projections, cost, ranking.
//! 8. [`gate`]: what changed between runs, policies and verdicts.
//! 9. [`report`]: HTML, PDF, XLSX, Markdown, CSV, JSON, tables, plots.
//! 10. [`job`]: what the application does with all of these; [`cli`] parses and prints.
//!
//! What stands before the run folder touches hardware and writes only it. What stands after it reads files, is pure,
//! and imports nothing of [`device`], [`engine`], [`power`], [`measure`] or [`evaluation`]; `tests/layout.rs` holds that.

#![warn(missing_docs)]

pub use sizewell_engine::{device, engine, measure, power};
pub use sizewell_record::{data_file, names, record, statistics, units, workload};
pub use sizewell_sizing::{catalog, evidence, gate, sizing};

pub mod cli;
pub mod evaluation;
pub mod job;
pub mod quality;
pub mod report;

/// Says to the crates below which build of the program they are part of.
pub fn identify() {
    let build = Some(env!("SIZEWELL_BUILD"));
    record::program::set(record::program::Program { git_revision: env!("SIZEWELL_GIT_REVISION"), build });
}
