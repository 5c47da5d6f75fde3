//! A power source that plays a script, for tests.

use super::{PowerError, PowerSource, Reading, Sensor};
use crate::units::{Joules, Seconds, Watts};
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

/// A clock that goes on when it is told to, shared with the meter that it was taken from.
#[derive(Debug, Clone, Default)]
pub struct FakeTime(Arc<Mutex<f64>>);

impl FakeTime {
    /// Lets time pass; what time it is then.
    pub fn pass(&self, by: Seconds) -> Seconds {
        self.0.lock().map_or(by, |mut now| {
            *now += by.0;
            Seconds(*now)
        })
    }
}

/// A device of one zone that draws a power over time, and both counts and reads it.
#[derive(Debug, Clone)]
pub struct FakeMeter {
    time: FakeTime,
    power: fn(f64) -> f64,
    last: (f64, f64),
}

impl FakeMeter {
    /// A meter of this power, in watts at a time in seconds.
    pub fn new(power: fn(f64) -> f64) -> Self {
        Self { time: FakeTime::default(), power, last: (0.0, 0.0) }
    }

    /// Its clock.
    pub fn clock(&self) -> FakeTime {
        self.time.clone()
    }
}

impl PowerSource for FakeMeter {
    fn name(&self) -> &'static str {
        FakePower::default().name()
    }

    fn zones(&self) -> Vec<String> {
        FakePower::default().zones()
    }

    fn sensor(&self) -> Sensor {
        FakePower::default().sensor()
    }

    fn read(&mut self) -> Result<Vec<Reading>, PowerError> {
        let now = self.time.pass(Seconds(0.0)).0;
        let (then, counted) = self.last;
        self.last = (now, counted + (self.power)((now + then) / 2.0) * (now - then));
        let (energy, power) = (Some(Joules(self.last.1)), Some(Watts((self.power)(now))));
        Ok(vec![Reading { energy, power, ..Reading::default() }])
    }
}
