//! Inputs that nobody here wrote, each with its right value: files of other tools, price lists, data sets, models, servers. One
//! module a subject; small files that they read stand in `cases/`.

// A program exports nothing.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod folders;
mod formats;
mod gguf_sizes;
mod imports;
mod machine;
mod models;
mod prices;
mod published;
mod quality;
mod quality_runs;
mod ranking;
mod servers;
mod servers_asked;
mod serving;
