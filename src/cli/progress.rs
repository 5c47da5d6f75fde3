//! A progress bar with the current case and the time left; plain lines where there is no terminal.

use super::console::{Console, line, printable};
use crate::job::reporter::{LoadingProgress, SweepProgress};
use crate::measure::{Observer, Phase};
use crate::record::{CaseKey, CaseRow, Outcome};
use crate::units::Quantity;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Shows a sweep.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    total: usize,
    current: String,
    finished: usize,
    began: Instant,
}

impl Progress {
    /// As the terminal and `--quiet` allow.
    pub(crate) fn new(console: &Console) -> Self {
        let bar = console.shows_progress().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("##-"));
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, lines: console.shows_lines(), total: 0, current: String::new(), finished: 0, began: Instant::now() }
    }

    /// Time that the cases which are left would take at the pace so far.
    fn time_left(&self) -> String {
        let left = self.total.saturating_sub(self.finished);
        match self.finished {
            0 => String::new(),
            done => {
                let seconds = self.began.elapsed().as_secs_f64() / done as f64 * left as f64;
                format!(", about {:.0} s left", seconds)
            }
        }
    }

    fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable(&format!("{}: {text}{}", self.current, self.time_left())).into_owned());
        }
    }
}

impl SweepProgress for Progress {
    /// A block at a time.
    fn loading(&self) -> LoadingProgress {
        match self.bar.clone() {
            Some(bar) => Box::new(move |done, all| bar.set_message(format!("loading weights, block {done} of {all}"))),
            None => Box::new(|_, _| ()),
        }
    }

    /// Removes the bar.
    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn case_started(&mut self, index: usize, total: usize, key: &CaseKey) {
        if self.total == 0 {
            // Cases that a resumed run has already are behind us.
            self.total = total - index;
            self.began = Instant::now();
        }
        self.current = key.case.to_string();
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(index as u64);
        }
    }

    fn phase(&mut self, phase: Phase) {
        match phase {
            Phase::Loading => self.message("preparing"),
            Phase::WarmingUp => self.message("warming up"),
            Phase::Measuring { samples, half_width } => {
                let margin = half_width.map_or(String::new(), |w| format!(" ±{:.1} %", w * 100.0));
                self.message(&format!("{samples} samples{margin}"));
            }
        }
    }

    fn case_finished(&mut self, row: &CaseRow) {
        self.finished += 1;
        let text = match row.outcome {
            Outcome::Ok => {
                let rate =
                    row.metrics.decode_tokens_per_s.map_or(String::new(), |r| format!("decode {}", r.value.human()));
                let ttft = row.metrics.ttft.map_or(String::new(), |t| {
                    if row.key.case.generates() { format!(", TTFT {}", t.median.human()) } else { t.median.human() }
                });
                format!("{}: {rate}{ttft}{}", row.key.case, self.time_left())
            }
            other => format!("{}: {other}, {}", row.key.case, row.message),
        };
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.lines => line(&text),
            None => {}
        }
    }
}
