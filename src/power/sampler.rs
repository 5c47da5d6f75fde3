//! Reads a power source in the background while a case runs.

use super::{PowerError, PowerSource};
use crate::record::PowerRow;
use crate::units::{Joules, Seconds};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between readings: often enough for a trace and for counters that wrap within minutes.
const PERIOD: Duration = Duration::from_millis(100);

/// Energy of a window and the readings that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Energy of all zones together.
    pub energy: Joules,
    /// Length of the window.
    pub window: Seconds,
    /// The readings; `case_id` is left to the caller.
    pub rows: Vec<PowerRow>,
}

/// What the background thread hands back.
type Finished = (Box<dyn PowerSource>, Result<Trace, PowerError>);

/// A window that is open.
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Finished>,
}

impl Sampler {
    /// Opens a window with a first reading. The source comes back with [`Sampler::stop`].
    pub fn start(mut source: Box<dyn PowerSource>) -> Self {
        let (stop, stopped) = channel();
        let begin = Instant::now();
        let first = source.read();
        let thread = std::thread::spawn(move || {
            let mut readings = vec![(Seconds(0.0), first)];
            loop {
                let last = match stopped.recv_timeout(PERIOD) {
                    Err(RecvTimeoutError::Timeout) => false,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                };
                let at = Seconds(begin.elapsed().as_secs_f64());
                readings.push((at, source.read()));
                if last {
                    let zones = source.zones();
                    return (source, trace(&zones, readings));
                }
            }
        });
        Self { stop, thread }
    }

    /// Closes the window with a last reading. The source is gone if its thread panicked.
    pub fn stop(self) -> (Option<Box<dyn PowerSource>>, Result<Trace, PowerError>) {
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok((source, trace)) => (Some(source), trace),
            Err(_) => (None, Err(PowerError("the power source crashed".to_string()))),
        }
    }
}

/// Puts readings together. One failed reading voids the window: energy that was not seen cannot be made up.
fn trace(zones: &[String], readings: Vec<(Seconds, Result<Vec<Joules>, PowerError>)>) -> Result<Trace, PowerError> {
    let mut rows = Vec::new();
    let mut before: Option<(Seconds, Vec<Joules>)> = None;
    let mut first: Option<Vec<Joules>> = None;
    for (time, reading) in readings {
        let energies = reading?;
        let start = first.get_or_insert_with(|| energies.clone());
        for (index, zone) in zones.iter().enumerate() {
            let energy = energies[index] - start[index];
            let power = before.as_ref().map(|(then, was)| (energies[index] - was[index]) / (time - *then));
            rows.push(PowerRow { case_id: String::new(), time, zone: zone.clone(), energy, power });
        }
        before = Some((time, energies));
    }
    match (first, before) {
        (Some(start), Some((window, end))) => {
            let energy = end.iter().zip(&start).fold(Joules(0.0), |sum, (end, start)| sum + (*end - *start));
            Ok(Trace { energy, window, rows })
        }
        _ => Err(PowerError("no reading".to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakePower;
    use super::*;

    #[test]
    fn a_window_is_the_difference_of_its_ends() {
        let source = FakePower::new(vec![Ok(Joules(5.0)), Ok(Joules(8.0))]);
        let (source, trace) = Sampler::start(Box::new(source)).stop();
        let trace = trace.unwrap();
        assert_eq!(trace.energy, Joules(3.0));
        assert_eq!(trace.rows.len(), 2);
        assert_eq!(trace.rows[0].power, None);
        assert_eq!(source.unwrap().zones(), ["fake-0"]);
    }

    #[test]
    fn a_failed_reading_voids_the_window() {
        let source = FakePower::new(vec![Ok(Joules(5.0)), Err(PowerError("lost".into()))]);
        let (source, trace) = Sampler::start(Box::new(source)).stop();
        assert_eq!(trace, Err(PowerError("lost".into())));
        assert!(source.is_some());
    }
}
