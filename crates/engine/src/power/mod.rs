//! (4) Energy: sources that count joules or read watts, and the window that a case's energy is taken over.

pub mod fake;
pub mod idle;
pub mod limit;
pub mod nvml;
pub mod rapl;
pub mod sampler;
pub mod sensor;
pub mod window;

pub use sensor::Sensor;

use crate::device::DeviceId;
use crate::record::run::PowerRecord;
use crate::units::{Bytes, Joules, Watts};
use std::path::Path;
use strum::{Display, IntoStaticStr, VariantArray};
use thiserror::Error;

/// Why a source cannot be read, or a window has no energy. The text becomes the reason that energy is absent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PowerError(pub String);

/// What a zone said at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Energy since the source was opened, where the zone counts it. A counter that wraps has been unwrapped, which
    /// needs a reading at least as often as it wraps; one that was reset goes back.
    pub energy: Option<Joules>,
    /// Power, where the zone reads it.
    pub power: Option<Watts>,
    /// What else the device said.
    pub state: DeviceState,
}

/// How a device was doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceState {
    /// Clock of the multiprocessors.
    pub sm_clock_mhz: Option<f64>,
    /// Performance state: 0 for the highest clocks, 8 or so at rest.
    pub performance_state: Option<u32>,
    /// Temperature in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Why its clock is not at its highest.
    pub throttle: Vec<Throttle>,
    /// Memory in use, by whomever.
    pub memory_used: Option<Bytes>,
    /// Other processes that compute on it.
    pub foreign_processes: Option<usize>,
}

/// A reason for a clock below the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Throttle {
    /// The power limit: the normal state of a busy card with a low one.
    PowerCap,
    /// Heat.
    Thermal,
    /// The power supply asked for less.
    PowerBrake,
    /// Somebody set the clocks.
    ClocksSet,
}

impl Throttle {
    /// The name in power.csv.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The reasons that [`Throttle::spoils`] holds for.
    pub fn spoiling() -> impl Iterator<Item = Self> {
        Self::VARIANTS.iter().copied().filter(|reason| reason.spoils())
    }

    /// Whether speed under it says nothing of the device: a power cap is part of what one buys, heat is not.
    pub fn spoils(self) -> bool {
        matches!(self, Self::Thermal | Self::PowerBrake)
    }
}

/// Something that counts energy or reads power.
pub trait PowerSource: Send {
    /// Its name in records, such as `rapl`.
    fn name(&self) -> &'static str;

    /// What it counts, such as `package-0`; [`PowerSource::read`] gives one reading for each.
    fn zones(&self) -> Vec<String>;

    /// What is known of its sensors.
    fn sensor(&self) -> Sensor;

    /// Reads every zone.
    fn read(&mut self) -> Result<Vec<Reading>, PowerError>;
}

/// The best source for `device` of this machine, under `root` (`/` but for tests), and what the
/// record says of it.
pub fn open(root: &Path, device: DeviceId) -> (Option<Box<dyn PowerSource>>, PowerRecord) {
    let opened: Result<Box<dyn PowerSource>, PowerError> = match device {
        DeviceId::Cuda(index) => nvml::NvmlPower::open(index as u32).map(|source| Box::new(source) as _),
        DeviceId::Cpu => rapl::Rapl::open(root).map(|source| Box::new(source) as _),
    };
    match opened {
        Ok(source) => {
            let record = PowerRecord {
                source: source.name().to_string(),
                zones: source.zones(),
                sensor: Some(source.sensor().record()),
                ..PowerRecord::default()
            };
            (Some(source), record)
        }
        Err(PowerError(reason)) => {
            (None, PowerRecord { source: "none".to_string(), reason: Some(reason), ..PowerRecord::default() })
        }
    }
}
