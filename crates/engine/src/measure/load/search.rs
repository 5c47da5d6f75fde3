//! The steps of a search: doubled (or halved) until the SLO breaks (or holds), bisected on the logarithm, and run again.
//!
//! What is said of a rate is what its last run says: a run that follows is at least as long as the one before. A break that
//! ends the climb, one that others on the machine may have caused, and the one that the limit stands on are run again: one bad
//! moment is no limit. The rate that is found is run again for three times as long before it is believed; where it breaks
//! then, the search goes on below it.

use crate::record::{StepRecord, StepVerdict, TermRecord};

/// The settings of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchSettings {
    /// The first rate.
    pub start: f64,
    /// The limit is found when the rates that hold and break are within this share.
    pub precision: f64,
    /// The most steps, those that are run again not among them.
    pub most_steps: usize,
    /// The highest rate that is tried.
    pub most_rate: f64,
    /// The lowest: where one request meets hardly any other, a lower rate does not help either.
    pub least_rate: f64,
}

/// What a step is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To find the order of magnitude.
    Seek,
    /// To find the limit.
    Narrow,
    /// To see whether a break comes again.
    Again,
    /// The same of the break that the limit stands on, for as long as what is certain.
    Recheck,
    /// To be certain that a rate holds.
    Repeat,
}

/// A step that a search wants run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedStep {
    /// Requests a second.
    pub rate: f64,
    /// The share by which rates have to differ for it to tell them apart.
    pub resolution: f64,
    /// What it is for.
    pub purpose: Purpose,
}

/// Runs a step; `None` where the search has to end.
pub type RunStep<'a> = dyn FnMut(&PlannedStep) -> Option<StepRecord> + 'a;

/// The factor to the next rate while nothing has broken, or held, yet, and what steps tell apart then.
const FACTOR: f64 = 2.0;
const COARSE: f64 = 0.5;
/// Steps beyond the limit that are spent on being certain, and the least stride between them.
const MOST_STRIDES: usize = 4;
const LEAST_STRIDE: f64 = 0.05;
/// Runs of a rate whose breaks are doubtful, and steps that are run again for such a reason in all.
const MOST_RUNS: usize = 2;
const MOST_AGAIN: usize = 6;
/// Checks of the break that a limit stands on.
const MOST_RECHECKS: usize = 6;
/// Standard deviations beyond what is allowed that are certain.
const CERTAIN: f64 = 1.96;
/// Rates whose long run may break before the search gives up being certain.
const MOST_REPEATS: usize = 6;

/// A step that was run.
#[derive(Debug, Clone)]
pub struct CompletedStep {
    /// What was asked for.
    pub planned: PlannedStep,
    /// What came of it.
    pub step: StepRecord,
}

impl CompletedStep {
    fn holds(&self) -> bool {
        self.step.verdict.is_some_and(StepVerdict::holds)
    }
}

/// The steps of a search, and whether it was stopped.
#[derive(Debug, Clone, Default)]
pub struct SearchResult {
    /// In the order in which they were run.
    pub steps: Vec<CompletedStep>,
    /// The user stopped it, or the server went away.
    pub stopped: bool,
}

/// Runs steps until the limit is known as well as was asked, and then until it is certain.
pub fn search(how: &SearchSettings, run: &mut RunStep<'_>) -> SearchResult {
    let mut searched = SearchResult::default();
    while let Some(planned) = searched.next(how) {
        match run(&planned) {
            Some(step) => searched.steps.push(CompletedStep { planned, step }),
            None => {
                searched.stopped = true;
                break;
            }
        }
    }
    searched
}

impl SearchResult {
    /// The last run of each rate, lowest rate first: what is known of it.
    fn known(&self) -> Vec<&CompletedStep> {
        let mut known: Vec<&CompletedStep> = Vec::new();
        for completed in self.steps.iter().rev() {
            if known.iter().all(|later| later.planned.rate != completed.planned.rate) {
                known.push(completed);
            }
        }
        known.sort_by(|a, b| a.planned.rate.total_cmp(&b.planned.rate));
        known
    }

    /// The highest rate below all that break, and the lowest that breaks.
    ///
    /// A step that holds above one that breaks is luck on one side: the lower is believed, as money is spent on it.
    pub fn bracket(&self) -> (Option<&CompletedStep>, Option<&CompletedStep>) {
        let known = self.known();
        let first_broken = known.iter().position(|completed| !completed.holds());
        let broken = first_broken.map(|at| known[at]);
        let held = known[..first_broken.unwrap_or(known.len())].last().copied();
        (held, broken)
    }

