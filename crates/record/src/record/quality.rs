//! quality.csv: how good the answers of a level are. One row is one figure of one level; who measures it (this program,
//! or another whose figures were put into this form) is a column.

use super::Run;
use super::metric::Better;
use super::plausible::within;
use super::reader::{ReadError, read_rows};
use super::sample::{number_field as number, text_field as text};
use crate::workload::Quant;
use serde::Serialize;
use std::collections::HashMap;

/// A verdict: what others are held against. The words never say "lossless", which no number of items shows.
pub const REFERENCE: &str = "reference";
/// Worse, beyond chance.
pub const DEGRADED: &str = "degraded";
/// Better, beyond chance.
pub const IMPROVED: &str = "improved";
/// Not beyond chance; what could have been found stands beside it.
pub const UNCHANGED: &str = "no detected change";
/// Too few items for a test.
pub const NOT_TESTED: &str = "not tested";
/// Below this mean divergence, in nats, it does not rank variants (arXiv 2606.19558).
pub const DIVERGENCE_FLOOR: f64 = 0.01;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityRow {
    /// The level that it is of.
    pub quant: Quant,
    /// How its weights were pruned, such as `wanda:0.5`; empty for not at all.
    pub pruning: String,
    /// The data set; empty where whoever wrote the file did not say.
    pub data: String,
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
    /// How far it is above that of the reference, on the same items.
    pub delta: Option<f64>,
    /// Lower end of the 95 % interval of the difference.
    pub delta_lo: Option<f64>,
    /// Upper end.
    pub delta_hi: Option<f64>,
    /// Chance of such a difference where there is none, corrected for the number of variants (Holm).
    pub p_value: Option<f64>,
    /// The least true difference that so many items find, four times of five.
    pub detectable: Option<f64>,
    /// Tokens or items for a difference of the margin that was asked for.
    pub samples_needed: Option<f64>,
    /// `reference`, `degraded`, `improved`, `no detected change`, `not tested`; empty where nothing was compared.
    pub verdict: String,
}

impl QualityRow {
    /// Columns of quality.csv.
    pub const HEADER: [&'static str; 17] = [
        "quant",
        "metric",
        "better",
        "value",
        "lo",
        "hi",
        "samples",
        "source",
        "pruning",
        "data",
        "delta",
        "delta_lo",
        "delta_hi",
        "p_value",
        "detectable",
        "samples_needed",
        "verdict",
    ];

    /// The fields in the order of [`QualityRow::HEADER`].
    pub fn fields(&self) -> Vec<String> {
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        vec![
            self.quant.to_string(),
            self.metric.clone(),
            if self.higher_is_better { "higher" } else { "lower" }.to_string(),
            self.value.to_string(),
            number(self.lo),
            number(self.hi),
            number(self.samples),
            self.source.clone(),
            self.pruning.clone(),
            self.data.clone(),
            number(self.delta),
            number(self.delta_lo),
            number(self.delta_hi),
            number(self.p_value),
            number(self.detectable),
            number(self.samples_needed),
            self.verdict.clone(),
        ]
    }

    /// The level with its pruning, as people read it.
    pub fn variant(&self) -> String {
        format!("{} {}", self.quant, self.pruning).trim_end().to_string()
    }

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
        let (delta, delta_lo, delta_hi) = (optional("delta")?, optional("delta_lo")?, optional("delta_hi")?);
        if delta.is_none() && (delta_lo.is_some() || delta_hi.is_some()) {
            return Err("column `delta` is empty, but an end of its interval is not".to_string());
        }
        if delta.is_some_and(|delta| !within(delta, delta_lo, delta_hi)) {
            return Err("column `delta` is not between `delta_lo` and `delta_hi`".to_string());
        }
        let p_value = optional("p_value")?;
        if let Some(p) = p_value.filter(|p| !(0.0..=1.0).contains(p)) {
            return Err(format!("column `p_value`: {p} is no chance from 0 to 1"));
        }
        for name in ["samples", "detectable", "samples_needed"] {
            if let Some(below) = optional(name)?.filter(|number| *number < 0.0) {
                return Err(format!("column `{name}`: {below} is below 0"));
            }
        }
        let word = |name: &str| fields.get(name).cloned().unwrap_or_default();
        Ok(Self {
            quant: text(fields, "quant")?.parse().map_err(|e| format!("column `quant`: {e}"))?,
            metric: text(fields, "metric")?.to_string(),
            higher_is_better,
            value,
            lo,
            hi,
            samples: optional("samples")?,
            source: word("source"),
            pruning: word("pruning"),
            data: word("data"),
            delta,
            delta_lo,
            delta_hi,
            p_value,
            detectable: optional("detectable")?,
            samples_needed: optional("samples_needed")?,
            verdict: word("verdict"),
        })
    }
}

