//! A policy held against runs: each rule on each case it is about, with an interval.

use super::comparison::{Direction, direction};
use super::environment::{Difference, differences};
use super::metric::{GateMetric, MetricValue, Price};
use super::noise::{NoiseFloor, noise_floor};
use super::policy::{Policy, Rule};
use super::rerun::{RerunAdvice, suggest};
use super::side::Side;
use super::verdict::Verdict;
use crate::record::comparable::obstacle;
use crate::record::metric::Better;
use crate::record::{InvalidReason, Outcome};
use crate::statistics::change::Change;
use crate::workload::Case;
use serde::Serialize;

/// The result of a rule on a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleResult {
    /// The rule's name.
    pub rule: String,
    /// The metric's tag.
    pub metric: String,
    /// The case.
    pub case: String,
    /// What it says.
    pub verdict: Verdict,
    /// In a sentence.
    pub message: String,
    /// The value.
    pub value: Option<MetricValue>,
    /// That of the baseline.
    pub baseline: Option<MetricValue>,
    /// `value / baseline - 1` and the ends of its interval.
    pub change: Option<[f64; 3]>,
    /// The limit: SI units or USD; a share where it is relative.
    pub limit: f64,
    /// What would tell, where it cannot be told.
    pub rerun: Option<RerunAdvice>,
}

impl RuleResult {
    /// Where there is nothing to judge.
    fn blank(rule: &str, metric: &str, case: &str, message: String) -> Self {
        Self {
            rule: rule.to_string(),
            metric: metric.to_string(),
            case: case.to_string(),
            verdict: Verdict::Invalid,
            message,
            value: None,
            baseline: None,
            change: None,
            limit: 0.0,
            rerun: None,
        }
    }
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Of all rules.
    pub verdict: Verdict,
    /// Folders of the runs that were judged.
    pub runs: Vec<String>,
    /// Folders of the baseline.
    pub baseline: Vec<String>,
    /// What differs in where the two come from.
    pub differences: Vec<Difference>,
    /// The least change that is claimed.
    pub noise_floor: Option<NoiseFloor>,
    /// Confidence of the intervals of changes.
    pub confidence: f64,
    /// Rule by rule, case by case.
    pub judged: Vec<RuleResult>,
}

/// What an hour of the machines costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prices {
    /// Of the runs that are judged.
    pub candidate: Option<Price>,
    /// Of the baseline.
    pub baseline: Option<Price>,
}

/// Judges; the error says what the command lacks.
pub fn judge(candidate: &Side, baseline: Option<&Side>, policy: &Policy, prices: Prices) -> Result<Judgement, String> {
    let sides: Vec<&Side> = std::iter::once(candidate).chain(baseline).collect();
    if let Some(why) =
        baseline.and_then(|baseline| obstacle(&baseline.first().run.record, &candidate.first().run.record))
    {
        return Err(format!("the run and its baseline cannot be compared: {why}"));
    }
    let floor = baseline.map(|baseline| match policy.noise_floor {
        Some(share) => NoiseFloor { share, why: "as the policy says".to_string() },
        None => noise_floor(baseline, candidate),
    });
    let mut judged = Vec::new();
    let comparisons = comparisons(candidate, baseline, policy, &sides)?;
    for rule in &policy.rules {
        let metric = GateMetric::named(&rule.metric, &sides)?;
        rule.check_unit(&metric)?;
        if rule.max_regression.is_some() && baseline.is_none() {
            return Err(format!("the rule about {} is relative to a baseline: give --baseline RUN", rule.metric));
        }
        if rule.max_regression.is_some() && metric.better == Better::Neutral {
            return Err(format!("{} is neither good nor bad: it cannot regress; give max or min", rule.metric));
        }
        let floor = floor.as_ref().map_or(0.0, |floor| floor.share);
        let evaluation = GateEvaluation { candidate, baseline, policy, prices, floor, comparisons };
        judged.extend(evaluation.rule(rule, &metric));
    }
    judged.extend(unjudged(candidate, policy, &judged));
    if judged.is_empty() {
        let message = "no rule had anything to judge: every one is optional, and no case has its metric".to_string();
        judged.push(RuleResult::blank("all rules", "-", "no case", message));
    }
    let records = baseline.map(|baseline| (&baseline.first().run.record, &candidate.first().run.record));
    let folders = |side: &Side| side.runs.iter().map(|taken| taken.run.path.display().to_string()).collect();
    Ok(Judgement {
        verdict: Verdict::of_all(judged.iter().map(|judged| judged.verdict)),
        runs: folders(candidate),
        baseline: baseline.map(folders).unwrap_or_default(),
        differences: records.map_or(Vec::new(), |(before, after)| differences(before, after)),
        noise_floor: floor,
        confidence: policy.confidence,
        judged,
    })
}

