//! The `sizewell` command: parse, run, map to an exit status.

use sizewell::cli::{Cli, Exit, talk};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    match cli.run() {
        Ok(exit) => exit.code(),
        Err(error) => {
            talk::line(&format!("error: {error:#}"));
            Exit::of(&error).code()
        }
    }
}
