//! `sizewell power-guard`, which nobody types: the process that holds a power limit and puts the old one back when the
//! process that asked for it has ended, however it ended.

use super::Exit;
use crate::power::limit;

/// Arguments of `power-guard`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of the card.
    card: u32,
}

/// Holds the limit until standard input ends.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    // What ends the other process must not end this one: it has to outlive it.
    ctrlc::set_handler(|| ())?;
    limit::guard(args.card, std::io::stdin().lock(), std::io::stdout())?;
    Ok(Exit::Done)
}