/// How many comparisons the rules come to.
fn comparisons(candidate: &Side, baseline: Option<&Side>, policy: &Policy, sides: &[&Side]) -> Result<usize, String> {
    let mut count = 0;
    for rule in policy.rules.iter().filter(|rule| rule.max_regression.is_some()) {
        let metric = GateMetric::named(&rule.metric, sides)?;
        let is_about = |case: &Case| rule.holds_for(*case) && is_of_kind(rule, &metric, candidate, baseline, *case);
        count += candidate.cases().iter().filter(|case| is_about(case)).count();
    }
    Ok(count)
}

/// Whether a rule has anything to say of a case of this kind.
fn is_of_kind(rule: &Rule, metric: &GateMetric, candidate: &Side, baseline: Option<&Side>, case: Case) -> bool {
    if !rule.by_kind {
        return true;
    }
    let sides: Vec<&Side> = std::iter::once(candidate).chain(baseline).collect();
    let ran = |side: &&Side| side.rows(case).next().is_some() && side.rows(case).all(|row| row.outcome == Outcome::Ok);
    let has = |metric: &GateMetric| sides.iter().any(|side| metric.read(side, case, None).is_ok());
    let others = || rule.in_place_of.iter().filter_map(|tag| GateMetric::named(tag, &sides).ok());
    if sides.iter().all(ran) {
        has(metric) && !others().any(|other| has(&other))
    } else {
        // What broke or was lost is not passed over by the rules that are of every kind.
        rule.in_place_of.is_empty()
    }
}

/// Cases that ran and of which no rule by kind had anything to judge: nothing of them is known to be as good as before.
fn unjudged(candidate: &Side, policy: &Policy, judged: &[RuleResult]) -> Vec<RuleResult> {
    if !policy.rules.iter().any(|rule| rule.by_kind) {
        return Vec::new();
    }
    let missed = candidate.cases().into_iter().map(|case| case.to_string());
    let missed = missed.filter(|case| !judged.iter().any(|judged| judged.case == *case));
    let blank = |case: String| {
        let message = "neither side has a time, a rate, memory or energy of this case: there is nothing to compare";
        RuleResult::blank("all rules", "-", &case, message.to_string())
    };
    missed.map(blank).collect()
}

/// A gate being evaluated: what all of its rules are judged with.
struct GateEvaluation<'a> {
    candidate: &'a Side,
    baseline: Option<&'a Side>,
    policy: &'a Policy,
    prices: Prices,
    floor: f64,
    /// Relative ones, in all.
    comparisons: usize,
}

