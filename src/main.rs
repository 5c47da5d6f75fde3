//! The `sizewell` command: parse, run, map to an exit status.

use sizewell::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    sizewell::identify();
    match Cli::read() {
        Ok(cli) => cli.run().code(),
        Err(exit) => exit,
    }
}
