//! Carbon of a request: `E / 3.6e6 x PUE x g/kWh`, with the share of making the machine where that is known.

use super::HOURS_PER_YEAR;
use crate::units::interval::Interval;

/// Grams of CO2 equivalent of a request of `joules` at the machine.
pub fn operation_g(joules: Interval, pue: f64, g_per_kwh: f64) -> Interval {
    joules.map(|j| j / 3.6e6 * pue * g_per_kwh)
}

/// Grams of a request for making a machine of `embodied_kg` that serves `requests_per_s` at `utilisation` for `years`.
pub fn embodied_g(embodied_kg: f64, years: f64, requests_per_s: f64, utilisation: f64) -> f64 {
    embodied_kg * 1000.0 / (years * HOURS_PER_YEAR * 3600.0 * requests_per_s * utilisation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilowatt_hour_is_a_kilowatt_hour() {
        let g = operation_g(Interval::exact(3.6e6), 1.15, 379.1);
        assert!((g.value - 435.965).abs() < 1e-9);
        // A tonne over a year at one request a second and half the use.
        assert!((embodied_g(1000.0, 1.0, 1.0, 0.5) - 1e6 / (31_536_000.0 * 0.5)).abs() < 1e-12);
    }
}
