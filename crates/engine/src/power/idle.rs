//! The power of a device with nothing to do. A card that has just worked is hot and holds its clocks for seconds: what it
//! draws then is tens of watts above what it draws at rest, and energy without it would come out too low. So the reading
//! is as late as it must be for the device to be at rest throughout, and where that does not come about there is none.

use super::window::{Readings, evaluate};
use super::{PowerError, PowerSource, Reading};
use crate::units::{Seconds, Watts};

/// The reading is over this long.
const WINDOW: Seconds = Seconds(10.0);
/// How much longer it is waited for.
const PATIENCE: Seconds = Seconds(20.0);
/// The ends of a window are so many of its seconds, and are at rest with the others where they differ by this share of
/// the power at most.
const END: usize = 3;
const AGREEMENT: f64 = 0.02;

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Idle {
    /// The power.
    pub power: Watts,
    /// How long it took until the device was at rest and read.
    pub waited: Seconds,
    /// The performance state it was in: 0 for the highest clocks, absent where the device has none.
    pub performance_state: Option<u32>,
}

/// Reads `source` until it has been at rest for ten seconds. `wait` lets so much time pass and says what time it is then;
/// `None` stops. The error says why there is no such power.
pub fn read(
    source: &mut dyn PowerSource,
    wait: &mut dyn FnMut(Seconds) -> Option<Seconds>,
) -> Result<Idle, PowerError> {
    let sensor = source.sensor();
    let window = Seconds(WINDOW.0.max(sensor.least_window().0));
    let stopped = || PowerError("it was stopped".to_string());
    let begin = wait(Seconds(0.0)).ok_or_else(stopped)?;
    let mut readings: Vec<(Seconds, Vec<Reading>)> = Vec::new();
    let (mut now, mut next) = (begin, window);
    loop {
        let at = now - begin;
        readings.push((at, source.read()?));
        if at >= next {
            let last = &readings[readings.partition_point(|(time, _)| *time < at - window - sensor.poll_interval())..];
            let seconds = seconds(last);
            if is_at_rest(&seconds) {
                let performance_state = last.iter().flat_map(|(_, zones)| zones).rev().find_map(state);
                let power = evaluate(&sensor, last)?.power();
                return Ok(Idle { power, waited: at, performance_state });
            }
            if at >= window + PATIENCE {
                let (first, last) = (seconds.first().unwrap_or(&f64::NAN), seconds.last().unwrap_or(&f64::NAN));
                return Err(PowerError(format!(
                    "it did not settle within {at}: from {} to {} in the last {window}",
                    Watts(*first),
                    Watts(*last)
                )));
            }
            next = next + Seconds(1.0);
        }
        now = wait(sensor.poll_interval()).ok_or_else(stopped)?;
    }
}

fn state(reading: &Reading) -> Option<u32> {
    reading.state.performance_state
}

/// The mean power of each whole second.
fn seconds(readings: &Readings) -> Vec<f64> {
    let Some((begin, _)) = readings.first() else { return Vec::new() };
    let mut means = Vec::new();
    let mut from = 0;
    for to in 1..readings.len() {
        if (readings[to].0 - *begin).0 >= (means.len() + 1) as f64 {
            means.extend(mean(&readings[from..=to]));
            from = to;
        }
    }
    means
}

/// The power of all zones together: of what reads power the mean, of what counts energy its difference.
fn mean(readings: &Readings) -> Option<f64> {
    let (first, last) = (readings.first()?, readings.last()?);
    let of_zone = |zone: usize| {
        let powers: Option<Vec<f64>> = readings.iter().map(|(_, zones)| Some(zones.get(zone)?.power?.0)).collect();
        match powers {
            Some(powers) => Some(powers.iter().sum::<f64>() / powers.len() as f64),
            None => Some((last.1.get(zone)?.energy? - first.1.get(zone)?.energy?).0 / (last.0 - first.0).0),
        }
    };
    (0..first.1.len()).map(of_zone).sum()
}

/// Whether neither end of a window differs from the rest of it: by more than a share of the power, and by more than
/// the rest's own unrest explains (twice the standard error), as on a machine that always does a little.
fn is_at_rest(seconds: &[f64]) -> bool {
    if seconds.len() < 2 * END {
        // What cannot be told is left to the window to refuse.
        return true;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let differs = |end: &[f64], rest: &[f64]| {
        let middle = mean(rest);
        let variance = rest.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (rest.len() - 1) as f64;
        let error = (variance * (1.0 / end.len() as f64 + 1.0 / rest.len() as f64)).sqrt();
        (mean(end) - middle).abs() > (AGREEMENT * mean(seconds)).max(2.0 * error)
    };
    let (start, after) = seconds.split_at(END);
    let (before, end) = seconds.split_at(seconds.len() - END);
    !differs(start, after) && !differs(end, before)
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeMeter;
    use super::*;

    /// The idle power of a meter that shows this power over time.
    fn idle(power: fn(f64) -> f64) -> Result<Idle, String> {
        let mut meter = FakeMeter::new(power);
        let clock = meter.clock();
        read(&mut meter, &mut |time| Some(clock.pass(time))).map_err(|PowerError(why)| why)
    }

    /// Between -1 and 1, another for each twentieth of a second.
    fn unrest(time: f64) -> f64 {
        ((time * 20.0).floor() * 12.9898).sin() * 43_758.547 % 1.0
    }

    #[test]
    fn what_is_at_rest_takes_ten_seconds() {
        let idle = idle(|_| 72.0).unwrap();
        assert!((idle.power.0 - 72.0).abs() < 1e-6, "{idle:?}");
        assert!((10.0..10.3).contains(&idle.waited.0), "{idle:?}");
    }

    #[test]
    fn a_hot_card_is_waited_for() {
        // It cools from 130 to 70 W; and one that keeps its clocks for six seconds, then drops from 110 to 30 W.
        let cooling = idle(|time| 70.0 + 60.0 * (-time / 3.0).exp()).unwrap();
        assert!((cooling.power.0 / 70.0 - 1.0).abs() < 0.02 && cooling.waited.0 > 15.0, "{cooling:?}");
        let dropping = idle(|time| if time < 6.0 { 110.0 } else { 30.0 }).unwrap();
        assert!((dropping.power.0 / 30.0 - 1.0).abs() < 0.02 && dropping.waited.0 >= 16.0, "{dropping:?}");
    }

    #[test]
    fn what_does_not_settle_has_no_idle_power() {
        let why = idle(|time| 70.0 + 200.0 * (-time / 30.0).exp()).unwrap_err();
        assert!(why.starts_with("it did not settle within 30.") && why.contains("in the last 10.0 s"), "{why}");
    }

    #[test]
    fn unrest_that_goes_nowhere_is_not_a_drift() {
        let idle = idle(|time| 50.0 * (1.0 + 0.3 * unrest(time))).unwrap();
        assert!((idle.power.0 / 50.0 - 1.0).abs() < 0.03, "{idle:?}");
        // Wherever in a window a step is, it shows.
        for step in 1..10 {
            let seconds: Vec<f64> = (0..10).map(|second| if second < step { 50.0 } else { 25.0 }).collect();
            assert!(!is_at_rest(&seconds), "{step}");
        }
        let falling: Vec<f64> = (0..10).map(|second| 100.0 - 0.6 * second as f64).collect();
        assert!(!is_at_rest(&falling) && is_at_rest(&[100.0; 10]));
    }

    #[test]
    fn stopping_stops_it() {
        let mut meter = FakeMeter::new(|_| 10.0);
        assert_eq!(read(&mut meter, &mut |_| None), Err(PowerError("it was stopped".to_string())));
    }
}
