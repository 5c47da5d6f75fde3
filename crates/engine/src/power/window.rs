//! From the readings of a window to its energy: a pure function, so that every trace can be tried on it.
//!
//! The counter comes first. It moves in steps, so the energy is taken between its first and its last change in the
//! window and stretched to the window's length: the load is the same throughout. Where power is read as well, its
//! integral must agree; where there is no counter, or it was reset, the integral is the energy.

use super::{PowerError, Reading, Sensor, Throttle};
use crate::units::{Joules, Seconds, Watts};

/// Counter and trace may differ by this share.
const AGREEMENT: f64 = 0.05;

/// Energy of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyWindow {
    /// Energy of all zones together.
    pub energy: Joules,
    /// How far off it can be, as a share.
    pub error: f64,
    /// Length of the window.
    pub length: Seconds,
    /// Where it is from: the sensor's method, or `integrated_power`.
    pub method: &'static str,
    /// Integral of the power / counter, where there are both.
    pub cross_check: Option<f64>,
    /// Reasons for low clocks that were seen.
    pub throttle: Vec<Throttle>,
}

impl EnergyWindow {
    /// Mean power.
    pub fn power(&self) -> Watts {
        Watts(self.energy.0 / self.length.0)
    }
}

/// Readings with the time since the window was opened.
pub type Readings = [(Seconds, Vec<Reading>)];

/// The energy of a window; the error says why there is none.
pub fn evaluate(sensor: &Sensor, readings: &Readings) -> Result<EnergyWindow, PowerError> {
    let (Some((begin, first)), Some((end, _))) = (readings.first(), readings.last()) else {
        return Err(PowerError("the meter was never read".to_string()));
    };
    let length = *end - *begin;
    let least = sensor.least_window();
    if length < least {
        return Err(PowerError(format!("window_too_short: {length} of the {least} needed, raise --max-time")));
    }
    let foreign = readings.iter().flat_map(|(_, zones)| zones).filter_map(|zone| zone.state.foreign_processes).max();
    if let Some(others @ 1..) = foreign {
        return Err(PowerError(format!("foreign_process: {others} other processes used the device")));
    }
    let zones =
        (0..first.len()).map(|zone| zone_energy(sensor, readings, zone, length)).collect::<Result<Vec<_>, _>>()?;
    let total = |part: fn(&ZoneEnergy) -> f64| zones.iter().map(part).sum::<f64>();
    let energy = total(|zone| zone.energy);
    let compared = total(|zone| if zone.integral.is_some() { zone.energy } else { 0.0 });
    let integral = total(|zone| zone.integral.unwrap_or(0.0));
    let cross_check = (compared > 0.0).then(|| integral / compared);
    if let Some(ratio) = cross_check.filter(|ratio| (ratio - 1.0).abs() > AGREEMENT) {
        return Err(PowerError(format!(
            "sources_disagree: the power readings add up to {:.1} % of the energy counter",
            100.0 * ratio
        )));
    }
    let mut throttle: Vec<Throttle> =
        readings.iter().flat_map(|(_, zones)| zones).flat_map(|zone| zone.state.throttle.iter().copied()).collect();
    throttle.sort();
    throttle.dedup();
    let edges = zones.iter().map(|zone| zone.edge_error).fold(0.0, f64::max);
    let error = (sensor.error.unwrap_or(0.0).powi(2) + edges.powi(2)).sqrt();
    let method = if zones.iter().all(|zone| zone.counted) { sensor.method } else { "integrated_power" };
    Ok(EnergyWindow { energy: Joules(energy), error, length, method, cross_check, throttle })
}

/// Energy of one zone.
struct ZoneEnergy {
    energy: f64,
    /// Its counter gave it.
    counted: bool,
    /// The integral of its power, where there is a counter to compare it with.
    integral: Option<f64>,
    /// Share of the window that the ends of the steps are uncertain by.
    edge_error: f64,
}

fn zone_energy(sensor: &Sensor, readings: &Readings, zone: usize, length: Seconds) -> Result<ZoneEnergy, PowerError> {
    let integral = mean_power(sensor, readings, zone).map(|power| power * length.0);
    match counted_power(readings, zone) {
        Ok((power, edge_error)) => Ok(ZoneEnergy { energy: power * length.0, counted: true, integral, edge_error }),
        Err(why) => match integral {
            Some(energy) => Ok(ZoneEnergy { energy, counted: false, integral: None, edge_error: 0.0 }),
            None => Err(PowerError(why)),
        },
    }
}

/// Power by the counter, from its first to its last change, and the uncertainty of those moments as a share.
fn counted_power(readings: &Readings, zone: usize) -> Result<(f64, f64), String> {
    let points: Vec<(f64, f64)> =
        readings.iter().filter_map(|(time, zones)| Some((time.0, zones.get(zone)?.energy?.0))).collect();
    if points.len() < readings.len() {
        return Err("the device does not count its energy".to_string());
    }
    if points.windows(2).any(|pair| pair[1].1 < pair[0].1) {
        return Err("counter_reset: the energy counter went back".to_string());
    }
    // A change happened between the reading before and the one that shows it.
    let changes: Vec<(f64, f64, f64)> = points
        .windows(2)
        .filter(|pair| pair[1].1 > pair[0].1)
        .map(|pair| (pair[1].0, pair[1].1, pair[1].0 - pair[0].0))
        .collect();
    let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
        return Err("the energy counter stood still".to_string());
    };
    let span = last.0 - first.0;
    if span <= 0.0 {
        return Err("the energy counter moved once only".to_string());
    }
    Ok(((last.1 - first.1) / span, (first.2 + last.2) / span))
}

