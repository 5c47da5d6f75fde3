//! (4) Energy: sources that count joules, and the window that a case's energy is taken over.

pub mod fake;
pub mod rapl;
pub mod sampler;

use crate::record::run::PowerRecord;
use crate::units::Joules;
use std::path::Path;
use thiserror::Error;

/// Why a source cannot be read. The text becomes the reason that energy is absent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PowerError(pub String);

/// Something that counts energy.
pub trait PowerSource: Send {
    /// Its name in records, such as `rapl`.
    fn name(&self) -> &'static str;

    /// What it counts, such as `package-0`; [`PowerSource::read`] gives one value for each.
    fn zones(&self) -> Vec<String>;

    /// Energy of each zone since the source was opened. Counters that wrap have been unwrapped, which needs a read
    /// at least as often as they wrap.
    fn read(&mut self) -> Result<Vec<Joules>, PowerError>;
}

/// The best source of this machine, under `root` (`/` but for tests), and what the record says of it.
pub fn open(root: &Path) -> (Option<Box<dyn PowerSource>>, PowerRecord) {
    match rapl::Rapl::open(root) {
        Ok(source) => {
            let record = PowerRecord { source: source.name().to_string(), reason: None, zones: source.zones() };
            (Some(Box::new(source)), record)
        }
        Err(PowerError(reason)) => {
            (None, PowerRecord { source: "none".to_string(), reason: Some(reason), zones: Vec::new() })
        }
    }
}
