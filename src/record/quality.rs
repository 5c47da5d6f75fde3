//! quality.csv: how good the answers of a level are. One row is one figure of one level; who measures it (this program,
//! or another whose figures were put into this form) is a column.

use super::Run;
use super::metric::Better;
use super::reader::{ReadError, read_rows};
use super::sample::{number_field as number, text_field as text};
use crate::workload::Quant;
use serde::Serialize;
use std::collections::HashMap;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityRow {
    /// The level that it is of.
    pub quant: Quant,
    /// What it is, such as `perplexity` or `gsm8k_exact_match`.
    pub metric: String,
    /// Whether more of it is better; otherwise less is.
    pub higher_is_better: bool,
    /// The figure.
    pub value: f64,
    /// Lower end of its 95 % interval, where it is known.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
    /// How many answers, tokens or questions it is from.
    pub samples: Option<f64>,
    /// Who measured it, and on what.
    pub source: String,
}

impl QualityRow {
    /// Columns of quality.csv.
    pub const HEADER: [&'static str; 8] = ["quant", "metric", "better", "value", "lo", "hi", "samples", "source"];

    /// Which way is good.
    pub fn better(&self) -> Better {
        if self.higher_is_better { Better::Higher } else { Better::Lower }
    }

    /// Reads a row from fields by name; the error names the column.
    pub fn from_fields(fields: &HashMap<String, String>) -> Result<Self, String> {
        let optional = |name: &str| match fields.get(name).map(|text| text.trim()) {
            None | Some("") => Ok(None),
            Some(text) => number(name, text).map(Some),
        };
        let higher_is_better = match text(fields, "better")? {
            "higher" => true,
            "lower" => false,
            other => return Err(format!("column `better`: `{other}` is neither higher nor lower")),
        };
        let value = number("value", text(fields, "value")?)?;
        let (lo, hi) = (optional("lo")?, optional("hi")?);
        if lo.is_some_and(|lo| lo > value) || hi.is_some_and(|hi| hi < value) {
            return Err(format!("column `value`: {value} is not between `lo` and `hi`"));
        }
        Ok(Self {
            quant: text(fields, "quant")?.parse().map_err(|e| format!("column `quant`: {e}"))?,
            metric: text(fields, "metric")?.to_string(),
            higher_is_better,
            value,
            lo,
            hi,
            samples: optional("samples")?,
            source: fields.get("source").cloned().unwrap_or_default(),
        })
    }
}

impl Run {
    /// Reads quality.csv; empty where there is none.
    pub fn quality(&self) -> Result<Vec<QualityRow>, ReadError> {
        let path = self.path.join("quality.csv");
        if path.exists() { read_rows(&path, QualityRow::from_fields) } else { Ok(Vec::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(better: &str, value: &str, lo: &str) -> HashMap<String, String> {
        let values = ["int4", "perplexity", better, value, lo, "", "4096", "llama-perplexity on wikitext-2"];
        QualityRow::HEADER.into_iter().map(String::from).zip(values.map(String::from)).collect()
    }

    #[test]
    fn a_figure_is_read_and_a_bad_one_names_its_column() {
        let row = QualityRow::from_fields(&fields("lower", "6.1", "6.0")).unwrap();
        assert_eq!((row.value, row.lo, row.hi, row.better()), (6.1, Some(6.0), None, Better::Lower));
        assert!(QualityRow::from_fields(&fields("less", "6.1", "")).unwrap_err().contains("`better`"));
        assert!(QualityRow::from_fields(&fields("lower", "NaN", "")).unwrap_err().contains("`value`"));
        assert!(QualityRow::from_fields(&fields("lower", "6.1", "6.2")).unwrap_err().contains("between"));
    }
}