/// Mean of the power readings over time (trapezoids), without the start that still holds the time before.
fn mean_power(sensor: &Sensor, readings: &Readings, zone: usize) -> Option<f64> {
    let begin = readings.first()?.0 + sensor.settling();
    let points: Vec<(f64, f64)> = readings
        .iter()
        .filter(|(time, _)| *time >= begin)
        .filter_map(|(time, zones)| Some((time.0, zones.get(zone)?.power?.0)))
        .collect();
    let span = points.last()?.0 - points.first()?.0;
    let area: f64 = points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum();
    (span > 0.0).then(|| area / span)
}

/// Several windows of the same load as one: the mean power over all of their time, with the spread between them as
/// part of the error (twice the standard error of their mean).
pub fn combine(windows: &[EnergyWindow]) -> Option<EnergyWindow> {
    let first = windows.first()?;
    let count = windows.len() as f64;
    let powers: Vec<f64> = windows.iter().map(|window| window.power().0).collect();
    let mean = powers.iter().sum::<f64>() / count;
    let spread = match windows.len() {
        1 => 0.0,
        _ => 2.0 * (powers.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / (count - 1.0) / count).sqrt() / mean,
    };
    let mut throttle: Vec<Throttle> = windows.iter().flat_map(|window| window.throttle.iter().copied()).collect();
    throttle.sort();
    throttle.dedup();
    let error = windows.iter().map(|window| window.error).fold(0.0, f64::max);
    let cross_check = windows
        .iter()
        .filter_map(|window| window.cross_check)
        .reduce(|a, b| if (a - 1.0).abs() > (b - 1.0).abs() { a } else { b });
    Some(EnergyWindow {
        energy: Joules(windows.iter().map(|window| window.energy.0).sum()),
        error: (error.powi(2) + spread.powi(2)).sqrt(),
        length: Seconds(windows.iter().map(|window| window.length.0).sum()),
        method: first.method,
        cross_check,
        throttle,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENSOR: Sensor = Sensor {
        method: "counter",
        update_period: Seconds(0.1),
        averaging: Seconds(0.1),
        part_time: false,
        error: Some(0.06),
    };

    /// A counter that moves every 100 ms under constant power, read every `step` seconds from `offset` on.
    fn steady(power: f64, step: f64, offset: f64, seconds: f64) -> Vec<(Seconds, Vec<Reading>)> {
        (0..=(seconds / step) as usize)
            .map(|i| {
                let time = offset + i as f64 * step;
                let energy = Some(Joules(power * 0.1 * (time / 0.1).floor()));
                (Seconds(time), vec![Reading { energy, power: Some(Watts(power)), ..Reading::default() }])
            })
            .collect()
    }

    #[test]
    fn short_windows_and_strangers_have_no_energy() {
        let short = evaluate(&SENSOR, &steady(100.0, 0.05, 0.0, 4.9)).unwrap_err().0;
        assert!(short.starts_with("window_too_short: 4.90 s of the 5.00 s"), "{short}");
        let slow = Sensor { update_period: Seconds(1.0), ..SENSOR };
        assert!(evaluate(&slow, &steady(100.0, 0.5, 0.0, 20.0)).unwrap_err().0.contains("50.0 s"));
        let mut shared = steady(100.0, 0.05, 0.0, 6.0);
        shared[20].1[0].state.foreign_processes = Some(2);
        assert!(evaluate(&SENSOR, &shared).unwrap_err().0.starts_with("foreign_process: 2"));
        assert!(evaluate(&SENSOR, &[]).is_err());
    }

    #[test]
    fn a_reset_counter_gives_way_to_the_trace_and_a_lying_trace_voids_both() {
        let mut reset = steady(100.0, 0.05, 0.0, 6.0);
        for (_, zones) in &mut reset[60..] {
            zones[0].energy = zones[0].energy.map(|e| Joules(e.0 - 290.0));
        }
        let window = evaluate(&SENSOR, &reset).unwrap();
        assert_eq!((window.method, window.cross_check), ("integrated_power", None));
        assert!((window.energy.0 - 600.0).abs() < 1.0);
        for (_, zones) in &mut reset {
            zones[0].power = None;
        }
        assert!(evaluate(&SENSOR, &reset).unwrap_err().0.starts_with("counter_reset"));
        let mut lying = steady(100.0, 0.05, 0.0, 6.0);
        for (_, zones) in &mut lying {
            zones[0].power = Some(Watts(90.0));
        }
        assert!(
            evaluate(&SENSOR, &lying).unwrap_err().0.starts_with("sources_disagree: the power readings add up to 90")
        );
    }

    #[test]
    fn spread_between_windows_is_part_of_the_error() {
        let window = |power: f64| evaluate(&SENSOR, &steady(power, 0.05, 0.0, 6.0)).unwrap();
        let same = combine(&[window(100.0), window(100.0)]).unwrap();
        let apart = combine(&[window(90.0), window(110.0)]).unwrap();
        assert!((apart.power().0 - 100.0).abs() < 1.0 && (same.power().0 - 100.0).abs() < 1.0);
        assert!(apart.error > same.error + 0.1, "{} {}", apart.error, same.error);
        assert_eq!(combine(&[]), None);
    }

    proptest! {
        #[test]
        fn constant_power_is_found_whatever_the_phase(
            power in 1.0f64..1000.0, step in 0.003f64..0.09, offset in 0.0f64..1.0, seconds in 5.2f64..20.0
        ) {
            let window = evaluate(&SENSOR, &steady(power, step, offset, seconds)).unwrap();
            let error = (window.power().0 / power - 1.0).abs();
            prop_assert!(error <= window.error, "{error} beyond {}", window.error);
            prop_assert!(error < 0.04, "{error}");
        }
    }
}
