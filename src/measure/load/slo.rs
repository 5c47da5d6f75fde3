//! What a service promises: limits on percentiles of times, and the share of requests that keep all of them.

use crate::record::{LatencyKind, SloTerm};
use crate::units::Seconds;
use crate::units::parse_seconds;
use std::str::FromStr;

/// A promise.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slo {
    /// Limits on percentiles.
    pub terms: Vec<SloTerm>,
    /// Share of requests that have to be answered within the limits of all terms.
    pub goodput: Option<f64>,
}

impl Slo {
    /// Nothing is promised.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.goodput.is_none()
    }

    /// Whether times keep every limit, whatever its percentile. A time that a limit is about and that is not known does not
    /// speak against it: an answer of one token has no time per token.
    pub fn is_kept_by(&self, time: impl Fn(LatencyKind) -> Option<f64>) -> bool {
        self.terms.iter().all(|term| time(term.of).is_none_or(|time| time <= term.limit_s.0))
    }

    /// The share of requests that each part allows to be beyond it: of the terms, then of goodput.
    pub fn allowed(&self) -> impl Iterator<Item = f64> {
        let terms = self.terms.iter().map(|term| 1.0 - term.percentile);
        terms.chain(self.goodput.map(|share| 1.0 - share))
    }

    /// That of the strictest part.
    pub fn least_allowed(&self) -> f64 {
        self.allowed().fold(1.0, f64::min)
    }

    /// Requests that a step needs to say anything of every percentile.
    pub fn requests_needed(&self) -> usize {
        let samples = |p: f64| crate::statistics::percentile::samples_needed(p.clamp(0.01, 0.9999));
        let terms = self.terms.iter().map(|term| samples(term.percentile));
        terms.chain(self.goodput.map(samples)).max().unwrap_or(1)
    }
}

impl FromStr for Slo {
    type Err = String;

    /// Reads `ttft_p99=500ms,tpot=50ms,e2e_p95=2s,goodput=99%`; without a percentile it is the median.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut slo = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not like ttft_p99=500ms"))?;
            let (name, value) = (name.trim(), value.trim());
            if name == "goodput" {
                slo.goodput = Some(share(value)?);
                continue;
            }
            let (of, percentile) = name.split_once("_p").map_or((name, Ok(0.5)), |(of, p)| (of, percentile(p)));
            let of = match of {
                "ttft" => LatencyKind::Ttft,
                "tpot" => LatencyKind::Tpot,
                "e2e" => LatencyKind::E2e,
                _ => {
                    return Err(format!(
                        "`{name}` is not a limit; there are ttft, tpot and e2e (with _p50 to _p99.9) and goodput"
                    ));
                }
            };
            slo.terms.push(SloTerm { of, percentile: percentile?, limit_s: Seconds(parse_seconds(value)?.0) });
        }
        match slo.goodput.is_some() && slo.terms.is_empty() {
            true => Err("goodput is the share of requests within limits: give ttft, tpot or e2e too".to_string()),
            false => Ok(slo),
        }
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // A share such as 99.9 / 100 is not exact.
        Ok(p) if (1.0..=99.99).contains(&p) => Ok((p * 1e4).round() / 1e6),
        _ => Err(format!("`p{text}` is not a percentile from p1 to p99.99")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
        None => text.parse(),
    };
    match parsed {
        Ok(share) if (0.01..=0.9999).contains(&share) => Ok(share),
        _ => Err(format!("goodput `{text}` is not a share from 1% to 99.99%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_read_with_their_percentiles() {
        let slo: Slo = "ttft_p99=500ms, tpot=50ms,e2e_p99.9=2s,goodput=98%".parse().unwrap();
        let read: Vec<_> = slo.terms.iter().map(|t| (t.of, t.percentile, t.limit_s.0)).collect();
        assert_eq!(
            read,
            [(LatencyKind::Ttft, 0.99, 0.5), (LatencyKind::Tpot, 0.5, 0.05), (LatencyKind::E2e, 0.999, 2.0)]
        );
        assert_eq!(slo.goodput, Some(0.98));
        assert_eq!(slo.requests_needed(), 4742);
        for bad in
            ["ttft", "ttft_p=1s", "ttft_p100=1s", "p99=1s", "itl=3ms", "goodput=99%", "ttft=1s,goodput=2", "e2e=1h"]
        {
            assert!(bad.parse::<Slo>().is_err(), "{bad}");
        }
        assert!("".parse::<Slo>().unwrap().is_empty());
    }

    #[test]
    fn a_request_keeps_all_limits_or_not() {
        let slo: Slo = "ttft_p99=500ms,tpot=50ms".parse().unwrap();
        let with = |ttft, tpot| move |kind| if kind == LatencyKind::Ttft { Some(ttft) } else { tpot };
        assert!(slo.is_kept_by(with(0.5, Some(0.05))) && slo.is_kept_by(with(0.4, None)));
        assert!(!slo.is_kept_by(with(0.5, Some(0.06))) && !slo.is_kept_by(with(0.6, None)));
    }
}
