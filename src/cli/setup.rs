//! What one run is of: a model on one device, at one power limit; with its folder and its record.

use super::held_limit::HeldLimit;
use super::idle::idle_power;
use super::measure_args::MeasureArgs;
use super::talk::Talk;
use super::usage;
use crate::device::cuda::{self, Card, CudaError};
use crate::device::{DeviceId, inventory, nvidia};
use crate::engine::Engine;
use crate::engine::backend::cpu::simd::Level;
use crate::engine::backend::ops::Kernels;
use crate::engine::open::{About, Opened};
use crate::engine::session::candle::CANDLE_VERSION;
use crate::measure::overhead;
use crate::power::limit::PowerLimit;
use crate::power::{self, PowerSource};
use crate::record::Basis;
use crate::record::environment::GpuRecord;
use crate::record::run::{EngineRecord, ModelRecord, PowerRecord, SCHEMA_VERSION};
use crate::record::{Environment, RunFolder, RunRecord, RunStatus};
use crate::units::Watts;
use crate::workload::Sweep;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that one run is made with.
pub struct Setup {
    /// Where it goes.
    pub folder: RunFolder,
    /// What run.json says so far.
    pub record: RunRecord,
    /// What is measured.
    pub device: DeviceId,
    /// The system under test.
    pub engine: Box<dyn Engine>,
    /// The meter, where there is one.
    pub power: Option<Box<dyn PowerSource>>,
    /// Power of the device with nothing to do, or why it is not known.
    pub idle: Result<Watts, String>,
    /// Holds the power limit of a run that is continued; that of a series is held by the series.
    pub limit: Option<HeldLimit>,
}

/// One run of a series.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The device.
    pub device: DeviceId,
    /// The power limit that is in force by now, as asked and in watts.
    pub limit: Option<(PowerLimit, Watts)>,
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

/// Where the runs of a series go.
pub struct Place {
    /// The folder of the one run, or of all of them; found when the first begins, unless the user named it.
    pub base: Option<PathBuf>,
    /// There are several runs, each in a folder within.
    pub several: bool,
}

impl Place {
    fn of(&mut self, part: &Part, hostname: &str, model: &str) -> PathBuf {
        let base = self.base.get_or_insert_with(|| default_folder(hostname, model));
        match self.several {
            true => base.join(part.folder_name()),
            false => base.clone(),
        }
    }
}

/// Begins a run.
pub fn start(
    args: &MeasureArgs,
    model: &str,
    part: Part,
    place: &mut Place,
    engine_threads: usize,
    talk: &Talk,
) -> anyhow::Result<Setup> {
    let sweep = args.sweep()?;
    let model = Opened::open(model, args.seed(), talk.shows_progress())?;
    let sweep = with_native_levels(sweep, args, &model).for_model(model.about().shape).or_else(usage)?;
    let mut record = new_record(args, engine_threads);
    warn_of_threads(&record.environment, talk);
    let (mut power, power_record) = power::open(Path::new("/"), part.device);
    record.power = PowerRecord { limit_w: part.limit.map(|(_, watts)| watts), ..power_record };
    // Before the card is opened, which keeps its clocks up, and before the ceilings heat it.
    let idle = idle_power(power.as_deref_mut(), &mut record.power, sweep.limits.max_time_s, talk);
    let card = open_card(part.device)?;
    if let Some(card) = &card {
        record.engine = cuda_engine(card);
    }
    warn_of_card(&record.environment, card.as_deref(), talk);
    let kernels = args.kernels.into();
    if kernels == Kernels::Candle {
        record.engine = by_candle(record.engine);
    }
    record.model = Some(model_record(model.about())?);
    record.workload = Some(sweep);
    record.overhead = overhead::measure();
    let name = model.about().name.to_string();
    let engine = model.engine(card, kernels)?;
    let path = place.of(&part, &record.environment.hostname, &name);
    let folder = RunFolder::create(&path, &record)?;
    let hardware = record.engine.hardware.as_ref().unwrap_or(&record.environment.cpu.model);
    let limit = part.limit.map_or(String::new(), |(_, watts)| format!(" at {watts}"));
    talk.say(format!("{name} on {hardware}{limit}, into {}", path.display()));
    if args.device() == "cpu" && cuda::count().is_ok_and(|cards| cards > 0) {
        talk.say("this machine has an NVIDIA card, which --device cuda:0 would use");
    }
    if let Some(overhead) = record.overhead {
        talk.say(format!("the measuring loop costs {} a token", overhead.per_token_s));
    }
    Ok(Setup { folder, record, device: part.device, engine, power, idle, limit: None })
}

/// What a record says of a model.
pub(super) fn model_record(about: About<'_>) -> anyhow::Result<ModelRecord> {
    Ok(ModelRecord {
        name: about.name.to_string(),
        kind: about.kind.to_string(),
        location: about.location.map(str::to_string),
        synthetic: about.synthetic,
        hash: about.origin.hash()?,
        parameters: about.shape.parameters(),
        shape: about.shape.clone(),
    })
}

