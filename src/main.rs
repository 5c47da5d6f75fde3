//! The `sizewell` command: parse, run, map to an exit status.

use clap::Parser;
use sizewell::cli::{Cli, Exit, is_closed_pipe, talk};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(exit) => exit.code(),
        Err(error) if is_closed_pipe(&error) => Exit::Done.code(),
        Err(error) => {
            talk::line(&format!("error: {error:#}"));
            Exit::of(&error).code()
        }
    }
}
