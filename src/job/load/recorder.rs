//! A load test as it goes: every request into requests.csv, what is shown to the reporter, and why it ends.

use crate::job::Stop;
use crate::job::error::{JobError, failed};
use crate::job::reporter::LoadProgress;
use crate::measure::load::{LoadObserver, Sample, StepSnapshot};
use crate::record::{RequestLog, StepRecord};
use std::io;

/// Records requests to the log and shows steps while a load test runs.
pub(super) struct LoadRecorder {
    progress: Box<dyn LoadProgress>,
    log: RequestLog,
    /// The first error of the file; the test ends with it.
    failed: Option<io::Error>,
    stop: Stop,
}

impl LoadRecorder {
    pub(super) fn new(progress: Box<dyn LoadProgress>, log: RequestLog, stop: Stop) -> Self {
        Self { progress, log, failed: None, stop }
    }

    /// Says something beside what is shown.
    pub(super) fn note(&self, text: &str) {
        self.progress.note(text);
    }

    /// Ends what is shown and makes what was kept durable.
    pub(super) fn finish(self) -> Result<(), JobError> {
        self.progress.finish();
        let path = self.log.path().display().to_string();
        let kept = self.failed.map_or(Ok(()), Err).and_then(|()| self.log.finish());
        kept.or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failed(format!("the disk is full while writing {path}: free some space, then run again"))
            }
            _ => failed(format!("{path}: {error}")),
        })
    }
}

impl LoadObserver for LoadRecorder {
    fn live(&mut self, live: &StepSnapshot<'_>) {
        self.progress.live(live);
    }

    fn step_ended(&mut self, record: &StepRecord) {
        self.progress.step_ended(record);
    }

    fn reason_to_stop(&self) -> Option<String> {
        match (self.stop.is_asked(), &self.failed) {
            (true, _) => Some("stopped by the user".to_string()),
            (false, Some(error)) => Some(format!("{} could not be written: {error}", RequestLog::FILE)),
            (false, None) => None,
        }
    }

    fn request_ended(&mut self, sample: &Sample, step: usize) {
        if self.failed.is_none()
            && let Err(error) = self.log.add(&sample.row(step))
        {
            self.failed = Some(error);
        }
    }
}