    /// The highest rate below all that break that was run again, for longer, and held.
    pub fn confirmed(&self) -> Option<&CompletedStep> {
        self.held_again().last().copied()
    }

    /// The highest of those that certainly hold by their interval too.
    pub fn surely_holds(&self) -> Option<f64> {
        let held = self.held_again();
        let sure = held.iter().rev().find(|completed| completed.step.verdict == Some(StepVerdict::Holds));
        sure.map(|completed| completed.planned.rate)
    }

    fn held_again(&self) -> Vec<&CompletedStep> {
        let mut known = self.known();
        known.truncate(known.iter().position(|completed| !completed.holds()).unwrap_or(known.len()));
        known.retain(|completed| completed.planned.purpose == Purpose::Repeat);
        known
    }

    /// The lowest rate that certainly breaks: by the interval of its last run, or by all its runs together.
    pub fn surely_breaks(&self) -> Option<f64> {
        let known = self.known();
        let sure = known.into_iter().find(|completed| {
            let rate = completed.planned.rate;
            !completed.holds() && (completed.step.verdict == Some(StepVerdict::Breaks) || self.excess(rate) >= CERTAIN)
        });
        sure.map(|completed| completed.planned.rate)
    }

    /// Standard deviations by which the runs of a rate are beyond what is allowed, all together (Stouffer).
    fn excess(&self, rate: f64) -> f64 {
        let of_term = |term: &TermRecord| {
            let (share, half) = (term.share(), term.share() - term.share_lo);
            if half > 0.0 { CERTAIN * (share - term.allowed()) / half } else { 0.0 }
        };
        let of_run =
            |completed: &CompletedStep| completed.step.terms.iter().map(of_term).fold(f64::NEG_INFINITY, f64::max);
        let runs: Vec<f64> = self.runs(rate).map(of_run).filter(|excess| excess.is_finite()).collect();
        runs.iter().sum::<f64>() / (runs.len().max(1) as f64).sqrt()
    }

    /// The highest rate that held when it was first looked for, whatever became of it.
    pub fn found_first(&self) -> Option<f64> {
        self.steps
            .iter()
            .find(|completed| completed.planned.purpose == Purpose::Repeat)
            .map(|completed| completed.planned.rate)
    }

    /// Rates whose long run broke.
    pub fn broke_again(&self) -> usize {
        self.steps.iter().filter(|completed| completed.planned.purpose == Purpose::Repeat && !completed.holds()).count()
    }

    fn runs(&self, rate: f64) -> impl Iterator<Item = &CompletedStep> {
        self.steps.iter().filter(move |completed| completed.planned.rate == rate)
    }

    /// The step to run next; `None` where all is known that can be.
    fn next(&self, how: &SearchSettings) -> Option<PlannedStep> {
        if self.steps.is_empty() {
            return Some(PlannedStep {
                rate: how.start.min(how.most_rate),
                resolution: COARSE,
                purpose: Purpose::Seek,
            });
        }
        if let Some(again) = self.again_at_once() {
            return Some(again);
        }
        let spent = self
            .steps
            .iter()
            .filter(|completed| [Purpose::Seek, Purpose::Narrow].contains(&completed.planned.purpose))
            .count();
        let may_go_on = spent < how.most_steps;
        let seek = |rate: f64| PlannedStep { rate, resolution: COARSE, purpose: Purpose::Seek };
        match self.bracket() {
            (Some(held), None) if held.planned.rate < how.most_rate && may_go_on => {
                Some(seek((held.planned.rate * FACTOR).min(how.most_rate)))
            }
            (None, Some(broken)) => {
                let rate = broken.planned.rate / FACTOR;
                (may_go_on && rate >= how.least_rate).then(|| seek(rate))
            }
            (Some(held), Some(broken)) if self.is_wide(how, held, broken) && may_go_on => {
                let rate = (held.planned.rate * broken.planned.rate).sqrt();
                let resolution = (rate / held.planned.rate - 1.0).clamp(how.precision, COARSE);
                Some(PlannedStep { rate, resolution, purpose: Purpose::Narrow })
            }
            (Some(held), broken) => self.close(how, held, broken),
            (None, None) => None,
        }
    }

