//! The energy metrics of a case, from the windows that were taken while it ran.

use super::summary::Summary;
use crate::power::PowerError;
use crate::power::window::{EnergyWindow, combine};
use crate::record::Estimate;
use crate::units::{Joules, JoulesPerToken, Quantity, TokensPerJoule, Watts};

/// Columns that are absent together.
const TAGS: [&str; 6] =
    ["energy_j", "net_energy_j", "energy_per_token_j", "net_energy_per_token_j", "power_w", "tokens_per_j"];

/// A window and the tokens that were generated in it.
pub struct CaseWindow {
    /// Its energy, or why it has none.
    pub energy: Result<EnergyWindow, PowerError>,
    /// Tokens of all sequences.
    pub tokens: f64,
}

/// Adds the energy of the windows to `summary`. One window without an energy voids the others, which are there to be
/// averaged with it. `idle` is the power of the device with nothing to do.
pub fn add(summary: &mut Summary, windows: Vec<CaseWindow>, idle: Result<Watts, String>) {
    let tokens: f64 = windows.iter().map(|window| window.tokens).sum();
    let energies: Result<Vec<EnergyWindow>, PowerError> = windows.into_iter().map(|window| window.energy).collect();
    let window = match energies.map(|energies| combine(&energies)) {
        Ok(Some(window)) => window,
        Ok(None) => return absent(summary, &TAGS, "no window was taken"),
        Err(PowerError(why)) => return absent(summary, &TAGS, &why),
    };
    let error = window.error;
    let metrics = &mut summary.metrics;
    metrics.energy = Some(within(window.energy, error));
    metrics.power = Some(within(window.power(), error));
    metrics.energy_per_token = Some(within(JoulesPerToken(window.energy.0 / tokens), error));
    metrics.tokens_per_j =
        Some(within(TokensPerJoule(tokens / window.energy.0), error)).filter(|t| t.value.0.is_finite());
    match idle {
        Ok(idle) => {
            let net = Joules(window.energy.0 - idle.0 * window.length.0);
            // The sensor's error is a share of what it read, not of what is left.
            let error = error * window.energy.0 / net.0;
            metrics.net_energy = Some(within(net, error));
            metrics.net_energy_per_token = Some(within(JoulesPerToken(net.0 / tokens), error));
        }
        Err(why) => absent(summary, &["net_energy_j", "net_energy_per_token_j"], &why),
    }
}

fn absent(summary: &mut Summary, tags: &[&str], why: &str) {
    summary.absent.extend(tags.iter().map(|tag| (tag.to_string(), why.to_string())));
}

fn within<Q: Quantity>(value: Q, error: f64) -> Estimate<Q> {
    // An unknown error (a meter whose makers state none) has no interval.
    let end = |factor: f64| (error > 0.0).then(|| Q::from_si(value.si() * factor));
    Estimate { value, lo: end(1.0 - error), hi: end(1.0 + error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::Throttle;
    use crate::units::Seconds;

    fn window(joules: f64) -> EnergyWindow {
        EnergyWindow {
            energy: Joules(joules),
            error: 0.06,
            length: Seconds(5.0),
            method: "nvml_total_energy",
            cross_check: Some(1.01),
            throttle: vec![Throttle::PowerCap],
        }
    }

    #[test]
    fn gross_and_net_with_the_error_of_the_sensor() {
        let mut summary = Summary::default();
        let windows = [1000.0, 1000.0].map(|j| CaseWindow { energy: Ok(window(j)), tokens: 500.0 });
        add(&mut summary, windows.into(), Ok(Watts(100.0)));
        let metrics = summary.metrics;
        assert_eq!(metrics.energy.unwrap().value, Joules(2000.0));
        assert_eq!(metrics.power.unwrap().value, Watts(200.0));
        assert_eq!(metrics.energy_per_token.unwrap().value, JoulesPerToken(2.0));
        assert_eq!(metrics.energy.unwrap().hi, Some(Joules(2120.0)));
        let net = metrics.net_energy.unwrap();
        assert_eq!((net.value, net.lo), (Joules(1000.0), Some(Joules(880.0))));
        assert!(summary.invalid.is_empty(), "a power cap is what one buys");
    }

    #[test]
    fn one_bad_window_voids_all() {
        let mut summary = Summary::default();
        let bad = CaseWindow { energy: Err(PowerError("gpu_lost: x".into())), tokens: 1.0 };
        add(&mut summary, vec![CaseWindow { energy: Ok(window(1.0)), tokens: 1.0 }, bad], Err("no idle".into()));
        assert_eq!(summary.metrics.energy, None);
        assert_eq!(summary.absent.len(), TAGS.len());
        let mut summary = Summary::default();
        add(&mut summary, vec![CaseWindow { energy: Ok(window(1.0)), tokens: 1.0 }], Err("no idle".into()));
        assert_eq!(summary.absent[0], ("net_energy_j".to_string(), "no idle".to_string()));
    }
}
