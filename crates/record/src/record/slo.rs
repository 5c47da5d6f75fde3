//! What a service promises: limits on percentiles of times, and the share of requests that keep all of them.
//!
//! The one grammar of `--slo`, whether the requests were sent here (`load`) or offers are ranked by what was measured
//! (`rank`): [`Slo`] reads and writes it.

use super::traffic::LatencyKind;
use crate::units::{Seconds, parse_seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The percentile of a limit that names none: the median.
pub const MEDIAN: f64 = 0.5;

/// A limit on a percentile of a time.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct SloTerm {
    /// Which time.
    pub of: LatencyKind,
    /// Share of requests that have to keep it: 0.99 for p99.
    pub percentile: f64,
    /// The most it may be.
    pub limit_s: Seconds,
}

/// Whether a limit is kept, as far as what is known says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// The percentiles that are known say neither.
    Unknown,
}

impl SloTerm {
    /// `TTFT p99 <= 500 ms`.
    pub fn label(&self) -> String {
        format!("{} {} <= {}", self.of.label(), self.percentile_name(), self.limit_s)
    }

    /// The percentile as people write it: `p99`, `p99.9`.
    pub fn percentile_name(&self) -> String {
        percentile_name(self.percentile)
    }

    /// What is limited: `TTFT (median)`, `E2E p99`.
    pub fn subject(&self) -> String {
        if self.percentile == MEDIAN {
            format!("{} (median)", self.of.label())
        } else {
            format!("{} {}", self.of.label(), self.percentile_name())
        }
    }

    /// Whether it is kept where these percentiles are known, as `(percentile, seconds)`. Times grow with the percentile: a
    /// higher one within the limit keeps a lower one within it too, and a lower one beyond it puts every higher one beyond.
    pub fn judge(&self, known: impl IntoIterator<Item = (f64, f64)>) -> Kept {
        let mut kept = Kept::Unknown;
        for (percentile, seconds) in known {
            let within = seconds <= self.limit_s.0;
            match percentile.total_cmp(&self.percentile) {
                Ordering::Equal => return if within { Kept::Yes } else { Kept::No },
                Ordering::Less if !within => kept = Kept::No,
                Ordering::Greater if within && kept == Kept::Unknown => kept = Kept::Yes,
                _ => {}
            }
        }
        kept
    }
}

/// `p50`, `p99.9`.
fn percentile_name(percentile: f64) -> String {
    // Up to p99.99, which three digits would round to p100.
    let percent = (percentile * 1e6).round() / 1e4;
    format!("p{percent}")
}

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

    /// The part that says something of more than half of the requests, in words: medians alone do not keep it.
    pub fn beyond_medians(&self) -> Option<String> {
        let term = self.terms.iter().find(|term| term.percentile > MEDIAN).map(SloTerm::subject);
        term.or(self.goodput.map(|_| "goodput".to_string()))
    }

    /// The limit on the median of a time; the strictest of several.
    pub fn median_limit(&self, of: LatencyKind) -> Option<Seconds> {
        let limits = self.terms.iter().filter(|term| term.of == of && term.percentile == MEDIAN);
        limits.map(|term| term.limit_s).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Every limit on a time, by time and percentile, as `(TTFT (median), limit)`.
    pub fn named(&self) -> Vec<(String, Seconds)> {
        let mut terms = self.terms.clone();
        terms.sort_by(|a, b| (a.of.cmp(&b.of)).then(a.percentile.total_cmp(&b.percentile)));
        terms.iter().map(|term| (term.subject(), term.limit_s)).collect()
    }
}

