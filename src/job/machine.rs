//! What is said of the machine that a job runs on, and the record that every run folder begins with.

use super::Context;
use super::error::{JobError, usage};
use crate::device::{cpu, inventory};
use crate::engine::backend::ops::Kernels;
use crate::engine::open::describe;
use crate::record::run::{PowerRecord, SCHEMA_VERSION};
use crate::record::{Basis, Environment, RunRecord, RunStatus, clock};
use crate::sizing::MachinePrice;
use crate::units::Usd;
use rust_decimal::Decimal;
use std::path::{Path, PathBuf};

/// The seed where none is given.
pub const SEED: u64 = 42;

/// What is said of the machine that a job runs on.
#[derive(Debug, Clone, Default)]
pub struct MachineOptions {
    /// Threads of the engine; one for each physical core by default.
    pub threads: Option<usize>,
    /// CPUs that the engine is pinned to, such as `0-3,8`.
    pub pin: Option<String>,
    /// The instance that it is, as `provider:type`, where it cannot be recognised.
    pub instance: Option<String>,
    /// What an hour of it costs, in USD.
    pub price_per_hour: Option<Decimal>,
    /// The command line, for the record.
    pub command_line: Vec<String>,
}

impl MachineOptions {
    /// The number of threads, checked.
    pub fn engine_threads(&self) -> Result<usize, JobError> {
        match (self.threads, &self.pin) {
            (Some(0), _) => usage("--threads is 0; at least 1 is needed"),
            (Some(threads), _) => Ok(threads),
            (None, Some(list)) => Ok(pinned(list)?.len()),
            (None, None) => Ok(cpu::default_threads()),
        }
    }

    /// Checks what only another part of the program would notice later.
    pub fn check(&self) -> Result<(), JobError> {
        if let Some(list) = &self.pin {
            pinned(list)?;
        }
        if self.price_per_hour.is_some_and(|price| price <= Decimal::ZERO) {
            return usage("--price-per-hour must be above 0");
        }
        self.price().map(|_| ())
    }

    /// What is said of its price.
    pub fn price(&self) -> Result<MachinePrice, JobError> {
        let instance = self.instance.as_deref().map(MachinePrice::parse_instance).transpose().or_else(usage)?;
        Ok(MachinePrice { instance, usd_per_h: self.price_per_hour.map(Usd) })
    }

    /// A record of this machine and program, with nothing measured yet.
    pub(super) fn new_record(&self, seed: u64, engine_threads: usize) -> RunRecord {
        let mut environment = inventory::environment(self.command_line.clone(), engine_threads, self.pin.clone());
        if let Ok(machine) = self.price() {
            if let Some((provider, instance_type)) = machine.instance {
                environment.instance.provider = Some(provider);
                environment.instance.instance_type = Some(instance_type);
                environment.instance.known_from = "--as".to_string();
            }
            environment.instance.usd_per_hour = machine.usd_per_h.map(|price| price.0);
        }
        RunRecord {
            basis: Basis::Measured,
            import: None,
            accelerators: 0,
            schema_version: SCHEMA_VERSION,
            status: RunStatus::Running,
            started_at: clock::now(),
            finished_at: None,
            environment,
            engine: describe(None, Kernels::Own),
            model: None,
            workload: None,
            seed,
            arrival: "closed_batch".to_string(),
            metric_definitions:
                "vLLM and MLPerf: TPOT = (E2E - TTFT) / (n - 1), ITL = pooled gaps (docs/method/metrics.md)".to_string(),
            ceilings: Vec::new(),
            ceilings_absent: Vec::new(),
            power: PowerRecord::default(),
            loads: Vec::new(),
            overhead: None,
            quality: None,
            traffic: None,
        }
    }
}

fn pinned(list: &str) -> Result<Vec<usize>, JobError> {
    let cpus = cpu::parse_cpu_list(list).or_else(usage)?;
    let allowed = cpu::allowed_cpus();
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(missing) => usage(format!("--pin {list}: there is no CPU {missing} to run on")),
        None => Ok(cpus),
    }
}

/// Says where more threads were asked for than can run at once.
pub(super) fn warn_of_threads(environment: &Environment, context: Context<'_>) {
    if let Some(why) = environment.crowded() {
        context.warn(why);
    }
}

/// Today, where the clock of this machine is.
pub fn today() -> jiff::civil::Date {
    clock::now().to_zoned_datetime(jiff::tz::TimeZone::system()).date()
}

/// `results/DATE-HOST-MODEL`, with a number behind it where that is taken.
pub(super) fn default_folder(hostname: &str, model: &str) -> PathBuf {
    let plain: String = format!("{}-{hostname}-{model}", today())
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let base = Path::new("results").join(plain);
    let numbered = (2..).map(|n| PathBuf::from(format!("{}-{n}", base.display())));
    std::iter::once(base.clone()).chain(numbered).find(|path| !path.exists()).unwrap_or(base)
}
