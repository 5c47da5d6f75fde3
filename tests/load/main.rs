//! Traffic: the command, the engine under it, servers that misbehave. What times arithmetic gives for are in
//! `load_measures`, a program of its own, so that nothing runs beside them.

// A program exports nothing.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod command;
mod engine;
mod hostile;
