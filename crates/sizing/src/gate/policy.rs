//! A policy as a TOML file: rules over metrics, each an absolute limit or one relative to a baseline, for all cases or
//! some.

use super::metric::GateMetric;
use crate::data_file::{bounded, parse_toml};
use crate::record::InvalidReason;
use crate::workload::{Case, Quant};
use serde::{Deserialize, Deserializer};
use std::path::Path;

/// What a release has to keep.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Confidence of the intervals of changes; 0.95 where it is not given.
    #[serde(default = "usual_confidence")]
    pub confidence: f64,
    /// The least change that is claimed, in place of what the two machines say.
    #[serde(default, deserialize_with = "share")]
    pub noise_floor: Option<f64>,
    /// The regression that has to be excluded before a relative rule passes, where the rule does not allow more; 5 % where it
    /// is not given. Without it, an unchanged run would pass only with intervals narrower than the noise floor.
    #[serde(default = "usual_resolution", deserialize_with = "certain_share")]
    pub resolution: f64,
    /// What an hour of the machine costs, for rules about cost.
    pub usd_per_h: Option<f64>,
    /// Or the instance that it is, such as `aws:g6.xlarge`, priced by the catalog.
    pub instance: Option<String>,
    /// Share of the paid time that is used.
    #[serde(default = "all")]
    pub utilisation: f64,
    /// Doubts of a measurement that are accepted, such as `foreign_load`.
    #[serde(default, deserialize_with = "reasons")]
    pub accept: Vec<InvalidReason>,
    /// The rules.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

fn usual_confidence() -> f64 {
    0.95
}

fn usual_resolution() -> f64 {
    0.05
}

fn all() -> f64 {
    1.0
}

/// A limit: its SI value, and what its unit is of; empty for a bare number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitValue {
    /// In SI units or USD.
    pub value: f64,
    /// As [`GateMetric::unit`] names it.
    pub unit: &'static str,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What to call it; the metric and the limit where it is not given.
    pub name: Option<String>,
    /// What it is about.
    pub metric: String,
    /// Greatest value, in SI units or with one: `"50ms"`, `"4GiB"`.
    #[serde(default, deserialize_with = "amount")]
    pub max: Option<LimitValue>,
    /// Least value.
    #[serde(default, deserialize_with = "amount")]
    pub min: Option<LimitValue>,
    /// How much worse than the baseline it may be: `"2%"`; `"0%"` is what no noise excuses.
    #[serde(default, deserialize_with = "share")]
    pub max_regression: Option<f64>,
    /// Only cases of these levels.
    #[serde(default)]
    pub quant: Vec<Quant>,
    /// Only of these batch sizes.
    #[serde(default)]
    pub batch: Vec<usize>,
    /// Only of these prompt lengths.
    #[serde(default)]
    pub prompt_tokens: Vec<usize>,
    /// Only of these numbers of generated tokens.
    #[serde(default)]
    pub gen_tokens: Vec<usize>,
    /// Cases without the metric are passed over; otherwise they are invalid.
    #[serde(default)]
    pub optional: bool,
    /// Cases that ran on both sides and have the metric on neither, as it is none of their kind, are passed over; no policy
    /// of a file has such rules.
    #[serde(skip)]
    pub by_kind: bool,
    /// It is about cases that have none of these metrics on any side.
    #[serde(skip)]
    pub in_place_of: &'static [&'static str],
}

impl Rule {
    /// Whether it is about a case.
    pub fn holds_for(&self, case: Case) -> bool {
        let one_of = |wanted: &[usize], have: usize| wanted.is_empty() || wanted.contains(&have);
        (self.quant.is_empty() || self.quant.contains(&case.quant))
            && one_of(&self.batch, case.batch)
            && one_of(&self.prompt_tokens, case.prompt_tokens())
            && one_of(&self.gen_tokens, case.gen_tokens())
    }

    /// The error says that a limit is in another unit than the metric.
    pub fn check_unit(&self, metric: &GateMetric) -> Result<(), String> {
        let limits = [self.max, self.min].into_iter().flatten();
        for LimitValue { value, unit } in limits {
            if !unit.is_empty() && unit != metric.unit() {
                let of = if metric.unit().is_empty() { "a plain number" } else { metric.unit() };
                return Err(format!("the limit of the rule about {} is in {unit}, the metric in {of}", metric.tag));
            }
            if value < 0.0 && !metric.unit().is_empty() {
                return Err(format!("the limit of the rule about {} is {value}, which it can never be", metric.tag));
            }
        }
        Ok(())
    }

