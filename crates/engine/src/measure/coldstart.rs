//! The phases of a start, within the process that starts.

use super::clock::Clock;
use crate::engine::{Engine, EngineError};
use crate::units::Seconds;
use crate::workload::Case;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// What a started process says of itself. Times are in seconds; see [`crate::record::coldstart::ColdStartRow`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// From the start of the process to its first line of code.
    pub process_s: f64,
    /// Reading the weights.
    pub read_s: f64,
    /// Making the model of them.
    pub load_s: f64,
    /// Copying them to the device, opening it included; `None` on the CPU.
    pub copy_s: Option<f64>,
    /// The first pass.
    pub warm_up_s: f64,
    /// The first token of a request after that.
    pub first_token_s: f64,
    /// From the start of the process to that token.
    pub total_s: f64,
}

/// Reads files to their ends; the bytes.
pub fn read_through(files: &[PathBuf]) -> io::Result<u64> {
    let mut buffer = vec![0u8; 8 << 20];
    let mut bytes = 0;
    for path in files {
        let mut file = std::fs::File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

/// Runs the phases, `begun` being when the process was started and `entered` when its code began, by `clock`. `open`
/// makes the engine after the weights have been read, and says how long opening the device took.
pub fn phases(
    clock: &dyn Clock,
    begun: Seconds,
    entered: Seconds,
    files: &[PathBuf],
    case: &Case,
    open: impl FnOnce() -> Result<(Box<dyn Engine>, Seconds), EngineError>,
) -> Result<Phases, EngineError> {
    let failed = |e: io::Error| EngineError::Failed(e.to_string());
    read_through(files).map_err(failed)?;
    let read = clock.now();
    let (mut engine, opening) = open()?;
    engine.prepare(case)?;
    engine.synchronize()?;
    let loaded = clock.now();
    let copying = engine.copy_time().map(|copy| copy.0 + opening.0);
    let prompts = vec![(0..case.prompt_tokens() as u32).map(|t| t % engine.vocab_size() as u32).collect(); case.batch];
    let mut pass = || -> Result<Seconds, EngineError> {
        let mut first = None;
        let mut step = || {
            first.get_or_insert(clock.now());
            ControlFlow::Continue(())
        };
        engine.iterate(case, &prompts, &mut step)?;
        first.ok_or(EngineError::Failed("no token came".to_string()))
    };
    pass()?;
    let warm = clock.now();
    let first = pass()?;
    Ok(Phases {
        process_s: entered.0 - begun.0,
        read_s: read.0 - entered.0,
        load_s: (loaded.0 - read.0 - copying.unwrap_or(0.0)).max(0.0),
        copy_s: copying,
        warm_up_s: warm.0 - loaded.0,
        first_token_s: first.0 - warm.0,
        total_s: first.0 - begun.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::measure::clock::FakeClock;
    use crate::workload::Quant;
    use std::sync::Arc;

    #[test]
    fn phases_follow_each_other_and_add_up() {
        let clock = FakeClock::default();
        clock.advance(Seconds(10.0));
        let begun = clock.now();
        clock.advance(Seconds(0.5));
        let entered = clock.now();
        let case = Case::new(Quant::F16, 1, 8, 1);
        let opened = clock.clone();
        let phases = phases(&clock, begun, entered, &[], &case, move || {
            opened.advance(Seconds(2.0));
            let engine = FakeEngine::new(Arc::new(move |by| opened.advance(by)), Seconds(0.25), Seconds(0.1));
            Ok((Box::new(engine) as Box<dyn Engine>, Seconds(0.0)))
        })
        .unwrap();
        assert_eq!((phases.process_s, phases.read_s, phases.copy_s), (0.5, 0.0, None));
        assert!(phases.load_s >= 2.0 && phases.first_token_s > 0.0, "{phases:?}");
        let parts = [phases.process_s, phases.read_s, phases.load_s, phases.warm_up_s, phases.first_token_s];
        assert!((parts.iter().sum::<f64>() - phases.total_s).abs() < 1e-9, "{phases:?}");
        let missing = [PathBuf::from("/nowhere")];
        let open = || Err(EngineError::Failed("not reached".to_string()));
        assert!(super::phases(&clock, begun, entered, &missing, &case, open).is_err());
    }
}
