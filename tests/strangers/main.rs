//! Inputs that nobody here wrote, each with its right value: files of other tools, price lists, data sets, models. One
//! module a subject; small files that they read stand in `cases/`.

#[path = "../support/mod.rs"]
mod support;

mod folders;
mod formats;
mod imports;
mod models;
mod prices;
mod quality;
mod quality_runs;
mod ranking;
mod serving;
