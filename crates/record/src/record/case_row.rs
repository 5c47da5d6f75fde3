//! A row of cases.csv.

use super::metric::{self, METRICS, Metrics};
use super::outcome::{FailureKind, InvalidReason, Outcome, StopReason};
use super::plausible;
use crate::workload::Case;
use crate::workload::columns::{Columns, parsed};
use serde_json::Value;
use std::collections::HashMap;

/// What tells a case from every other, across runs too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CaseKey {
    /// `sizewell`, for one.
    pub engine: String,
    /// The model's name.
    pub model: String,
    /// `cpu`, `cuda:0`.
    pub device: String,
    /// What was run.
    pub case: Case,
    /// How requests came (`closed_16`, `open_poisson`), where the run has several ways: else run.json says it.
    pub arrival: Option<String>,
}

impl CaseKey {
    /// The identity in one word, safe in file names.
    pub fn id(&self) -> String {
        let mut text = format!("{}.{}.{}.{}", self.engine, self.model, self.device, self.case.id());
        if let Some(arrival) = &self.arrival {
            text.extend([".", arrival]);
        }
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
    }
}

/// The result of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseRow {
    /// Which case.
    pub key: CaseKey,
    /// Measured, skipped or failed.
    pub outcome: Outcome,
    /// Why not, where it was not measured.
    pub reason: Option<FailureKind>,
    /// The reason in words.
    pub message: String,
    /// Why the numbers should not be relied on; empty is valid.
    pub invalid: Vec<InvalidReason>,
    /// Why measuring stopped.
    pub stop_reason: Option<StopReason>,
    /// Measured iterations.
    pub samples: usize,
    /// Iterations that warmed up.
    pub warmup_iterations: usize,
    /// The numbers.
    pub metrics: Metrics,
    /// Metrics that are absent, and why: `(tag, reason)`.
    pub absent: Vec<(String, String)>,
    /// Remarks, such as a block type that had to give way to another.
    pub notes: Vec<String>,
}

/// Columns before those of the case.
const FIRST: [&str; 4] = ["case_id", "engine", "model", "device"];
/// Columns between those of the case and the metrics.
const RESULT: [&str; 9] = [
    "arrival",
    "outcome",
    "reason",
    "message",
    "valid",
    "invalid_reasons",
    "stop_reason",
    "samples",
    "warmup_iterations",
];
/// Columns after the metrics.
const LAST: [&str; 2] = ["absent", "notes"];

/// The items of a list field; a semicolon within one becomes a comma.
fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(|item| item.to_string().replace(';', ",")).collect::<Vec<_>>().join(";")
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter(|part| !part.is_empty())
}

impl CaseRow {
    /// The row, or one of a failure where what was measured cannot be: a reader would refuse the whole run for it.
    pub fn believable(self) -> Self {
        match plausible::fault(&self) {
            None => self,
            Some(why) => {
                let message = format!("what was measured cannot be: {why}");
                Self::unmeasured(self.key, FailureKind::EngineError, message)
            }
        }
    }