/// One question, prompt or pair, or a few windows of a text, as one variant answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRow {
    /// The data set.
    pub data: String,
    /// The level.
    pub quant: Quant,
    /// How it was pruned; empty for not at all.
    pub pruning: String,
    /// What the model was given, as 16 hexadecimal digits of a hash.
    pub hash: String,
    /// Tokens that were given.
    pub length: f64,
    /// The main figure's part: minus the log-likelihood of a text, 1 for a right answer, the cosine of a pair.
    pub outcome: f64,
    /// What outcomes are divided by: tokens of a text, else 1.
    pub weight: f64,
    /// How sure the model was (docs/method/drift.md#what-is-tested says how for each kind).
    pub score: f64,
    /// What people say of a pair; empty elsewhere.
    pub target: Option<f64>,
    /// How rare its tokens are, by the half of the items that frequencies were counted on; empty for that half.
    pub surprise: Option<f64>,
}

impl ItemRow {
    /// The file that holds them.
    pub const FILE: &'static str = "quality_items.csv";
    /// Its columns.
    pub const HEADER: [&'static str; 10] =
        ["data", "quant", "pruning", "hash", "length", "outcome", "weight", "score", "target", "surprise"];

    /// The fields in the order of [`ItemRow::HEADER`].
    pub fn fields(&self) -> Vec<String> {
        vec![
            self.data.clone(),
            self.quant.to_string(),
            self.pruning.clone(),
            self.hash.clone(),
            self.length.to_string(),
            self.outcome.to_string(),
            self.weight.to_string(),
            self.score.to_string(),
            self.target.map_or(String::new(), |target| target.to_string()),
            self.surprise.map_or(String::new(), |surprise| surprise.to_string()),
        ]
    }

    /// Reads a row from fields by name; the error names the column.
    pub fn from_fields(fields: &HashMap<String, String>) -> Result<Self, String> {
        let optional = |name: &str| match fields.get(name).map(|text| text.trim()) {
            None | Some("") => Ok(None),
            Some(text) => number(name, text).map(Some),
        };
        let value = |name: &str| number(name, text(fields, name)?);
        for name in ["length", "weight"] {
            if value(name)? < 0.0 {
                return Err(format!("column `{name}` is below 0"));
            }
        }
        Ok(Self {
            data: text(fields, "data")?.to_string(),
            quant: text(fields, "quant")?.parse().map_err(|e| format!("column `quant`: {e}"))?,
            pruning: text(fields, "pruning")?.to_string(),
            hash: text(fields, "hash")?.to_string(),
            length: value("length")?,
            outcome: value("outcome")?,
            weight: value("weight")?,
            score: value("score")?,
            target: optional("target")?,
            surprise: optional("surprise")?,
        })
    }
}

/// The file that holds how often each token of a data set was given.
pub fn token_counts_file(data: &str) -> String {
    format!("{data}.token_counts.csv")
}

impl Run {
    /// Reads the items that quality was measured on; empty where there are none.
    pub fn quality_items(&self) -> Result<Vec<ItemRow>, ReadError> {
        let path = self.path.join(ItemRow::FILE);
        if path.exists() { read_rows(&path, ItemRow::from_fields) } else { Ok(Vec::new()) }
    }

    /// How often each token was given in the counted half of a data set's items: number of the token, count. Empty where
    /// it was not counted.
    pub fn token_counts(&self, data: &str) -> Result<Vec<(u32, u64)>, ReadError> {
        let path = self.path.join(token_counts_file(data));
        let parse = |fields: &HashMap<String, String>| {
            let token = text(fields, "token")?.parse().map_err(|e| format!("column `token`: {e}"))?;
            let count = text(fields, "count")?.parse().map_err(|e| format!("column `count`: {e}"))?;
            Ok((token, count))
        };
        if path.exists() { read_rows(&path, parse) } else { Ok(Vec::new()) }
    }

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
        // As other programs write them: without the later columns.
        let names = QualityRow::HEADER[..values.len()].iter().map(|name| name.to_string());
        names.zip(values.map(String::from)).collect()
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
