//! The command line: one file per verb.

mod catalog;
mod ceilings;
mod coldstart;
mod completions;
pub mod console;
mod devices;
mod diff;
mod drift;
mod gate;
mod import;
mod load;
mod measure_args;
mod models;
mod output;
mod plan;
mod power_guard;
mod profile;
mod progress;
mod quality;
mod rank;
mod rank_args;
mod report;
mod run;
mod shape;
mod signals;
mod validate;

pub use crate::job::today;

use crate::engine::backend::threads;
use crate::job::{JobError, Status, Stop};
use clap::{Parser, Subcommand};
use console::Console;
use std::process::ExitCode;

/// What a command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The job failed.
    Failed,
    /// The command line asks for something that cannot be.
    Usage,
    /// A gate says no.
    GateFailed,
    /// A gate cannot tell.
    GateCannotTell,
    /// The measurement cannot be relied on.
    InvalidMeasurement,
    /// A signal stopped it before its end; what is finished is kept.
    Interrupted,
}

impl Exit {
    /// The exit status.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::GateFailed => 3,
            Self::GateCannotTell => 4,
            Self::InvalidMeasurement => 5,
            Self::Interrupted => signals::STATUS,
        })
    }

    /// What a command ends with that came to an error.
    fn of(error: &anyhow::Error, stop: &Stop) -> Self {
        match error.downcast_ref::<JobError>() {
            Some(JobError::Usage(_)) => Self::Usage,
            // What fails while it is being stopped fails for that.
            _ if stop.is_asked() => Self::Interrupted,
            Some(JobError::Interrupted(_)) => Self::Interrupted,
            Some(JobError::Card(_) | JobError::CardLost { .. } | JobError::Failed(_)) | None => Self::Failed,
        }
    }
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Done => Self::Done,
            Status::Failed => Self::Failed,
            Status::Rejected => Self::GateFailed,
            Status::CannotTell => Self::GateCannotTell,
            Status::Invalid => Self::InvalidMeasurement,
            Status::Interrupted => Self::Interrupted,
        }
    }
}

/// A usage error as the result of a command.
fn usage<T>(message: impl Into<String>) -> anyhow::Result<T> {
    Err(JobError::Usage(message.into()).into())
}

/// Measures what a model costs on hardware, and says which hardware to buy.
#[derive(Debug, Parser)]
#[command(name = "sizewell", version, about, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 done, 1 the job failed, 2 usage, 3 a gate says no or drift raises an alarm, 4 a gate cannot tell, \
                        5 the measurement is invalid, 130 a signal stopped it."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say nothing but errors on stderr.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The main job: ceilings, profile, ranking and report of a model on this machine.
    Run(run::Args),
    /// What is here, what is not, and why.
    Devices(devices::Args),
    /// Measure the roofs of this machine: memory bandwidth and latency, arithmetic.
    Ceilings(ceilings::Args),
    /// Measure a model over batch sizes, prompt lengths and quantizations.
    Profile(profile::Args),
    /// Send traffic to a server or to a model in process, and find the highest rate under an SLO.
    Load(Box<load::Args>),
    /// Measure what passes between starting a process and its first token.
    Coldstart(coldstart::Args),
    /// Measure what quantization and pruning cost in answers.
    Quality(quality::Args),
    /// Rank offers by what a request costs on them.
    Rank(rank::Args),
    /// How many of which instances a demand takes, and what a month of them costs.
    Plan(plan::Args),
    /// Write the report of a run.
    Report(report::Args),
    /// How much each case changed from one run to another: the same device over time, or two devices.
    Diff(diff::Args),
    /// Hold a run against a policy or a baseline: 0 pass, 3 fail, 4 cannot tell, 5 invalid.
    Gate(gate::Args),
    /// Read the result files of other tools into a run folder.
    Import(import::Args),
    /// How far off projections are, on hardware that was left out.
    Validate(validate::Args),
    /// The prices that rankings use.
    #[command(subcommand)]
    Catalog(catalog::Verb),
    /// Model presets.
    #[command(subcommand)]
    Models(models::Verb),
    /// Print the completion script of a shell.
    Completions(completions::CompletionArgs),
    /// Print the manual page.
    Man,
    /// Start a model once and say how long each phase took, for another process of this program.
    #[command(name = coldstart::PROBE_VERB, hide = true)]
    ColdstartProbe(coldstart::ProbeArgs),
    /// Hold the power limit of a card for another process of this program.
    #[command(name = crate::power::limit::GUARD_VERB, hide = true)]
    PowerGuard(power_guard::Args),
}

