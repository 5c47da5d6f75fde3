//! (4) Measuring: clocks, warm-up, stopping, statistics, and the loop over a sweep.

pub mod clock;
pub mod coldstart;
pub mod delivered;
pub mod energy;
pub mod load;
pub mod overhead;
pub mod profile;
pub mod runner;
pub mod steady;
pub mod stopping;
pub mod summary;

use crate::record::{CaseKey, CaseRow};
use std::sync::atomic::{AtomicBool, Ordering};

/// Told what a run is doing, and asked whether to go on.
pub trait Observer {
    /// A case begins: number `index` of `total`.
    fn case_started(&mut self, _index: usize, _total: usize, _key: &CaseKey) {}
    /// Within a case.
    fn phase(&mut self, _phase: Phase) {}
    /// A case ended.
    fn case_finished(&mut self, _row: &CaseRow) {}
    /// Set when the user wants to stop; looked at between two tokens.
    fn stop_flag(&self) -> Option<&AtomicBool> {
        None
    }
    /// The user wants to stop.
    fn should_stop(&self) -> bool {
        self.stop_flag().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// What a case is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Reading or making weights.
    Loading,
    /// Iterations that do not count.
    WarmingUp,
    /// Iterations that count, and the relative half-width of the interval so far.
    Measuring {
        /// Samples so far.
        samples: usize,
        /// Half-width of the 95 % interval / median, once there is one.
        half_width: Option<f64>,
    },
}

/// An observer that does nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
