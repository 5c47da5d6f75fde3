//! What run.json says of how quality was measured.

use super::drift::DriftWindow;
use super::run::ModelRecord;
use crate::units::{Bytes, Seconds};
use crate::workload::Quant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How quality was measured.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct QualityRecord {
    /// The level that all variants are held against.
    pub reference: Quant,
    /// The model that it is of, where it is another than the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_model: Option<ModelRecord>,
    /// The change that sample sizes are counted for: a share of right answers, or of the perplexity.
    pub margin: f64,
    /// The data sets.
    pub data: Vec<DataRecord>,
    /// What was compared, the reference first.
    pub variants: Vec<VariantRecord>,
    /// What Wanda weighed activations by, where it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationRecord>,
    /// What has changed since another run, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftWindow>,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct DataRecord {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// `text`, `choice`, `generation`, `pairs` or `classification`.
    pub kind: String,
    /// BLAKE3 of the file.
    pub hash: String,
    /// Tokens that counted, or items.
    pub samples: usize,
    /// All tokens of a text.
    pub tokens: Option<usize>,
    /// The first 16 digits of BLAKE3 over the tokens of a text.
    pub token_hash: Option<String>,
    /// Tokens of a window of a text.
    pub context: Option<usize>,
    /// How far windows are apart; absent where each stands alone and its second half counts.
    pub stride: Option<usize>,
    /// What windows begin with, where the tokenizer asks for it.
    pub bos: Option<u32>,
    /// The share of the reference's probability that the kept tokens leave over.
    pub tail: Option<f64>,
    /// Lines, or windows of a text, that repeat earlier ones: intervals and tests count them together with those as one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub repeats: usize,
    /// What is odd about it, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What was compared.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct VariantRecord {
    /// The level.
    pub quant: Quant,
    /// How it was pruned; empty for not at all.
    pub pruning: String,
    /// Bytes of the matrices on disk, zeros left out where that is shorter.
    pub stored_bytes: Bytes,
    /// Bytes of the matrices in memory.
    pub resident_bytes: Bytes,
    /// Share of the weights that pruning set to zero.
    pub sparsity: f64,
    /// Share of the weights that are stored in an encoding of the level itself: rows that its blocks do not divide are not.
    /// With 0 nothing is at that level, and no figure is about it. Absent where it was not evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_level: Option<f64>,
    /// How long all data sets took.
    pub evaluation_s: Seconds,
    /// Which matrices got another encoding than the level's own.
    pub notes: Vec<String>,
    /// Why it could not be evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl VariantRecord {
    /// The level with its pruning, as people read it.
    pub fn name(&self) -> String {
        format!("{} {}", self.quant, self.pruning).trim_end().to_string()
    }
}

/// Text that Wanda weighed activations by.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct CalibrationRecord {
    /// Where it is from.
    pub location: String,
    /// Windows of it.
    pub windows: usize,
    /// Tokens of each.
    pub context: usize,
}

/// The file that keeps what is finished of the variant at this place, while others are not.
pub fn finished_file(index: usize) -> String {
    format!("quality-{index}.finished.json")
}