    /// A row for a case that was not measured.
    pub fn unmeasured(key: CaseKey, reason: FailureKind, message: String) -> Self {
        Self {
            key,
            outcome: reason.outcome(),
            reason: Some(reason),
            message,
            invalid: Vec::new(),
            stop_reason: None,
            samples: 0,
            warmup_iterations: 0,
            metrics: Metrics::default(),
            absent: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Measured, and nothing against it.
    pub fn is_valid(&self) -> bool {
        self.outcome == Outcome::Ok && self.invalid.is_empty()
    }

    /// The reason that a metric is absent.
    pub fn why_absent(&self, tag: &str) -> Option<&str> {
        self.absent.iter().find(|(absent, _)| absent == tag).map(|(_, why)| why.as_str())
    }

    /// The header of cases.csv.
    pub fn header() -> Vec<&'static str> {
        let metrics = metric::all().map(|m| m.tag);
        FIRST.into_iter().chain(Case::COLUMNS).chain(RESULT).chain(metrics).chain(LAST).collect()
    }

    /// The fields under [`CaseRow::header`]. An absent metric is an empty field.
    pub fn fields(&self) -> Vec<String> {
        let text = |value: Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        let first = [self.key.id(), self.key.engine.clone(), self.key.model.clone(), self.key.device.clone()];
        let result = [
            self.key.arrival.clone().unwrap_or_default(),
            self.outcome.to_string(),
            self.reason.map_or(String::new(), |r| r.to_string()),
            self.message.clone(),
            self.is_valid().to_string(),
            joined(&self.invalid),
            self.stop_reason.map_or(String::new(), |r| r.to_string()),
            self.samples.to_string(),
            self.warmup_iterations.to_string(),
        ];
        let number = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
        let absent: Vec<String> = self.absent.iter().map(|(tag, why)| format!("{tag}={why}")).collect();
        first
            .into_iter()
            .chain(self.key.case.columns().map(|(_, value)| text(value)))
            .chain(result)
            .chain(metric::all().map(|m| number((m.get)(&self.metrics))))
            .chain([joined(&absent), joined(&self.notes)])
            .collect()
    }

    /// Reads a row from fields by name. Unknown columns are ignored, so that a newer program's file can be read;
    /// the error names the column.
    pub fn from_fields(fields: &HashMap<String, String>) -> Result<Self, String> {
        let columns = Columns(fields);
        let owned = |name: &str| columns.text(name).map(str::to_string);
        // Records of older programs have not all columns.
        let later = |name: &str| columns.later(name);
        let case = Case::from_columns(columns)?;
        let key = CaseKey {
            engine: owned("engine")?,
            model: owned("model")?,
            device: owned("device")?,
            case,
            arrival: Some(later("arrival").to_string()).filter(|arrival| !arrival.is_empty()),
        };
        let metrics = read_metrics(fields)?;
        let pair = |part: &str| {
            let (tag, why) = part.split_once('=').unwrap_or((part, ""));
            (tag.to_string(), why.to_string())
        };
        let row = Self {
            key,
            outcome: columns.parsed("outcome")?,
            reason: columns.needed("reason")?,
            message: owned("message")?,
            invalid: split(columns.text("invalid_reasons")?)
                .map(|part| parsed("invalid_reasons", part))
                .collect::<Result<_, _>>()?,
            stop_reason: columns.needed("stop_reason")?,
            samples: columns.parsed("samples")?,
            warmup_iterations: columns.parsed("warmup_iterations")?,
            metrics,
            absent: split(columns.text("absent")?).map(pair).collect(),
            notes: split(columns.text("notes")?).map(str::to_string).collect(),
        };
        if later("valid") == "true" && !row.invalid.is_empty() {
            return Err("column `valid`: true, although `invalid_reasons` names some".to_string());
        }
        match plausible::fault(&row) {
            Some(why) => Err(why),
            None => Ok(row),
        }
    }
}

/// The metrics of a row. An end of an interval or a percentile without the value that it is of would read as one of that
/// value's, which is 0.
fn read_metrics(fields: &HashMap<String, String>) -> Result<Metrics, String> {
    let mut metrics = Metrics::default();
    let field = |tag: &str| fields.get(tag).filter(|text| !text.is_empty());
    for group in METRICS {
        let main = group.first().map_or("", |metric| metric.tag);
        for metric in *group {
            let Some(text) = field(metric.tag) else { continue };
            if field(main).is_none() {
                return Err(format!("column `{main}` is empty, but `{}` is {text}: a bound of no value", metric.tag));
            }
            let value: f64 = text.parse().map_err(|e| format!("column `{}`: {e}", metric.tag))?;
            if !value.is_finite() {
                return Err(format!("column `{}`: {value} is not a finite number", metric.tag));
            }
            (metric.set)(&mut metrics, value);
        }
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seconds;
    use crate::workload::Quant;

    fn row() -> CaseRow {
        let case = Case::new(Quant::Int8, 4, 128, 32);
        let key = CaseKey {
            engine: "candle".into(),
            model: "a, \"b\"/<c>".into(),
            device: "cuda:0".into(),
            case,
            arrival: None,
        };
        let mut row = CaseRow::unmeasured(key, FailureKind::TimedOut, "line\nbreak".into());
        row.outcome = Outcome::Ok;
        row.reason = None;
        row.invalid = vec![InvalidReason::Noisy, InvalidReason::StolenCpu];
        row.stop_reason = Some(StopReason::TimeLimit);
        row.metrics.load = Some(Seconds(0.1 + 0.2));
        row.absent = vec![("energy_j".into(), "no_power_source".into())];
        row.notes = vec!["one".into(), "two".into()];
        row
    }

    #[test]
    fn a_row_reads_back_as_it_was() {
        let row = row();
        assert_eq!(CaseRow::header().len(), row.fields().len());
        let fields = CaseRow::header().into_iter().map(String::from).zip(row.fields()).collect();
        assert_eq!(CaseRow::from_fields(&fields), Ok(row.clone()));
        assert_eq!(row.key.id(), "candle.a---b---c-.cuda-0.int8.b4.p128.g32");
        assert_eq!(row.why_absent("energy_j"), Some("no_power_source"));
    }

    #[test]
    fn a_bad_field_names_its_column() {
        let mut fields: HashMap<String, String> =
            CaseRow::header().into_iter().map(String::from).zip(row().fields()).collect();
        fields.insert("ttft_s".into(), "NaN".into());
        assert!(CaseRow::from_fields(&fields).unwrap_err().starts_with("column `ttft_s`"));
        fields.insert("ttft_s".into(), "1".into());
        fields.insert("batch".into(), "-1".into());
        assert!(CaseRow::from_fields(&fields).unwrap_err().starts_with("column `batch`"));
        fields.remove("quant");
        assert_eq!(CaseRow::from_fields(&fields).unwrap_err(), "column `quant` is missing");
    }
}