    fn is_wide(&self, how: &SearchSettings, held: &CompletedStep, broken: &CompletedStep) -> bool {
        broken.planned.rate / held.planned.rate > (1.0 + how.precision) * (1.0 + 1e-9)
    }

    /// The last step again, where its break may be a bad moment: the first break of the climb, and what others on the machine
    /// may have caused.
    fn again_at_once(&self) -> Option<PlannedStep> {
        let last = self.steps.last().filter(|completed| !completed.holds())?;
        let runs = self.runs(last.planned.rate).count();
        let is_first = runs == 1 && self.steps.iter().filter(|completed| !completed.holds()).count() == 1;
        let is_disturbed = !last.step.disturbed.is_empty() && runs < MOST_RUNS && !self.is_never_quiet();
        let purpose = match last.planned.purpose {
            Purpose::Seek | Purpose::Narrow => Purpose::Again,
            again => again,
        };
        let count = self.steps.iter().filter(|completed| completed.planned.purpose == Purpose::Again).count();
        ((is_first || is_disturbed) && count < MOST_AGAIN).then_some(PlannedStep { purpose, ..last.planned })
    }

    /// The machine is shared all the time: running a step again finds no better moment.
    fn is_never_quiet(&self) -> bool {
        let disturbed = self.steps.iter().filter(|completed| !completed.step.disturbed.is_empty()).count();
        self.steps.len() >= MOST_AGAIN && disturbed * 2 > self.steps.len()
    }

    /// What is left to be certain of, where the rates that hold and break are close.
    fn close(&self, how: &SearchSettings, held: &CompletedStep, broken: Option<&CompletedStep>) -> Option<PlannedStep> {
        // The limit stands on this break.
        let is_long =
            |completed: &&CompletedStep| [Purpose::Recheck, Purpose::Repeat].contains(&completed.planned.purpose);
        let checked = self.steps.iter().filter(|completed| completed.planned.purpose == Purpose::Recheck).count();
        if let Some(completed) = broken.filter(|completed| !is_long(completed) && checked < MOST_RECHECKS) {
            return Some(PlannedStep {
                rate: completed.planned.rate,
                resolution: how.precision,
                purpose: Purpose::Recheck,
            });
        }
        let again = |rate: f64| PlannedStep { rate, resolution: how.precision, purpose: Purpose::Repeat };
        let strides = |count: usize| (1.0 + how.precision.max(LEAST_STRIDE)).powi(count as i32 + 1);
        if held.planned.purpose != Purpose::Repeat {
            let broke = self.broke_again();
            if broke >= MOST_REPEATS {
                return None;
            }
            // Where one rate after the other breaks, it is looked for further below.
            let below = broken.filter(|_| broke > 1 && self.confirmed().is_none());
            let most = below.map_or(f64::INFINITY, |completed| completed.planned.rate / strides(broke - 1));
            let known = self.known();
            let lower = known.iter().take_while(|completed| completed.holds() && completed.planned.rate <= most).last();
            return Some(again(
                lower.map_or(held.planned.rate, |completed| completed.planned.rate.min(held.planned.rate)),
            ));
        }
        if let (Some(broken), None) = (broken, self.surely_breaks()) {
            let above = self.known().into_iter().filter(|completed| completed.planned.rate > broken.planned.rate);
            let (count, most) =
                above.fold((0, broken.planned.rate), |(n, _), completed| (n + 1, completed.planned.rate));
            let rate = most * strides(count.min(2));
            if count < MOST_STRIDES && rate <= how.most_rate {
                return Some(PlannedStep { rate, resolution: how.precision, purpose: Purpose::Narrow });
            }
        }
        if self.surely_holds().is_none() {
            let held = self.held_again();
            let least = held.first()?.planned.rate;
            return (held.len() <= MOST_STRIDES).then(|| again(least / strides(held.len() - 1)));
        }
        None
    }
}

