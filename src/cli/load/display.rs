//! A load test as it goes: a live view on a terminal, plain lines elsewhere.

use crate::cli::console::{Console, line, printable, printable_lines};
use crate::job::reporter::LoadProgress;
use crate::measure::load::histogram::Times;
use crate::measure::load::{Load, LoadObserver, StepSnapshot};
use crate::record::{Latency, StepRecord, StepVerdict};
use crate::units::{Seconds, digits};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows a load test on the terminal while it runs.
pub(crate) struct LoadDisplay {
    bar: Option<ProgressBar>,
    lines: bool,
    last_line: Instant,
    /// Answers and when they were counted, for the rate of the last moments.
    before: (Instant, u64),
    rate: f64,
}

impl LoadDisplay {
    /// As the terminal and `--quiet` allow.
    pub(crate) fn new(console: &Console) -> Self {
        let bar = console.shows_progress().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        Self { bar, lines: console.shows_lines(), last_line: now, before: (now, 0), rate: 0.0 }
    }

    fn count_rate(&mut self, answered: u64) {
        let (at, count) = self.before;
        let seconds = at.elapsed().as_secs_f64();
        if answered < count {
            // Another step has begun.
            self.before = (Instant::now(), answered);
        } else if seconds >= 1.0 {
            self.rate = (answered - count) as f64 / seconds;
            self.before = (Instant::now(), answered);
        }
    }
}

/// A step in a few words.
fn one_line(step: &StepRecord) -> String {
    let time = |latency: &Latency| {
        let tail = latency.p99.or(latency.p90).filter(|_| !step.is_closed());
        latency.p50.map(|median| {
            let tail = tail.map_or(String::new(), |tail| {
                let name = if latency.p99.is_some() { "p99" } else { "p90" };
                format!(", {name} {}", Seconds(tail.value))
            });
            format!("{}{tail}", Seconds(median.value))
        })
    };
    let parts = [("TTFT", &step.ttft_s), ("TPOT", &step.tpot_s), ("E2E", &step.e2e_s)];
    let times: Vec<String> =
        parts.iter().filter_map(|(name, latency)| Some(format!("{name} {}", time(latency)?))).collect();
    let verdict = step.verdict.map_or(String::new(), |verdict| {
        let word = match verdict {
            StepVerdict::Holds => "holds",
            StepVerdict::HoldsBarely => "holds (not certain)",
            StepVerdict::BreaksBarely => "breaks (not certain)",
            StepVerdict::Breaks => "breaks",
        };
        format!(": {word}")
    });
    let cut = step.cut_short.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let disturbed =
        if step.disturbed.is_empty() { String::new() } else { format!(" (doubtful: {})", step.disturbed.join(", ")) };
    format!("{}, {} requests{verdict}{disturbed}{cut}; {}", rates(step), step.requests, times.join("; "))
}

/// What was offered and what was answered, which are one in a closed loop.
fn rates(step: &StepRecord) -> String {
    let answered = digits(step.answered_requests_per_s.0);
    if step.is_closed() {
        format!("{answered} req/s answered")
    } else {
        format!("{} req/s offered, {answered} answered", digits(step.offered_requests_per_s.0))
    }
}

impl LoadObserver for LoadDisplay {
    fn live(&mut self, live: &StepSnapshot<'_>) {
        let tally = live.tally;
        self.count_rate(tally.answered() + tally.warm_up);
        let wants_line = self.lines && self.last_line.elapsed() >= LINE_EVERY;
        if self.bar.is_none() && !wants_line {
            return;
        }
        let time = |times: &Times| match (times.so_far(0.5), times.so_far(0.99)) {
            (Some(p50), Some(p99)) => format!("{} / {}", Seconds(p50), Seconds(p99)),
            _ => "-".to_string(),
        };
        let phase = if live.elapsed_s < live.plan.warm_up_s { "warming up" } else { "measuring" };
        let failed = match tally.failed() {
            0 => "none".to_string(),
            count => format!("{count} ({})", tally.messages.first().cloned().unwrap_or_default()),
        };
        let offered = match &live.plan.load {
            Load::Open { rate, .. } => format!("{} req/s offered", digits(*rate)),
            other => other.arrival(),
        };
        let first = format!(
            "{phase} {:.0} s: {offered}, {} req/s answered, {} in flight, {} sent",
            live.elapsed_s,
            digits(self.rate),
            live.in_flight,
            live.sent
        );
        let second = format!(
            "TTFT {}, TPOT {}, E2E {} (p50 / p99 so far); failed: {failed}",
            time(&tally.ttft),
            time(&tally.tpot),
            time(&tally.e2e)
        );
        match &self.bar {
            // What a server says is among it.
            Some(bar) => bar.set_message(format!("{}\n  {}", printable(&first), printable(&second))),
            None => {
                self.last_line = Instant::now();
                line(&format!("{first}; {second}"));
            }
        }
    }

    fn step_ended(&mut self, record: &StepRecord) {
        self.note(&one_line(record));
    }
}

impl LoadProgress for LoadDisplay {
    /// Says something above the view.
    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(printable_lines(text)),
            None if self.lines => line(text),
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
