//! What a ranking is asked for.

use crate::catalog::Market;
use crate::units::{Seconds, Usd};
use crate::workload::Quant;
use jiff::civil::Date;
use std::str::FromStr;

/// Limits on the medians of a case.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slo {
    /// Most seconds to the first token.
    pub ttft: Option<Seconds>,
    /// Most seconds per token.
    pub tpot: Option<Seconds>,
    /// Most seconds for a request.
    pub e2e: Option<Seconds>,
}

impl FromStr for Slo {
    type Err = String;

    /// Reads `ttft=500ms,tpot=50ms,e2e=2s`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut slo = Slo::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, limit) = part.split_once('=').ok_or_else(|| format!("`{part}` is not like ttft=500ms"))?;
            let limit = parse_seconds(limit)?;
            match name.trim() {
                "ttft" => slo.ttft = Some(limit),
                "tpot" => slo.tpot = Some(limit),
                "e2e" => slo.e2e = Some(limit),
                other => return Err(format!("`{other}` is not a limit; there are ttft, tpot and e2e (medians)")),
            }
        }
        Ok(slo)
    }
}

/// Reads `500ms`, `2s`, `80us`.
pub fn parse_seconds(text: &str) -> Result<Seconds, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return Err(format!("`{text}` is not a time; write it like 500ms or 2s")),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(Seconds(value * factor)),
        _ => Err(format!("`{text}` is not a time above 0")),
    }
}

/// What the user says of the machine that was measured, where it cannot be recognised or the price differs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MachinePrice {
    /// `(provider, instance type)`.
    pub instance: Option<(String, String)>,
    /// Price of an hour.
    pub usd_per_h: Option<Usd>,
}

impl MachinePrice {
    /// Reads `provider:type`.
    pub fn parse_instance(text: &str) -> Result<(String, String), String> {
        match text.split_once(':') {
            Some((provider, name)) if !provider.is_empty() && !name.is_empty() => {
                Ok((provider.to_lowercase(), name.to_string()))
            }
            _ => Err(format!("`{text}` is not like provider:type, for example aws:m7a.large")),
        }
    }
}

/// A ranking to make.
#[derive(Debug, Clone, PartialEq)]
pub struct RankRequest {
    /// Quantization levels to rank; empty is the highest precision that was measured, at most 16 bits.
    pub quants: Vec<Quant>,
    /// Prompt length; `None` is the one that most cases have.
    pub prompt_tokens: Option<usize>,
    /// Generated tokens; `None` as above.
    pub gen_tokens: Option<usize>,
    /// Limits that a row must keep.
    pub slo: Slo,
    /// Markets to rank; empty is on demand only.
    pub markets: Vec<Market>,
    /// Only this provider.
    pub provider: Option<String>,
    /// Only this region.
    pub region: Option<String>,
    /// Every region of a type, rather than its cheapest.
    pub all_regions: bool,
    /// The machine that was measured.
    pub machine: MachinePrice,
    /// The day that ages are counted to.
    pub today: Date,
}

impl RankRequest {
    /// The default ranking of a day.
    pub fn on(today: Date) -> Self {
        Self {
            quants: Vec::new(),
            prompt_tokens: None,
            gen_tokens: None,
            slo: Slo::default(),
            markets: Vec::new(),
            provider: None,
            region: None,
            all_regions: false,
            machine: MachinePrice::default(),
            today,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        let slo: Slo = "ttft=500ms, tpot=0.05s".parse().unwrap();
        assert_eq!((slo.ttft, slo.tpot, slo.e2e), (Some(Seconds(0.5)), Some(Seconds(0.05)), None));
        for bad in ["ttft", "ttft=5", "ttft=-1s", "p99=1s", "tpot=1h", "tpot=s"] {
            assert!(bad.parse::<Slo>().is_err(), "{bad}");
        }
    }

    #[test]
    fn instances_are_read() {
        assert_eq!(MachinePrice::parse_instance("AWS:m7a.large"), Ok(("aws".into(), "m7a.large".into())));
        assert!(MachinePrice::parse_instance("m7a.large").is_err());
    }
}
