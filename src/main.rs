//! The `sizewell` command: parse, run, map to an exit status.

use clap::Parser;
use sizewell::cli::{Cli, Exit, talk};
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

/// Whoever read our output has seen enough (`sizewell models list | head -1`).
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