impl GateEvaluation<'_> {
    fn rule(&self, rule: &Rule, metric: &GateMetric) -> Vec<RuleResult> {
        // A case that the baseline has and the run lost is a case too.
        let mut cases = self.candidate.cases();
        let lost = self.baseline.filter(|_| rule.max_regression.is_some()).map_or(Vec::new(), Side::cases);
        cases.extend(lost.into_iter().filter(|case| !self.candidate.cases().contains(case)));
        cases.retain(|case| rule.holds_for(*case));
        if cases.is_empty() {
            let message = "no case of the run is one that the rule is about".to_string();
            return vec![self.blank(rule, metric, "no case".to_string(), Verdict::Invalid, message)];
        }
        cases.into_iter().filter_map(|case| self.case(rule, metric, case)).collect()
    }

    fn blank(&self, rule: &Rule, metric: &GateMetric, case: String, verdict: Verdict, message: String) -> RuleResult {
        let (max, min) = (rule.max.map(|max| max.value), rule.min.map(|min| min.value));
        let (limit, words) = match (max, min, rule.max_regression) {
            (Some(max), ..) => (max, format!("at most {}", metric.human(max))),
            (_, Some(min), _) => (min, format!("at least {}", metric.human(min))),
            (.., share) => {
                let share = share.unwrap_or(0.0);
                (share, format!("no more than {} worse than the baseline", percent(share)))
            }
        };
        let name = rule.name.clone().unwrap_or_else(|| format!("{}: {words}", metric.label));
        RuleResult { verdict, limit, ..RuleResult::blank(&name, &metric.tag, &case, message) }
    }

    /// `None` where an optional rule has nothing to judge.
    fn case(&self, rule: &Rule, metric: &GateMetric, case: Case) -> Option<RuleResult> {
        if !is_of_kind(rule, metric, self.candidate, self.baseline, case) {
            return None;
        }
        let mut judged = self.blank(rule, metric, case.to_string(), Verdict::Invalid, String::new());
        if let Some(message) = self.failure(case) {
            (judged.verdict, judged.message) = (Verdict::Fail, message);
            return Some(judged);
        }
        let value = match metric.read(self.candidate, case, self.prices.candidate) {
            Ok(value) => value,
            Err(_) if rule.optional => return None,
            Err(why) => {
                judged.message = why;
                return Some(judged);
            }
        };
        judged.value = Some(value);
        match rule.max_regression.zip(self.baseline) {
            Some((share, baseline)) => {
                judged.baseline = metric.read(baseline, case, self.prices.baseline).ok();
                if judged.baseline.is_none() && rule.optional {
                    return None;
                }
                self.relative(&mut judged, metric, case, baseline, share);
            }
            None => self.absolute(&mut judged, rule, metric, case, value),
        }
        if let Some(doubts) = self.doubts(case, judged.baseline.is_some()) {
            judged.verdict = Verdict::Invalid;
            judged.rerun = None;
            judged.message = format!("{} ({doubts})", judged.message);
        }
        Some(judged)
    }

    /// A case that broke, where it ran before or was to run at all.
    fn failure(&self, case: Case) -> Option<String> {
        let broken = |row: &crate::record::CaseRow| {
            let reason = row.reason.map_or(String::new(), |reason| reason.to_string());
            format!("{} {reason}: {}", row.outcome, row.message)
        };
        let ran_before =
            self.baseline.is_some_and(|baseline| baseline.rows(case).any(|row| row.outcome == Outcome::Ok));
        for row in self.candidate.rows(case) {
            match row.outcome {
                Outcome::Failed => return Some(broken(row)),
                Outcome::Skipped if ran_before => return Some(format!("{}; the baseline ran it", broken(row))),
                _ => {}
            }
        }
        None
    }

    fn doubts(&self, case: Case, relative: bool) -> Option<String> {
        let rows =
            self.candidate.rows(case).chain(self.baseline.filter(|_| relative).into_iter().flat_map(|b| b.rows(case)));
        let mut doubts: Vec<InvalidReason> = rows.flat_map(|row| row.invalid.iter().copied()).collect();
        doubts.retain(|doubt| !self.policy.accept.contains(doubt));
        doubts.sort_unstable();
        doubts.dedup();
        let first = *doubts.first()?;
        let names: Vec<&str> = doubts.iter().map(|doubt| doubt.name()).collect();
        Some(format!("doubtful: {}; {}", names.join(", "), first.advice()))
    }

    fn absolute(&self, judged: &mut RuleResult, rule: &Rule, metric: &GateMetric, case: Case, value: MetricValue) {
        let (limit, least) = (judged.limit, rule.min.is_some());
        let words = if least { "at least" } else { "at most" };
        let (Some(lo), Some(hi)) = (value.lo, value.hi) else {
            let beyond = if least { value.value < limit } else { value.value > limit };
            judged.verdict = Verdict::CannotTell;
            judged.message = format!(
                "{} {} the limit of {words} {}, but was observed once: nothing says how much it varies",
                metric.human(value.value),
                if beyond { "is beyond" } else { "is within" },
                metric.human(limit)
            );
            return;
        };
        judged.verdict = match (least, lo > limit, hi < limit) {
            (false, true, _) | (true, _, true) => Verdict::Fail,
            (false, false, _) if hi <= limit => Verdict::Pass,
            (true, _, false) if lo >= limit => Verdict::Pass,
            _ => Verdict::CannotTell,
        };
        judged.message = format!(
            "{} ({} to {}), {words} {}",
            metric.human(value.value),
            metric.human(lo),
            metric.human(hi),
            metric.human(limit)
        );
        if judged.verdict == Verdict::CannotTell && value.value > 0.0 && limit > 0.0 {
            let distance = (value.value / limit).ln().abs();
            judged.rerun = Some(suggest(self.candidate, case, distance, (hi / lo).ln() / 2.0, false));
        }
    }

    fn relative(&self, judged: &mut RuleResult, metric: &GateMetric, case: Case, baseline: &Side, share: f64) {
        let prices = (self.prices.baseline, self.prices.candidate);
        let change = match metric.change(baseline, self.candidate, case, prices, self.policy.confidence) {
            Ok(change) => change,
            Err(why) => {
                // A baseline without the case says nothing of it; a figure without a spread cannot be told.
                judged.verdict = if judged.baseline.is_none() { Verdict::Invalid } else { Verdict::CannotTell };
                judged.message = why;
                return;
            }
        };
        judged.change = Some([change.value - 1.0, change.lo - 1.0, change.hi - 1.0]);
        // What is allowed beyond the noise is its own limit; below it, a pass says that `resolution` can be excluded.
        let limits =
            if share >= self.floor { [share, share] } else { [self.floor, self.floor.max(self.policy.resolution)] };
        judged.verdict = verdict(change, limits, metric.better);
        // Of many comparisons some look bad by chance: a fail holds for all of them together (Bonferroni). A pass of all is
        // one of each, and needs nothing of the kind.
        let chance = 1.0 - (1.0 - self.policy.confidence) / self.comparisons.max(1) as f64;
        if judged.verdict == Verdict::Fail
            && let Ok(strict) = metric.change(baseline, self.candidate, case, prices, chance)
            && verdict(strict, limits, metric.better) != Verdict::Fail
        {
            judged.verdict = Verdict::CannotTell;
            judged.message = format!("bad, but not certain among {} comparisons; ", self.comparisons);
        }
        let floor = match limits {
            [fail, pass] if share < self.floor => format!(
                ", less than {} being noise: passes where more than {} can be excluded",
                percent(fail),
                percent(pass)
            ),
            _ => String::new(),
        };
        let chance = std::mem::take(&mut judged.message);
        judged.message = format!(
            "{chance}{} after {}: {} ({} to {}), no more than {} worse{floor}",
            judged.value.map_or("-".to_string(), |value| metric.human(value.value)),
            judged.baseline.map_or("-".to_string(), |value| metric.human(value.value)),
            signed(change.value - 1.0),
            signed(change.lo - 1.0),
            signed(change.hi - 1.0),
            percent(share)
        );
        if judged.verdict == Verdict::CannotTell {
            // A narrower interval tells as soon as it leaves either limit.
            let worse = if metric.better == Better::Higher { change.under(1.0) } else { change };
            let [fail, pass] = limits.map(|limit| (1.0 + limit).ln());
            let distance = (worse.value.ln() - fail).max(pass - worse.value.ln());
            judged.rerun = Some(suggest(self.candidate, case, distance, change.half_width(), true));
        }
    }
}

