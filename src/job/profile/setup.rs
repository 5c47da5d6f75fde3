//! What one run is of: a model on one device, at one power limit; with its folder and its record.

use super::options::ProfileOptions;
use crate::device::DeviceId;
use crate::device::cuda::{self, Card};
use crate::engine::Engine;
use crate::engine::open::describe;
use crate::engine::weights::{self, OpenedModel};
use crate::job::Context;
use crate::job::engine::{model_record, open_card};
use crate::job::error::{JobError, usage};
use crate::job::held_limit::HeldLimit;
use crate::job::idle::idle_power;
use crate::job::machine::{default_folder, warn_of_threads};
use crate::measure::overhead;
use crate::power::limit::PowerLimit;
use crate::power::{self, PowerSource};
use crate::record::environment::GpuRecord;
use crate::record::run::PowerRecord;
use crate::record::{Environment, RunFolder, RunRecord};
use crate::units::Watts;
use crate::workload::Sweep;
use std::path::{Path, PathBuf};

/// Everything that one run is made with.
pub(super) struct Setup {
    /// Where it goes.
    pub(super) folder: RunFolder,
    /// What run.json says so far.
    pub(super) record: RunRecord,
    /// What is measured.
    pub(super) device: DeviceId,
    /// The system under test.
    pub(super) engine: Box<dyn Engine>,
    /// The meter, where there is one.
    pub(super) power: Option<Box<dyn PowerSource>>,
    /// Power of the device with nothing to do, or why it is not known.
    pub(super) idle: Result<Watts, String>,
    /// Holds the power limit of a run that is continued; that of a series is held by the series.
    pub(super) limit: Option<HeldLimit>,
}

/// One run of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// The device.
    pub(super) device: DeviceId,
    /// The power limit that is in force by now, as asked and in watts.
    pub(super) limit: Option<(PowerLimit, Watts)>,
}

impl Part {
    /// The name of its folder within that of a series.
    fn folder_name(&self) -> String {
        let device = self.device.to_string().replace(':', "-");
        match &self.limit {
            Some((asked, _)) => format!("{device}-{}", asked.to_string().replace('%', "pct")),
            None => device,
        }
    }
}

/// The folders that the runs of a series go to.
pub(super) struct SeriesOutput {
    /// The folder of the one run, or of all of them; found when the first begins, unless the user named it.
    pub(super) base: Option<PathBuf>,
    /// There are several runs, each in a folder within.
    pub(super) several: bool,
}

impl SeriesOutput {
    fn of(&mut self, part: &Part, hostname: &str, model: &str) -> PathBuf {
        let base = self.base.get_or_insert_with(|| default_folder(hostname, model));
        if self.several { base.join(part.folder_name()) } else { base.clone() }
    }
}

/// Begins a run.
pub(super) fn start(
    options: &ProfileOptions,
    model: &str,
    part: Part,
    place: &mut SeriesOutput,
    engine_threads: usize,
    context: Context<'_>,
) -> Result<Setup, JobError> {
    let sweep = options.sweep.sweep()?;
    let model = weights::open(model, options.seed(), context.reporter.shows_progress())?;
    let sweep = with_native_levels(sweep, options, &model).for_model(model.about().shape).or_else(usage)?;
    let mut record = options.machine.new_record(options.seed(), engine_threads);
    warn_of_threads(&record.environment, context);
    let (mut power, power_record) = power::open(Path::new("/"), part.device);
    record.power = PowerRecord { limit_w: part.limit.map(|(_, watts)| watts), ..power_record };
    // Before the card is opened, which keeps its clocks up, and before the ceilings heat it.
    let idle = idle_power(power.as_deref_mut(), &mut record.power, sweep.limits.max_time_s, context);
    let card = open_card(part.device)?;
    record.engine = describe(card.as_deref(), options.kernels);
    warn_of_card(&record.environment, card.as_deref(), context);
    record.model = Some(model_record(model.about())?);
    record.workload = Some(sweep);
    record.overhead = overhead::measure();
    let name = model.about().name.to_string();
    let engine = model.engine(card, options.kernels)?;
    let path = place.of(&part, &record.environment.hostname, &name);
    let folder = RunFolder::create(&path, &record)?;
    let hardware = record.engine.hardware.as_ref().unwrap_or(&record.environment.cpu.model);
    let limit = part.limit.map_or(String::new(), |(_, watts)| format!(" at {watts}"));
    context.note(format!("{name} on {hardware}{limit}, into {}", path.display()));
    if options.device() == "cpu" && cuda::count().is_ok_and(|cards| cards > 0) {
        context.note("this machine has an NVIDIA card, which --device cuda:0 would use");
    }
    if let Some(overhead) = record.overhead {
        context.note(format!("the measuring loop costs {} a token", overhead.per_token_s));
    }
    Ok(Setup { folder, record, device: part.device, engine, power, idle, limit: None })
}

/// A quantized file cannot be run at higher precision: where the user named no levels, those of the workload that the
/// file can be are kept, and its own is added.
fn with_native_levels(mut sweep: Sweep, options: &ProfileOptions, model: &OpenedModel) -> Sweep {
    if options.sweep.quant.is_empty()
        && let Some(native) = model.native_quant()
        && !sweep.quant.iter().all(|quant| model.check_quant(*quant).is_ok())
    {
        sweep.quant.retain(|quant| model.check_quant(*quant).is_ok());
        if !sweep.quant.contains(&native) {
            sweep.quant.insert(0, native);
        }
    }
    sweep
}

/// Says what is wrong with the memory of the card that is measured.
pub(super) fn warn_of_card(environment: &Environment, card: Option<&Card>, context: Context<'_>) {
    let Some(card) = card else { return };
    let (place, index) = (card.facts.pci_bus_id.as_str(), card.facts.index);
    let of_card = |gpu: &&GpuRecord| gpu.pci_bus_id.as_deref().map_or(gpu.index == index, |known| known == place);
    if let Some(fault) = environment.gpus.iter().find(of_card).and_then(GpuRecord::memory_fault) {
        context.warn(format!("cuda:{}: {fault}", card.facts.index));
    }
}
