//! `sizewell catalog`.

mod change;
mod check;
mod list;
mod place;

pub(crate) use place::load_catalog;

use super::Exit;
use super::console::Console;

/// What to do with the catalog.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List its offers.
    List(list::Args),
    /// Say what is wrong with it: prices against each other, their peers and the calendar.
    Check(check::Args),
    /// Fetch live prices from public lists into a new snapshot.
    Update(change::UpdateArgs),
    /// Take a price list of your own into a new snapshot.
    Import(change::ImportArgs),
}

/// Runs a verb.
pub(crate) fn run(verb: Verb, console: &Console) -> anyhow::Result<Exit> {
    match verb {
        Verb::List(args) => list::run(args),
        Verb::Check(args) => check::run(args, console),
        Verb::Update(args) => change::update(args, console),
        Verb::Import(args) => change::import(args, console),
    }
}