    fn fault(&self) -> Option<String> {
        let limits = [self.max.is_some(), self.min.is_some(), self.max_regression.is_some()];
        match limits.iter().filter(|given| **given).count() {
            1 => None,
            0 => Some(format!("the rule about {} has no limit: give max, min or max_regression", self.metric)),
            _ => Some(format!("the rule about {} has several limits: write one rule for each", self.metric)),
        }
    }
}

/// The times of a case; rates that stand beside them say the same once more.
const TIMES: [&str; 3] = ["ttft_s", "tpot_s", "e2e_s"];

impl Policy {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = bounded::text(path, bounded::MOST_TEXT).map_err(|e| format!("{name}: {e}"))?;
        Self::parse(&name, &text)
    }

    /// Reads the text of the file `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let policy: Self = parse_toml(name, text).map_err(|e| e.to_string())?;
        match policy.fault() {
            None => Ok(policy),
            Some(fault) => Err(format!("{name}: {fault}")),
        }
    }

    fn fault(&self) -> Option<String> {
        if !(self.confidence > 0.5 && self.confidence < 1.0) {
            return Some(format!("confidence is {}; it must be above 0.5 and below 1", self.confidence));
        }
        if !(self.utilisation > 0.0 && self.utilisation <= 1.0) {
            return Some(format!("utilisation is {}; it must be above 0 and at most 1", self.utilisation));
        }
        if self.usd_per_h.is_some_and(|usd| !(usd > 0.0 && usd.is_finite())) {
            return Some("usd_per_h must be above 0".to_string());
        }
        if self.usd_per_h.is_some() && self.instance.is_some() {
            return Some("give usd_per_h or instance, not both".to_string());
        }
        if self.rules.is_empty() {
            return Some("there is no [[rule]]: a policy without rules would pass everything".to_string());
        }
        self.rules.iter().find_map(Rule::fault)
    }

    /// What holds where only a baseline is given: times, memory and energy of every case must not be worse than it by more
    /// than the noise. A prefill alone has no TPOT, and other tools report rates where they have no times: what neither
    /// side has by its kind is no rule, and what stands in place of it is one.
    pub fn of_a_baseline() -> Self {
        let rule = |metric: &str, optional: bool| Rule {
            metric: metric.to_string(),
            max_regression: Some(0.0),
            optional,
            by_kind: !optional,
            ..Rule::default()
        };
        let in_place_of =
            |metrics: &'static [&'static str], metric: &str| Rule { in_place_of: metrics, ..rule(metric, false) };
        Self {
            confidence: usual_confidence(),
            noise_floor: None,
            resolution: usual_resolution(),
            usd_per_h: None,
            instance: None,
            utilisation: 1.0,
            accept: Vec::new(),
            rules: vec![
                rule("ttft_s", false),
                rule("tpot_s", false),
                in_place_of(&TIMES[..2], "e2e_s"),
                in_place_of(&TIMES, "requests_per_s"),
                in_place_of(&TIMES, "decode_tokens_per_s"),
                in_place_of(&TIMES, "prefill_tokens_per_s"),
                rule("peak_device_bytes", true),
                rule("energy_per_token_j", true),
            ],
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

/// Units of amounts, the longer first where one ends with another: the text, its factor, what it is of.
const UNITS: [(&str, f64, &str); 22] = [
    ("tok/s", 1.0, "per_s"),
    ("req/s", 1.0, "per_s"),
    ("tok/J", 1.0, "per_j"),
    ("TiB", 1_099_511_627_776.0, "bytes"),
    ("GiB", 1_073_741_824.0, "bytes"),
    ("MiB", 1_048_576.0, "bytes"),
    ("KiB", 1024.0, "bytes"),
    ("TB", 1e12, "bytes"),
    ("GB", 1e9, "bytes"),
    ("MB", 1e6, "bytes"),
    ("kB", 1e3, "bytes"),
    ("USD", 1.0, "usd"),
    ("ms", 1e-3, "s"),
    ("us", 1e-6, "s"),
    ("kJ", 1e3, "j"),
    ("mJ", 1e-3, "j"),
    ("kW", 1e3, "w"),
    ("%", 1e-2, "share"),
    ("s", 1.0, "s"),
    ("J", 1.0, "j"),
    ("W", 1.0, "w"),
    ("B", 1.0, "bytes"),
];

fn parsed(text: &str) -> Option<LimitValue> {
    let text = text.trim();
    let (number, factor, unit) = match text.strip_prefix('$') {
        Some(number) => (number, 1.0, "usd"),
        None => UNITS
            .iter()
            .find_map(|(name, factor, unit)| Some((text.strip_suffix(name)?, *factor, *unit)))
            .unwrap_or((text, 1.0, "")),
    };
    let value = number.trim().parse::<f64>().ok().map(|number| number * factor)?;
    value.is_finite().then_some(LimitValue { value, unit })
}

fn amount<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LimitValue>, D::Error> {
    match NumberOrText::deserialize(from)? {
        NumberOrText::Number(value) if value.is_finite() => Ok(Some(LimitValue { value, unit: "" })),
        NumberOrText::Number(number) => Err(serde::de::Error::custom(format!("{number} is not a limit"))),
        NumberOrText::Text(text) => parsed(&text).map(Some).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is not an amount such as 0.05, \"50ms\", \"4GiB\" or \"$0.2\""))
        }),
    }
}