impl fmt::Display for Slo {
    /// In the words of the grammar, so that it is read as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = |term: &SloTerm| {
            let percentile =
                if term.percentile == MEDIAN { String::new() } else { format!("_{}", term.percentile_name()) };
            format!("{}{percentile}={}s", term.of.name(), term.limit_s.0)
        };
        let goodput = self.goodput.map(|share| format!("goodput={share}"));
        let parts: Vec<String> = self.terms.iter().map(term).chain(goodput).collect();
        f.write_str(&parts.join(","))
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
            let (of, percentile) = name.split_once("_p").map_or((name, Ok(MEDIAN)), |(of, p)| (of, percentile(p)));
            let Some(of) = LatencyKind::ALL.into_iter().find(|kind| kind.name() == of) else {
                return Err(format!(
                    "`{name}` is not a limit; there are ttft, tpot and e2e (with _p50 to _p99.9) and goodput"
                ));
            };
            slo.terms.push(SloTerm { of, percentile: percentile?, limit_s: parse_seconds(value)? });
        }
        if slo.goodput.is_some() && slo.terms.is_empty() {
            Err("goodput is the share of requests within limits: give ttft, tpot or e2e too".to_string())
        } else {
            Ok(slo)
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
    use proptest::prelude::*;

    #[test]
    fn promises_are_read_with_their_percentiles() {
        let slo: Slo = "ttft_p99=500ms, tpot=50ms,e2e_p99.9=2s,goodput=98%".parse().unwrap();
        let read: Vec<_> = slo.terms.iter().map(|t| (t.of, t.percentile, t.limit_s.0)).collect();
        assert_eq!(
            read,
            [(LatencyKind::Ttft, 0.99, 0.5), (LatencyKind::Tpot, 0.5, 0.05), (LatencyKind::E2e, 0.999, 2.0)]
        );
        assert_eq!(slo.goodput, Some(0.98));
        for bad in
            ["ttft", "ttft_p=1s", "ttft_p100=1s", "p99=1s", "itl=3ms", "goodput=99%", "ttft=1s,goodput=2", "e2e=1h"]
        {
            assert!(bad.parse::<Slo>().is_err(), "{bad}");
        }
        assert!("".parse::<Slo>().unwrap().is_empty());
        assert_eq!(slo.named()[0].0, "TTFT p99");
        assert_eq!(slo.beyond_medians().as_deref(), Some("TTFT p99"));
        assert_eq!(
            "ttft=1s,ttft_p50=900ms".parse::<Slo>().unwrap().median_limit(LatencyKind::Ttft),
            Some(Seconds(0.9))
        );
    }

    #[test]
    fn a_request_keeps_all_limits_or_not() {
        let slo: Slo = "ttft_p99=500ms,tpot=50ms".parse().unwrap();
        let with = |ttft, tpot| move |kind| if kind == LatencyKind::Ttft { Some(ttft) } else { tpot };
        assert!(slo.is_kept_by(with(0.5, Some(0.05))) && slo.is_kept_by(with(0.4, None)));
        assert!(!slo.is_kept_by(with(0.5, Some(0.06))) && !slo.is_kept_by(with(0.6, None)));
    }

    #[test]
    fn percentiles_beside_the_limit_say_what_they_can() {
        let p95 = SloTerm { of: LatencyKind::Ttft, percentile: 0.95, limit_s: Seconds(1.0) };
        assert_eq!(p95.judge([(0.5, 0.2), (0.99, 0.9)]), Kept::Yes);
        assert_eq!(p95.judge([(0.5, 0.2), (0.9, 1.1)]), Kept::No);
        assert_eq!(p95.judge([(0.5, 0.2), (0.9, 0.3), (0.99, 1.2)]), Kept::Unknown);
        assert_eq!(p95.judge([(0.5, 0.2)]), Kept::Unknown, "a median says nothing of the slowest");
    }

    fn kind() -> impl Strategy<Value = LatencyKind> {
        prop::sample::select(LatencyKind::ALL.to_vec())
    }

    fn terms() -> impl Strategy<Value = Vec<SloTerm>> {
        let term = (kind(), 100u32..=9999, 1u32..1_000_000).prop_map(|(of, percent, ms)| SloTerm {
            of,
            percentile: f64::from(percent) / 1e4,
            limit_s: Seconds(f64::from(ms) / 1e3),
        });
        prop::collection::vec(term, 1..5)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(terms in terms(), goodput in prop::option::of(0.01f64..=0.9999)) {
            let slo = Slo { terms, goodput };
            prop_assert_eq!(&slo.to_string().parse::<Slo>().unwrap(), &slo, "{}", slo);
        }

        #[test]
        fn any_text_is_read_or_refused_in_words(text in "[a-z0-9_.=%, ]{0,40}") {
            if let Err(why) = text.parse::<Slo>() {
                prop_assert!(!why.is_empty());
            }
        }

        /// Whatever percentiles of some times are known, the answer is never other than that of the times themselves.
        #[test]
        fn no_answer_contradicts_the_times(
            mut times in prop::collection::vec(0.0f64..2.0, 1..60),
            known in prop::collection::vec(0.01f64..=0.99, 0..4),
            percentile in 0.01f64..=0.99,
        ) {
            times.sort_by(f64::total_cmp);
            let at = |p: f64| times[((p * times.len() as f64).ceil() as usize).clamp(1, times.len()) - 1];
            let term = SloTerm { of: LatencyKind::E2e, percentile, limit_s: Seconds(1.0) };
            match term.judge(known.into_iter().map(|p| (p, at(p)))) {
                Kept::Yes => prop_assert!(at(percentile) <= 1.0),
                Kept::No => prop_assert!(at(percentile) > 1.0),
                Kept::Unknown => {}
            }
            prop_assert_ne!(term.judge([(percentile, at(percentile))]), Kept::Unknown);
        }
    }
}
