//! What the measuring loop itself costs: the same code path, with an engine that does nothing.

use super::clock::{Clock, SystemClock};
use super::runner::time_iteration;
use crate::engine::{Engine, EngineError, Generated, Prepared, Step};
use crate::record::run::OverheadRecord;
use crate::statistics::bootstrap::median;
use crate::units::Seconds;
use crate::workload::{Case, Quant};

/// Iterations that each length is timed over.
const ITERATIONS: usize = 200;
/// Tokens of the longer iteration.
const TOKENS: usize = 258;

/// An engine whose tokens are there at once.
struct Idle;

impl Engine for Idle {
    fn prepare(&mut self, _: &Case) -> Result<Prepared, EngineError> {
        Ok(Prepared::default())
    }

    fn iterate(&mut self, case: &Case, _: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError> {
        for _ in 0..case.gen_tokens() {
            if step().is_break() {
                return Err(EngineError::Stopped);
            }
        }
        Ok(Generated { tokens: vec![vec![0; case.gen_tokens()]; case.batch], finite: true })
    }

    fn synchronize(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn vocab_size(&self) -> usize {
        1
    }
}

/// Times short and long iterations of an idle engine; the difference is the cost of the tokens.
pub fn measure() -> Option<OverheadRecord> {
    let timed = |gen_tokens: usize| -> Option<f64> {
        let case = Case::new(Quant::F32, 1, 1, gen_tokens);
        let durations: Vec<f64> = (0..ITERATIONS)
            .filter_map(|_| {
                let start = SystemClock.now();
                time_iteration(&mut Idle, &SystemClock, &case, &[vec![0]], &|_| true).ok()?;
                Some((SystemClock.now() - start).0)
            })
            .collect();
        median(&durations)
    };
    let (short, long) = (timed(2)?, timed(TOKENS)?);
    let per_token = ((long - short) / (TOKENS - 2) as f64).max(0.0);
    Some(OverheadRecord {
        per_iteration_s: Seconds((short - 2.0 * per_token).max(0.0)),
        per_token_s: Seconds(per_token),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loop_costs_far_less_than_a_token() {
        let overhead = super::measure().unwrap();
        assert!(overhead.per_token_s.0 < 1e-4, "{overhead:?}");
        assert!(overhead.per_iteration_s.0 < 1e-2, "{overhead:?}");
    }
}
