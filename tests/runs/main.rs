//! Runs: the loop that measures, the folder that keeps them, and the program around both.

// A program exports nothing.
#![allow(unreachable_pub)]

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
