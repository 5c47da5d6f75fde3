//! An engine without a model, for tests of everything around it: it plays a script of durations on a fake clock,
//! records its calls, and fails on request.

use super::{Engine, EngineError, Generated, Prepared, Step};
use crate::units::{Bytes, Seconds};
use crate::workload::{Case, Quant};
use std::sync::{Arc, Mutex};

/// Tells the time that an engine spent, without spending it.
pub type Advance = Arc<dyn Fn(Seconds) + Send + Sync>;

/// How the engine should misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// Refuse to prepare.
    DoesNotFit,
    /// Fail in the middle of an iteration.
    Fails,
    /// Panic in the middle of an iteration.
    Panics,
    /// Deliver a token too few.
    DropsAToken,
    /// Deliver logits that are not numbers.
    NotFinite,
}

/// The engine.
#[derive(Clone)]
pub struct FakeEngine {
    advance: Advance,
    /// Duration of each prefill and each decode step, by `(iteration, step)`; step 0 is the prefill.
    pub duration: Arc<dyn Fn(usize, usize) -> Seconds + Send + Sync>,
    /// How to misbehave, by case.
    pub fault: Arc<dyn Fn(&Case) -> Fault + Send + Sync>,
    /// Every call, in order.
    pub calls: Arc<Mutex<Vec<String>>>,
    loaded: Option<Quant>,
    iterations: usize,
}

impl FakeEngine {
    /// An engine that takes `prefill` and then `step` for each further token.
    pub fn new(advance: Advance, prefill: Seconds, step: Seconds) -> Self {
        Self {
            advance,
            duration: Arc::new(move |_, index| if index == 0 { prefill } else { step }),
            fault: Arc::new(|_| Fault::None),
            calls: Arc::default(),
            loaded: None,
            iterations: 0,
        }
    }

    fn note(&self, call: String) {
        if let Ok(mut calls) = self.calls.lock() {
            calls.push(call);
        }
    }
}

impl Engine for FakeEngine {
    fn prepare(&mut self, case: &Case) -> Result<Prepared, EngineError> {
        self.note(format!("prepare {case}"));
        if (self.fault)(case) == Fault::DoesNotFit {
            return Err(EngineError::DoesNotFit { needed: Bytes(2e9), available: Bytes(1e9) });
        }
        let loaded = self.loaded != Some(case.quant);
        self.loaded = Some(case.quant);
        self.iterations = 0;
        (self.advance)(Seconds(1.0));
        Ok(Prepared {
            loaded,
            weight_bytes: Bytes(1e9),
            decode_weight_bytes: Bytes(9e8),
            cache_bytes: Bytes(1e6),
            cache_token_bytes: Bytes(4.0),
            ..Prepared::default()
        })
    }

    fn iterate(&mut self, case: &Case, prompts: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError> {
        self.note(format!("iterate {case}"));
        let fault = (self.fault)(case);
        let iteration = self.iterations;
        self.iterations += 1;
        let count = if fault == Fault::DropsAToken { case.gen_tokens() - 1 } else { case.gen_tokens() };
        for index in 0..count {
            (self.advance)((self.duration)(iteration, index));
            match fault {
                Fault::Fails if index == 1 => return Err(EngineError::Failed("as asked".to_string())),
                Fault::Panics if index == 1 => panic!("as asked"),
                _ => {}
            }
            if step().is_break() {
                return Err(EngineError::Stopped);
            }
        }
        Ok(Generated { tokens: vec![vec![0; count]; prompts.len()], finite: fault != Fault::NotFinite })
    }

    fn synchronize(&mut self) -> Result<(), EngineError> {
        self.note("synchronize".to_string());
        Ok(())
    }

    fn vocab_size(&self) -> usize {
        100
    }
}
