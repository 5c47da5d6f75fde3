//! What a variant made of a data set: one entry for each item, and the figures that sum them up.

use super::bits;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What a data set asks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSetKind {
    /// How probable is this text?
    Text,
    /// Which of these goes on?
    Choice,
    /// What comes next, word for word?
    Generation,
    /// How alike are these two?
    Pairs,
    /// Which label belongs to this?
    Classification,
}

impl DataSetKind {
    /// All of them.
    pub const ALL: [DataSetKind; 5] = [Self::Text, Self::Choice, Self::Generation, Self::Pairs, Self::Classification];

    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Choice => "choice",
            Self::Generation => "generation",
            Self::Pairs => "pairs",
            Self::Classification => "classification",
        }
    }
}

/// A question, a prompt, a pair; of a text, a window or several that follow each other.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ItemResult {
    /// The first 16 digits of a hash of what the model was given.
    pub hash: u64,
    /// Tokens that were given.
    #[serde(with = "bits")]
    pub length: f64,
    /// The main figure's part: minus the log-likelihood of a text's tokens, 1 for a right answer, the cosine of a pair.
    #[serde(with = "bits")]
    pub outcome: f64,
    /// What `outcome` is divided by: the tokens of a text that count, else 1.
    #[serde(with = "bits")]
    pub weight: f64,
    /// How sure the model was: log-likelihood a token of a text, how far the first answer is above the second, the
    /// log-likelihood of the most probable answer, the cosine.
    #[serde(with = "bits")]
    pub score: f64,
    /// What was answered, to be compared with the reference's answer.
    pub answer: u64,
    /// What people say of a pair.
    #[serde(with = "bits::or_none")]
    pub target: Option<f64>,
    /// How rare the tokens are that were given (by the frequencies of tokens).
    #[serde(with = "bits::or_none")]
    pub surprise: Option<f64>,
}

/// How a series is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregation {
    /// Sum over sum.
    Mean,
    /// The exponential of it.
    Exponential,
    /// A share of right answers: 0 or 1 each.
    Binary,
}

impl Aggregation {
    /// The figure of a mean.
    pub fn of(self, mean: f64) -> f64 {
        if self == Self::Exponential { mean.exp() } else { mean }
    }
}

/// A figure with its part from each item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemizedFigure {
    /// What it is called in quality.csv.
    pub metric: Cow<'static, str>,
    /// More is better.
    pub higher_is_better: bool,
    /// How parts become the figure.
    pub summary: Aggregation,
    /// The figure is a distance from the reference, which has none from itself.
    pub from_reference: bool,
    /// Item by item: what is summed up, and what it is divided by.
    #[serde(with = "bits::pairs")]
    pub parts: Vec<(f64, f64)>,
}

/// A figure that is not a mean of parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalarFigure {
    /// What it is called.
    pub metric: Cow<'static, str>,
    /// More is better.
    pub higher_is_better: bool,
    /// The figure.
    #[serde(with = "bits")]
    pub value: f64,
}

/// What a variant made of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What the set asks.
    pub kind: DataSetKind,
    /// Its items, in order.
    pub items: Vec<ItemResult>,
    /// Its figures.
    pub series: Vec<ItemizedFigure>,
    /// Figures without parts.
    pub singles: Vec<ScalarFigure>,
    /// The model's and the people's similarity of each pair.
    #[serde(with = "bits::pairs")]
    pub pairs: Vec<(f64, f64)>,
    /// Nearest neighbour of each sentence among the first ones.
    pub neighbours: Vec<u64>,
    /// Tokens that counted, or items.
    pub samples: usize,
    /// All tokens of a text.
    pub tokens: Option<usize>,
    /// Hash of all tokens of a text.
    pub token_hash: Option<String>,
    /// What the kept tokens of the reference left over, on average.
    #[serde(with = "bits::or_none")]
    pub tail: Option<f64>,
    /// Lines, or windows of a text, that repeat earlier ones and are no items of their own.
    pub repeats: usize,
    /// What tells this data from other data, however both are ordered.
    pub sketch: Vec<u64>,
}

impl Evaluation {
    /// Nothing yet.
    pub fn new(kind: DataSetKind) -> Self {
        Self {
            kind,
            items: Vec::new(),
            series: Vec::new(),
            singles: Vec::new(),
            pairs: Vec::new(),
            neighbours: Vec::new(),
            samples: 0,
            tokens: None,
            token_hash: None,
            tail: None,
            repeats: 0,
            sketch: Vec::new(),
        }
    }
}
