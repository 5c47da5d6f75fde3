//! Reads a power source in the background while a case runs.

use super::window::{EnergyWindow, evaluate};
use super::{PowerError, PowerSource, Reading};
use crate::record::PowerRow;
use crate::units::{Joules, Seconds};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a window came to, and the readings that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The energy, or why there is none.
    pub window: Result<EnergyWindow, PowerError>,
    /// The readings; `case_id` is left to the caller.
    pub rows: Vec<PowerRow>,
}

/// What the background thread hands back.
type Finished = (Box<dyn PowerSource>, Trace);

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
        let sensor = source.sensor();
        let period = Duration::from_secs_f64(sensor.poll_interval().0);
        let first = source.read();
        let thread = std::thread::spawn(move || {
            let mut readings = vec![(Seconds(0.0), first)];
            loop {
                let last = match stopped.recv_timeout(period) {
                    Err(RecvTimeoutError::Timeout) => false,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                };
                let at = Seconds(begin.elapsed().as_secs_f64());
                readings.push((at, source.read()));
                if last {
                    let zones = source.zones();
                    // One failed reading voids the window: energy that was not seen cannot be made up.
                    let (read, failed) = split(readings);
                    let window = failed.map_or_else(|| evaluate(&sensor, &read), Err);
                    return (source, Trace { window, rows: rows(&zones, &read) });
                }
            }
        });
        Self { stop, thread }
    }

    /// Closes the window with a last reading. The source is gone if its thread panicked.
    pub fn stop(self) -> (Option<Box<dyn PowerSource>>, Trace) {
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok((source, trace)) => (Some(source), trace),
            Err(_) => {
                let window = Err(PowerError("the power source crashed".to_string()));
                (None, Trace { window, rows: Vec::new() })
            }
        }
    }
}

type ReadAttempt = (Seconds, Result<Vec<Reading>, PowerError>);

/// The readings up to the first that failed, and its error.
fn split(attempts: Vec<ReadAttempt>) -> (Vec<(Seconds, Vec<Reading>)>, Option<PowerError>) {
    let mut read = Vec::new();
    for (time, attempt) in attempts {
        match attempt {
            Ok(reading) => read.push((time, reading)),
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

/// The rows of power.csv.
fn rows(zones: &[String], readings: &[(Seconds, Vec<Reading>)]) -> Vec<PowerRow> {
    let mut rows = Vec::new();
    for (index, (time, reading)) in readings.iter().enumerate() {
        for (number, zone) in zones.iter().enumerate() {
            let Some(now) = reading.get(number) else { continue };
            let at = |reading: &(Seconds, Vec<Reading>)| reading.1.get(number).and_then(|zone| zone.energy);
            let energy = now.energy.zip(readings.first().and_then(at)).map(|(now, first)| now - first);
            // A source that reads power says so itself; of one that only counts, the mean since the reading before.
            let counted = index.checked_sub(1).map(|before| &readings[before]).and_then(|before| {
                let step: Joules = now.energy? - at(before)?;
                (*time > before.0).then(|| step / (*time - before.0))
            });
            let names: Vec<&str> = now.state.throttle.iter().map(|reason| reason.name()).collect();
            rows.push(PowerRow {
                case_id: String::new(),
                window: 0,
                time: *time,
                zone: zone.clone(),
                energy,
                power: now.power.or(counted),
                sm_clock_mhz: now.state.sm_clock_mhz,
                temperature_c: now.state.temperature_c,
                memory_used: now.state.memory_used,
                foreign_processes: now.state.foreign_processes,
                throttle: names.join(" "),
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakePower;
    use super::*;

    #[test]
    fn the_rows_are_what_was_read() {
        let source = FakePower::new(vec![Ok(Joules(5.0)), Ok(Joules(8.0))]);
        let (source, trace) = Sampler::start(Box::new(source)).stop();
        assert_eq!(trace.rows.len(), 2);
        assert_eq!((trace.rows[0].energy, trace.rows[0].power), (Some(Joules(0.0)), None));
        assert_eq!(trace.rows[1].energy, Some(Joules(3.0)));
        assert!(trace.window.unwrap_err().0.starts_with("window_too_short"));
        assert_eq!(source.unwrap().zones(), ["fake-0"]);
    }

    #[test]
    fn a_failed_reading_voids_the_window() {
        let source = FakePower::new(vec![Ok(Joules(5.0)), Err(PowerError("lost".into()))]);
        let (source, trace) = Sampler::start(Box::new(source)).stop();
        assert_eq!(trace.window, Err(PowerError("lost".into())));
        assert_eq!(trace.rows.len(), 1);
        assert!(source.is_some());
    }
}