impl Command {
    /// Whether it sets how many threads compute, which has to be done before there is a second thread, such as the one that
    /// hears signals; these say themselves from where on they hear them.
    fn configures_threads(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Ceilings(_)
                | Self::Profile(_)
                | Self::Load(_)
                | Self::Coldstart(_)
                | Self::ColdstartProbe(_)
                | Self::Quality(_)
                | Self::PowerGuard(_)
        )
    }
}

impl Cli {
    /// Reads the command line. What is not to be run is said: an error, or the help that was asked for.
    pub fn read() -> Result<Self, ExitCode> {
        let error = match Self::try_parse() {
            Ok(cli) => return Ok(cli),
            Err(error) => error,
        };
        let is_plain =
            std::env::args_os().all(|word| word.to_str().is_some_and(|word| console::printable(word) == word));
        let printed = match (error.use_stderr(), is_plain) {
            // Words of the command line are repeated in it.
            (true, false) => {
                console::line(error.render().to_string().trim_end());
                Ok(())
            }
            _ => error.print(),
        };
        match printed {
            Err(why) if !error.use_stderr() && why.kind() != std::io::ErrorKind::BrokenPipe => {
                console::line(&format!("error: stdout cannot be written: {why}"));
                Err(Exit::Failed.code())
            }
            _ => Err(ExitCode::from(error.exit_code() as u8)),
        }
    }

    /// Runs the command, and says why where it comes to an error.
    pub fn run(self) -> Exit {
        let stop = Stop::default();
        self.carry_out(&stop).unwrap_or_else(|error| {
            console::line(&format!("error: {error:#}"));
            Exit::of(&error, &stop)
        })
    }

    fn carry_out(self, stop: &Stop) -> anyhow::Result<Exit> {
        let console = Console::new(self.quiet);
        if !self.command.configures_threads() {
            signals::hear(stop);
        }
        match self.command {
            Command::Run(args) => run::run(args, &console, stop),
            Command::Devices(args) => devices::run(args),
            Command::Ceilings(args) => ceilings::run(args, &console, stop),
            Command::Profile(args) => profile::run(args, &console, stop),
            Command::Load(args) => load::run(*args, &console, stop),
            Command::Coldstart(args) => coldstart::run(args, &console, stop),
            Command::ColdstartProbe(args) => coldstart::probe(args),
            Command::Quality(args) => quality::run(args, &console, stop),
            Command::Rank(args) => rank::run(args, &console),
            Command::Plan(args) => plan::run(args, &console),
            Command::Report(args) => report::run(args, &console),
            Command::Diff(args) => diff::run(args),
            Command::Gate(args) => gate::run(args, &console),
            Command::Import(args) => import::run(args, &console),
            Command::Validate(args) => validate::run(args, &console),
            Command::Catalog(verb) => catalog::run(verb, &console),
            Command::Models(verb) => models::run(verb, &console),
            Command::Completions(args) => completions::completions(args),
            Command::Man => completions::man(),
            Command::PowerGuard(args) => power_guard::run(args),
        }
    }
}

/// Sets how many threads compute, and on which CPUs.
fn configure_threads(count: usize, cpus: Option<&str>) {
    // SAFETY: a command does this before it hears signals, which is the first to start a thread, and before anything computes.
    unsafe { threads::configure(count, cpus) };
}

/// The command line for a record: what is no text is written as near to it as can be.
fn argv() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
