//! What a job says while it works: notes, warnings and progress. A terminal is one reporter, a list another.

use super::Stop;
use crate::measure::load::LoadObserver;
use crate::measure::{Observer, Phase};
use crate::record::{CaseKey, CaseRow};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// Tells of the blocks of a model that have been loaded, and of how many there are.
pub type LoadingProgress = Box<dyn FnMut(usize, usize) + Send>;

/// Hears what a job says.
pub trait Reporter {
    /// What is going on.
    fn note(&self, text: &str);

    /// What may be wrong.
    fn warning(&self, text: &str);

    /// Whether somebody watches, so that downloads show how far they are.
    fn shows_progress(&self) -> bool {
        false
    }

    /// Shows a sweep as it goes.
    fn sweep(&self) -> Box<dyn SweepProgress> {
        Box::new(Unseen)
    }

    /// Shows a load test as it goes.
    fn load(&self) -> Box<dyn LoadProgress> {
        Box::new(Unseen)
    }
}

/// Shows the cases of a sweep.
pub trait SweepProgress: Observer {
    /// Shows the loading of weights.
    fn loading(&self) -> LoadingProgress {
        Box::new(|_, _| ())
    }

    /// Takes away what is shown.
    fn finish(&self) {}
}

/// Shows the steps of a load test.
pub trait LoadProgress: LoadObserver {
    /// Says something beside what is shown.
    fn note(&self, _text: &str) {}

    /// Takes away what is shown.
    fn finish(&self) {}
}

/// Progress that nobody sees.
struct Unseen;

impl Observer for Unseen {}
impl SweepProgress for Unseen {}
impl LoadObserver for Unseen {}
impl LoadProgress for Unseen {}

/// Says nothing to anybody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn note(&self, _text: &str) {}
    fn warning(&self, _text: &str) {}
}

/// Keeps what was said.
#[derive(Debug, Default)]
pub struct Recording(Mutex<Vec<String>>);

impl Recording {
    /// What was said, in order; warnings begin with `warning: `.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn keep(&self, line: String) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
    }
}

impl Reporter for Recording {
    fn note(&self, text: &str) {
        self.keep(text.to_string());
    }

    fn warning(&self, text: &str) {
        self.keep(format!("warning: {text}"));
    }
}

/// What every part of a job has at hand: whom to tell, and whether to stop.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) reporter: &'a dyn Reporter,
    pub(super) stop: &'a Stop,
}

impl Context<'_> {
    pub(super) fn note(&self, text: impl AsRef<str>) {
        self.reporter.note(text.as_ref());
    }

    pub(super) fn warn(&self, text: impl AsRef<str>) {
        self.reporter.warning(text.as_ref());
    }
}

/// A sweep as it is shown, which ends when the job is to stop.
pub(super) struct Stoppable<'a> {
    pub(super) progress: &'a mut dyn SweepProgress,
    pub(super) stop: &'a Stop,
}

impl Observer for Stoppable<'_> {
    fn case_started(&mut self, index: usize, total: usize, key: &CaseKey) {
        self.progress.case_started(index, total, key);
    }

    fn phase(&mut self, phase: Phase) {
        self.progress.phase(phase);
    }

    fn case_finished(&mut self, row: &CaseRow) {
        self.progress.case_finished(row);
    }

    fn stop_flag(&self) -> Option<&AtomicBool> {
        Some(self.stop.flag())
    }

    fn should_stop(&self) -> bool {
        self.stop.is_asked()
    }
}