/// The card of a device: one for all of this process that computes on it.
pub(super) fn open_card(device: DeviceId) -> Result<Option<Arc<Card>>, CudaError> {
    device.card().map(|index| nvidia::while_opening(index as u32, || Card::shared(index))).transpose()
}

/// The name of the engine that computes by candle's own kernels: what it measures is not mixed with the other's.
pub(super) const CANDLE_OPS: &str = "candle-ops";

/// The engine record of candle's own kernels, from that of the project's.
pub(super) fn by_candle(own: EngineRecord) -> EngineRecord {
    EngineRecord {
        name: CANDLE_OPS.to_string(),
        kernels: "candle's own, one operation after the other".to_string(),
        compute_type: "activations and KV cache in the type of the weights, f32 for weights in blocks".to_string(),
        ..own
    }
}

/// What computes on a card.
pub(super) fn cuda_engine(card: &Card) -> EngineRecord {
    let (major, minor) = card.facts.capability;
    let gemm = match card.blas() {
        Ok(_) => "cuBLASLt",
        Err(_) => "the project's own kernel",
    };
    let form = card.kernel_form().unwrap_or_else(|error| error.to_string());
    let memory =
        card.no_pool().map_or(String::new(), |why| format!(", memory piece by piece as its pool is not used ({why})"));
    EngineRecord {
        name: "candle".to_string(),
        version: CANDLE_VERSION.to_string(),
        device: format!("cuda:{}", card.facts.index),
        hardware: Some(card.facts.name.clone()),
        kernels: format!(
            "fused kernels ({form}) on compute capability {major}.{minor}, matrix products by {gemm}{memory}"
        ),
        compute_type: "16-bit activations and KV cache, f32 residual".to_string(),
        ..EngineRecord::default()
    }
}

/// A quantized file cannot be run at higher precision: where the user named no levels, those of the workload that the
/// file can be are kept, and its own is added.
fn with_native_levels(mut sweep: Sweep, args: &MeasureArgs, model: &Opened) -> Sweep {
    if args.quant.is_empty()
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

/// What computes on the CPU.
pub(super) fn cpu_engine() -> EngineRecord {
    EngineRecord {
        name: "candle".to_string(),
        version: CANDLE_VERSION.to_string(),
        device: "cpu".to_string(),
        hardware: None,
        kernels: Level::best().name().to_string(),
        compute_type:
            "f32 activations, rounded to 8 bits by blocks of 32 for quantized weights; f16 KV cache (f32 for f32)"
                .to_string(),
        ..EngineRecord::default()
    }
}

/// Says what is wrong with the memory of the card that is measured.
pub fn warn_of_card(environment: &Environment, card: Option<&Card>, talk: &Talk) {
    let Some(card) = card else { return };
    let (place, index) = (card.facts.pci_bus_id.as_str(), card.facts.index);
    let of_card = |gpu: &&GpuRecord| gpu.pci_bus_id.as_deref().map_or(gpu.index == index, |known| known == place);
    if let Some(fault) = environment.gpus.iter().find(of_card).and_then(GpuRecord::memory_fault) {
        talk.warn(format!("cuda:{}: {fault}", card.facts.index));
    }
}

/// Says where more threads were asked for than can run at once.
pub fn warn_of_threads(environment: &Environment, talk: &Talk) {
    if let Some(why) = environment.crowded() {
        talk.warn(why);
    }
}

/// A record of this machine and program, with nothing measured yet.
pub fn new_record(args: &MeasureArgs, engine_threads: usize) -> RunRecord {
    let mut environment = inventory::environment(super::argv(), engine_threads, args.pin.clone());
    if let Ok(machine) = args.machine() {
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
        started_at: crate::record::clock::now(),
        finished_at: None,
        environment,
        engine: cpu_engine(),
        model: None,
        workload: None,
        seed: args.seed(),
        arrival: "closed_batch".to_string(),
        metric_definitions: "vLLM and MLPerf: TPOT = (E2E - TTFT) / (n - 1), ITL = pooled gaps (METHODOLOGY.md)"
            .to_string(),
        ceilings: Vec::new(),
        ceilings_absent: Vec::new(),
        power: PowerRecord::default(),
        loads: Vec::new(),
        overhead: None,
        quality: None,
        traffic: None,
    }
}

/// `results/DATE-HOST-MODEL`, with a number behind it where that is taken.
pub fn default_folder(hostname: &str, model: &str) -> PathBuf {
    let date = super::today();
    let plain: String = format!("{date}-{hostname}-{model}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let base = Path::new("results").join(plain);
    let numbered = (2..).map(|n| PathBuf::from(format!("{}-{n}", base.display())));
    std::iter::once(base.clone()).chain(numbered).find(|path| !path.exists()).unwrap_or(base)
}
