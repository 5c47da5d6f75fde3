//! Runs: the loop that measures, the folder that keeps them, and the program around both.

#[path = "../support/mod.rs"]
mod support;

mod coldstart;
mod command_line;
mod kill;
mod measuring;
mod names;
mod run_folder;
mod schema;
mod stories;
