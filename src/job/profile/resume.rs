//! Continuing a run: cases of two programs, machines or settings cannot stand in one, so whatever differs from what the run
//! was begun with is named, and nothing is measured.

use super::options::ProfileOptions;
use super::setup::{Setup, warn_of_card};
use crate::device::{DeviceId, inventory};
use crate::engine::open::describe;
use crate::engine::weights;
use crate::job::Context;
use crate::job::engine::{kernels_of, open_card};
use crate::job::error::{JobError, failed, usage};
use crate::job::held_limit::HeldLimit;
use crate::job::idle::idle_power;
use crate::power;
use crate::record::environment::{Environment, GpuRecord};
use crate::record::run::EngineRecord;
use crate::record::{RunFolder, RunRecord, RunStatus};
use std::fmt::Display;
use std::path::Path;

/// Continues the run in a folder.
pub(super) fn resume(
    path: &Path,
    options: &ProfileOptions,
    engine_threads: usize,
    context: Context<'_>,
) -> Result<Setup, JobError> {
    options.check_resume()?;
    let (folder, mut record) = RunFolder::resume(path)?;
    for warning in &folder.warnings {
        context.warn(warning);
    }
    if record.traffic.is_some() {
        return usage(format!(
            "{} is a load test, which is not continued: `sizewell load` starts another",
            path.display()
        ));
    }
    let Some(known) = &record.model else { return usage(format!("{} holds ceilings only", path.display())) };
    if record.workload.is_none() {
        return usage(format!("{} holds no sweep of `run` or `profile`: it is not continued", path.display()));
    }
    let mut differences = Differences::default();
    differences.of_request(options, &record);
    let here = inventory::environment(Vec::new(), engine_threads, options.machine.pin.clone());
    differences.of_environment(&record.environment, &here);
    let device: DeviceId = record.engine.device.parse()?;
    // Before the card is opened and its limit changed: it may be another's.
    differences.refuse(path)?;
    let name = known.location.clone().unwrap_or(known.name.clone());
    let model = weights::open(&name, record.seed, context.reporter.shows_progress())?;
    differences.add(&format!("the model's hash ({name})"), &known.hash, &model.about().origin.hash()?);
    differences.refuse(path)?;
    let limit = match (record.power.limit_w, device.card()) {
        (Some(watts), Some(index)) => {
            let mut guard = HeldLimit::of_card(index, context.stop)?;
            guard.set(watts)?;
            Some(guard)
        }
        _ => None,
    };
    let (mut power, power_record) = power::open(Path::new("/"), device);
    differences.add("the power meter", &record.power.source, &power_record.source);
    differences.refuse(path)?;
    let max_time_s = record.workload.as_ref().map_or(0.0, |workload| workload.limits.max_time_s);
    let idle = idle_power(power.as_deref_mut(), &mut record.power, max_time_s, context);
    let card = open_card(device)?;
    warn_of_card(&here, card.as_deref(), context);
    let kernels = kernels_of(&record.engine);
    differences.of_engine(&record.engine, &describe(card.as_deref(), kernels));
    if let Some(index) = device.card() {
        differences.of_card(&record.environment, &here, index, record.power.limit_w.is_some());
    }
    differences.refuse(path)?;
    context.note(format!("continuing {}: {} cases are done", path.display(), folder.done.len()));
    record.status = RunStatus::Running;
    let engine = model.engine(card, kernels)?;
    Ok(Setup { folder, record, device, engine, power, idle, limit })
}

/// What was one thing when a run was begun, and is another now.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn add<T: PartialEq + Display + ?Sized>(&mut self, what: &str, then: &T, now: &T) {
        if then != now {
            self.0.push(format!("{what}: {then} then, {now} now"));
        }
    }

    /// Of what either side may not know: nothing is made of that.
    fn add_known<T: PartialEq + Display>(&mut self, what: &str, then: &Option<T>, now: &Option<T>) {
        if let (Some(then), Some(now)) = (then, now) {
            self.add(what, then, now);
        }
    }

    /// Of what may be absent, which differs from being there.
    fn add_absent(&mut self, what: &str, then: &Option<String>, now: &Option<String>) {
        let word = |value: &Option<String>| value.clone().unwrap_or("none".to_string());
        self.add(what, &word(then), &word(now));
    }

    fn of_request(&mut self, options: &ProfileOptions, record: &RunRecord) {
        if let Some(device) = &options.device {
            self.add("--device", &record.engine.device, device);
        }
        if let Some(seed) = options.seed {
            self.add("--seed", &record.seed, &seed);
        }
    }

    fn of_environment(&mut self, then: &Environment, now: &Environment) {
        self.add("the version of sizewell", &then.sizewell_version, &now.sizewell_version);
        self.add("its git revision", &then.git_revision, &now.git_revision);
        self.add_known("its build", &then.build, &now.build);
        self.add_known("the machine", &then.machine, &now.machine);
        self.add("the operating system", &then.os, &now.os);
        let (old, new) = (&then.cpu, &now.cpu);
        self.add("the CPU", &old.model, &new.model);
        self.add("the CPU's signature", &old.signature, &new.signature);
        self.add("cores to run on", &old.cores, &new.cores);
        self.add("hardware threads to run on", &old.threads, &new.threads);
        self.add("threads (--threads)", &old.engine_threads, &new.engine_threads);
        self.add_absent("CPUs that the engine is pinned to (--pin)", &old.pinned_to, &new.pinned_to);
        let limits = |environment: &Environment| environment.limits.as_ref().map(|limits| limits.cpus_in_words());
        self.add_absent("the quota of CPU time", &limits(then).flatten(), &limits(now).flatten());
        self.add_absent("the hypervisor", &old.hypervisor, &new.hypervisor);
        self.add_absent("the frequency governor", &old.governor, &new.governor);
    }

    fn of_engine(&mut self, then: &EngineRecord, now: &EngineRecord) {
        self.add("the engine", &then.name, &now.name);
        self.add("the engine's version", &then.version, &now.version);
        self.add("its kernels", &then.kernels, &now.kernels);
        self.add("its types and cache", &then.compute_type, &now.compute_type);
        let name = |engine: &EngineRecord| engine.hardware.clone().unwrap_or("the CPU".to_string());
        self.add(&format!("what {} is", then.device), &name(then), &name(now));
    }

    fn of_card(&mut self, then: &Environment, now: &Environment, index: usize, is_limited: bool) {
        let card = |environment: &Environment| environment.gpus.iter().find(|gpu| gpu.index == index).cloned();
        let (Some(then), Some(now)) = (card(then), card(now)) else { return };
        let watts = |gpu: &GpuRecord| gpu.power_limit_w.map(|limit| limit.to_string());
        self.add_known("the card (UUID)", &then.uuid, &now.uuid);
        self.add_known("the driver", &then.driver, &now.driver);
        self.add_known("error correction of its memory", &then.ecc, &now.ecc);
        // A limit that the run itself sets is set again.
        if !is_limited {
            self.add_known("the power limit", &watts(&then), &watts(&now));
        }
    }

    /// An error where there are any.
    fn refuse(&self, path: &Path) -> Result<(), JobError> {
        if self.0.is_empty() {
            return Ok(());
        }
        failed(format!(
            "{0} was begun with something else, and cases of both cannot stand in one run: {1}. Continue it with what it \
             was begun with, or begin another run with -o",
            path.display(),
            self.0.join("; ")
        ))
    }
}