/// Fail where the whole interval is worse than the first limit, pass where none of it is worse than the second.
fn verdict(change: Change, [fail, pass]: [f64; 2], better: Better) -> Verdict {
    let worse = if better == Better::Higher { change.under(1.0) } else { change };
    match direction(worse, fail, Better::Lower) {
        Direction::Worse => Verdict::Fail,
        _ if worse.hi <= 1.0 + pass => Verdict::Pass,
        _ => Verdict::CannotTell,
    }
}

fn percent(share: f64) -> String {
    format!("{} %", crate::units::digits(share * 100.0))
}

fn signed(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_passes_or_fails() {
        let of = |ratio: f64, half: f64| Change { value: ratio, lo: ratio - half, hi: ratio + half };
        let lower = |change| verdict(change, [0.02, 0.05], Better::Lower);
        assert_eq!(lower(of(1.05, 0.02)), Verdict::Fail);
        assert_eq!(lower(of(1.0, 0.04)), Verdict::Pass);
        assert_eq!(lower(of(0.8, 0.1)), Verdict::Pass, "better is not worse");
        assert_eq!(lower(of(1.02, 0.04)), Verdict::CannotTell);
        assert_eq!(lower(of(1.03, 0.005)), Verdict::Fail, "certain, if small");
        assert_eq!(verdict(of(1.03, 0.005), [0.05, 0.05], Better::Lower), Verdict::Pass, "allowed");
        assert_eq!(verdict(of(0.94, 0.01), [0.02, 0.05], Better::Higher), Verdict::Fail);
    }
}