fn share<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let (value, text) = match NumberOrText::deserialize(from)? {
        NumberOrText::Number(number) => (Some(number), number.to_string()),
        NumberOrText::Text(text) => (parsed(&text).filter(|amount| amount.unit == "share").map(|a| a.value), text),
    };
    match value.filter(|share| (0.0..1.0).contains(share)) {
        Some(share) => Ok(Some(share)),
        None => Err(serde::de::Error::custom(format!("`{text}` is not a share such as \"2%\" or 0.02"))),
    }
}

fn certain_share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    share(from).map(|share| share.unwrap_or(usual_resolution()))
}

fn reasons<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<InvalidReason>, D::Error> {
    Vec::<String>::deserialize(from)?.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_with_its_units() {
        let text = "noise_floor = \"3%\"\naccept = [\"stolen_cpu\"]\n[[rule]]\nmetric = \"tpot_s\"\nmax = \"50ms\"\n\
                    quant = [\"int4\"]\nbatch = [1]\n[[rule]]\nmetric = \"peak_device_bytes\"\nmax = \"4GiB\"\n\
                    [[rule]]\nmetric = \"ttft_s\"\nmax_regression = 0.05\n";
        let policy = Policy::parse("gate.toml", text).unwrap();
        assert_eq!((policy.noise_floor, policy.confidence), (Some(0.03), 0.95));
        assert_eq!(policy.rules[0].max, Some(LimitValue { value: 0.05, unit: "s" }));
        assert_eq!(policy.rules[1].max, Some(LimitValue { value: 4.0 * 1024f64.powi(3), unit: "bytes" }));
        let case = Case::new(Quant::Int4, 1, 8, 8);
        assert!(policy.rules[0].holds_for(case) && !policy.rules[0].holds_for(Case { batch: 2, ..case }));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, part) in [
            ("[[rule]]\nmetric = \"ttft_s\"\nmx = 1\n", "gate.toml:3: unknown field `mx`"),
            ("[[rule]]\nmetric = \"ttft_s\"\n", "has no limit"),
            ("[[rule]]\nmetric = \"ttft_s\"\nmax = 1\nmin = 1\n", "several limits"),
            ("[[rule]]\nmetric = \"ttft_s\"\nmax = \"fast\"\n", "`fast` is not an amount"),
            ("[[rule]]\nmetric = \"ttft_s\"\nmax_regression = \"5\"\n", "`5` is not a share"),
            ("confidence = 1.5\n[[rule]]\nmetric = \"ttft_s\"\nmax = 1\n", "confidence is 1.5"),
            ("accept = [\"luck\"]\n[[rule]]\nmetric = \"ttft_s\"\nmax = 1\n", "`luck` is none of"),
            ("", "no [[rule]]"),
        ] {
            let error = Policy::parse("gate.toml", text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
