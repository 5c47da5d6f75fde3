//! What models of a task are paid for.

use super::ranking::Ranking;
use super::row::RankRow;
use crate::units::money::CostInterval;
use crate::workload::{Priced, Task};

impl Ranking {
    /// Tokens of a request that costs are counted by: those generated, or those that go in where none are.
    pub fn counted_tokens(&self) -> f64 {
        if self.gen_tokens > 0.0 { self.gen_tokens } else { self.prompt_tokens }
    }

    /// What the model is paid for: a million generated tokens, or a thousand embeddings or images.
    pub fn unit(&self) -> &'static str {
        unit(self.task)
    }

    /// The cost of that.
    pub fn unit_cost(&self, row: &RankRow) -> Option<CostInterval> {
        unit_cost(self.task, row)
    }
}

/// What models of a task are paid for.
pub(super) fn unit(task: Task) -> &'static str {
    task.info().unit
}

/// The cost of that.
pub(super) fn unit_cost(task: Task, row: &RankRow) -> Option<CostInterval> {
    match task.info().priced {
        Priced::MillionTokens => row.usd_per_million_tokens,
        Priced::ThousandRequests => row.usd_per_thousand_requests,
    }
}
