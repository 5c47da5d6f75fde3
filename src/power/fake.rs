//! A power source that plays a script, for tests.

use super::{PowerError, PowerSource, Reading, Sensor};
use crate::units::{Joules, Seconds};
use std::sync::{Arc, Mutex};

/// Plays readings one after the other, then repeats the last; counts how often it was read.
#[derive(Debug, Clone, Default)]
pub struct FakePower {
    script: Vec<Result<Joules, PowerError>>,
    reads: Arc<Mutex<usize>>,
}

impl FakePower {
    /// A source with one zone that reads these energies.
    pub fn new(script: Vec<Result<Joules, PowerError>>) -> Self {
        Self { script, reads: Arc::default() }
    }

    /// How often it has been read.
    pub fn reads(&self) -> usize {
        self.reads.lock().map_or(0, |reads| *reads)
    }
}

impl PowerSource for FakePower {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn zones(&self) -> Vec<String> {
        vec!["fake-0".to_string()]
    }

    fn sensor(&self) -> Sensor {
        Sensor { method: "fake", update_period: Seconds(0.1), averaging: Seconds(0.0), part_time: false, error: None }
    }

    fn read(&mut self) -> Result<Vec<Reading>, PowerError> {
        let mut reads = self.reads.lock().map_err(|e| PowerError(e.to_string()))?;
        let reading = self.script.get(*reads).or(self.script.last());
        *reads += 1;
        reading
            .cloned()
            .unwrap_or(Ok(Joules(0.0)))
            .map(|energy| vec![Reading { energy: Some(energy), ..Reading::default() }])
    }
}