/// Seconds that a search takes whose limit lies at `limit`, where each step takes what `seconds` says: the same search with
/// steps that are only counted. A step that breaks is left after about half of its time.
pub fn expected_s(how: &SearchSettings, limit: f64, seconds: impl Fn(&PlannedStep) -> f64) -> f64 {
    let mut sum = 0.0;
    search(how, &mut |planned| {
        let holds = planned.rate <= limit;
        sum += seconds(planned) * if holds { 1.0 } else { 0.5 };
        let verdict = Some(if holds { StepVerdict::Holds } else { StepVerdict::Breaks });
        Some(StepRecord { verdict, ..StepRecord::default() })
    });
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: SearchSettings =
        SearchSettings { start: 1.0, precision: 0.05, most_steps: 30, most_rate: 1e5, least_rate: 0.0 };

    fn step(verdict: StepVerdict) -> StepRecord {
        StepRecord { verdict: Some(verdict), ..StepRecord::default() }
    }

    fn sharp(limit: f64, rate: f64) -> StepVerdict {
        if rate <= limit { StepVerdict::Holds } else { StepVerdict::Breaks }
    }

    /// The rate that a search comes to, and its steps; `of` says what a step comes to by its number and rate.
    fn searched(of: impl Fn(usize, &PlannedStep) -> StepRecord) -> SearchResult {
        let mut count = 0;
        search(&HOW, &mut |planned| {
            count += 1;
            assert!(count < 80, "a search has an end");
            Some(of(count - 1, planned))
        })
    }

    fn limit(searched: &SearchResult) -> f64 {
        searched.confirmed().map_or(0.0, |completed| completed.planned.rate)
    }

    #[test]
    fn one_bad_moment_ends_no_search() {
        // Whichever step it is that breaks by chance, the limit of 100/s is found.
        let steps = searched(|_, planned| step(sharp(100.0, planned.rate))).steps.len();
        for bad in 0..steps {
            let found =
                searched(|at, planned| step(if at == bad { StepVerdict::Breaks } else { sharp(100.0, planned.rate) }));
            let rate = limit(&found);
            let purpose = found.steps[bad].planned.purpose;
            // A break of the long run is believed: that is what it is for.
            let least = if purpose == Purpose::Repeat { 100.0 / 1.16 } else { 95.0 };
            assert!((least..=100.0).contains(&rate), "step {bad} ({purpose:?}): {rate}");
        }
    }

    #[test]
    fn what_others_broke_is_run_again() {
        let foreign = |at: usize, planned: &PlannedStep| StepRecord {
            disturbed: if at % 3 == 1 { vec!["foreign_load".to_string()] } else { Vec::new() },
            ..step(if at % 3 == 1 { StepVerdict::Breaks } else { sharp(100.0, planned.rate) })
        };
        let rate = limit(&searched(foreign));
        assert!((85.0..=100.0).contains(&rate), "{rate}");
        // Where it never ends, the search does.
        let always =
            searched(|_, _| StepRecord { disturbed: vec!["foreign_load".into()], ..step(StepVerdict::Breaks) });
        assert!(always.confirmed().is_none());
    }

    #[test]
    fn luck_above_a_rate_that_breaks_is_not_believed() {
        let completed = |rate: f64, verdict| CompletedStep {
            planned: PlannedStep { rate, resolution: 0.05, purpose: Purpose::Repeat },
            step: step(verdict),
        };
        let steps = vec![
            completed(1.0, StepVerdict::Holds),
            completed(2.0, StepVerdict::BreaksBarely),
            completed(3.0, StepVerdict::HoldsBarely),
        ];
        let searched = SearchResult { steps, stopped: false };
        assert_eq!(
            (searched.bracket().0.map(|completed| completed.planned.rate), searched.surely_breaks()),
            (Some(1.0), None)
        );
        assert_eq!(searched.surely_holds(), Some(1.0));
    }

    #[test]
    fn the_last_run_of_a_rate_is_what_is_known_of_it() {
        let completed = |purpose, verdict| CompletedStep {
            planned: PlannedStep { rate: 5.0, resolution: 0.05, purpose },
            step: step(verdict),
        };
        let searched =
            |last| SearchResult { steps: vec![completed(Purpose::Narrow, StepVerdict::Holds), last], stopped: false };
        assert!(searched(completed(Purpose::Repeat, StepVerdict::Breaks)).bracket().0.is_none());
        assert!(searched(completed(Purpose::Repeat, StepVerdict::HoldsBarely)).confirmed().is_some());
    }

    #[test]
    fn the_time_is_known_before() {
        let how = SearchSettings { start: 25.0, ..HOW };
        let seconds = |planned: &PlannedStep| if planned.purpose == Purpose::Repeat { 60.0 } else { 20.0 };
        let expected = expected_s(&how, 50.0, seconds);
        assert!((120.0..400.0).contains(&expected), "{expected}");
    }
}
