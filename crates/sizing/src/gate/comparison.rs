//! Two runs beside each other: what differs in their environments, and for each case how much each metric changed.

use super::environment::{Difference, differences};
use super::metric::{GateMetric, MetricValue};
use super::noise::{NoiseFloor, SAME_MACHINE, noise_floor};
use super::side::Side;
use crate::record::Outcome;
use crate::record::comparable::obstacle;
use crate::record::metric::Better;
use crate::statistics::change::Change;
use crate::workload::Case;
use serde::Serialize;

/// Which way a metric went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The whole interval is within the noise floor.
    Same,
    /// The whole interval is beyond it, on the good side.
    Better,
    /// On the bad side.
    Worse,
    /// Beyond it, of a metric that is neither good nor bad.
    Changed,
    /// Neither.
    CannotTell,
}

/// How a metric of a case changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseChange {
    /// The case.
    pub case: String,
    /// The metric's tag.
    pub metric: String,
    /// The metric as people call it.
    pub label: String,
    /// Before and after, as people read them.
    pub values: [Option<String>; 2],
    /// Before and after.
    pub readings: [Option<MetricValue>; 2],
    /// `after / before - 1`.
    pub change: Option<f64>,
    /// Lower end of its interval.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
    /// Which way.
    pub direction: Direction,
    /// `same`, `faster`, `slower`, `less`, `more`, `cannot tell`.
    pub verdict: &'static str,
    /// Why it cannot be told.
    pub why: Option<String>,
}

/// Two runs beside each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Folder of the one.
    pub before: String,
    /// Folder of the other.
    pub after: String,
    /// What differs in where they come from.
    pub differences: Vec<Difference>,
    /// The least change that is claimed.
    pub noise_floor: NoiseFloor,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Case by case, metric by metric.
    pub changes: Vec<CaseChange>,
    /// Cases that only the first has.
    pub only_before: Vec<String>,
    /// Cases that only the second has.
    pub only_after: Vec<String>,
}

/// What is compared where nothing is named.
pub const USUAL: [&str; 5] = ["ttft_s", "tpot_s", "e2e_s", "peak_device_bytes", "energy_per_token_j"];

/// Compares; the error says why the two cannot stand beside each other.
pub fn compare(
    before: &Side,
    after: &Side,
    metrics: &[String],
    floor: Option<f64>,
    confidence: f64,
) -> Result<Comparison, String> {
    let (one, other) = (&before.first().run.record, &after.first().run.record);
    if let Some(why) = obstacle(one, other) {
        return Err(format!("the two cannot be compared: {why}"));
    }
    let named: Vec<String> = match metrics {
        [] => USUAL.iter().map(|tag| tag.to_string()).collect(),
        named => named.to_vec(),
    };
    let gauges: Vec<GateMetric> =
        named.iter().map(|tag| GateMetric::named(tag, &[before, after])).collect::<Result<_, _>>()?;
    let floor =
        floor.map_or_else(|| noise_floor(before, after), |share| NoiseFloor { share, why: "as asked for".to_string() });
    let (cases, others) = (before.cases(), after.cases());
    let both = cases.iter().filter(|case| others.contains(case));
    let mut changes = Vec::new();
    for case in both {
        for metric in &gauges {
            let change = of_case(metric, before, after, *case, floor.share, confidence);
            // What neither side has was not asked for by name and is not worth a row.
            if !metrics.is_empty() || change.readings.iter().any(Option::is_some) {
                changes.push(change);
            }
        }
    }
    let only = |these: &[Case], those: &[Case]| -> Vec<String> {
        these.iter().filter(|case| !those.contains(case)).map(Case::to_string).collect()
    };
    Ok(Comparison {
        before: before.first().run.path.display().to_string(),
        after: after.first().run.path.display().to_string(),
        differences: differences(one, other),
        noise_floor: floor,
        confidence,
        changes,
        only_before: only(&cases, &others),
        only_after: only(&others, &cases),
    })
}

fn of_case(metric: &GateMetric, before: &Side, after: &Side, case: Case, floor: f64, confidence: f64) -> CaseChange {
    let readings = [before, after].map(|side| metric.read(side, case, None));
    let change = metric.change(before, after, case, (None, None), confidence);
    let doubts = doubts(before, after, case);
    let (direction, why) = match (&change, doubts) {
        (Err(why), _) => (Direction::CannotTell, Some(why.clone())),
        (Ok(_), Some(doubts)) => (Direction::CannotTell, Some(doubts)),
        (Ok(change), None) => {
            let direction = direction(*change, floor, metric.better);
            // Certain, and yet no more than what two machines of a kind differ by.
            if direction == Direction::Same && floor > SAME_MACHINE && (change.lo > 1.0 || change.hi < 1.0) {
                (Direction::CannotTell, Some("within what such machines differ by".to_string()))
            } else {
                (direction, None)
            }
        }
    };
    let part = |of: fn(Change) -> f64| change.as_ref().ok().map(|change| of(*change) - 1.0);
    CaseChange {
        case: case.to_string(),
        metric: metric.tag.clone(),
        label: metric.label.clone(),
        values: [&readings[0], &readings[1]].map(|reading| reading.as_ref().ok().map(|r| metric.human(r.value))),
        readings: readings.map(Result::ok),
        change: part(|change| change.value),
        lo: part(|change| change.lo),
        hi: part(|change| change.hi),
        direction,
        verdict: word(direction, metric, change.ok()),
        why,
    }
}

/// The doubts of a case on either side.
fn doubts(before: &Side, after: &Side, case: Case) -> Option<String> {
    let mut doubts: Vec<&str> = Vec::new();
    for row in before.rows(case).chain(after.rows(case)).filter(|row| row.outcome == Outcome::Ok) {
        doubts.extend(row.invalid.iter().map(|reason| reason.name()));
    }
    doubts.sort_unstable();
    doubts.dedup();
    (!doubts.is_empty()).then(|| format!("doubtful: {}", doubts.join(", ")))
}

/// Which way a change goes, of which less than `floor` is not claimed.
pub fn direction(change: Change, floor: f64, better: Better) -> Direction {
    let (least, most) = (1.0 / (1.0 + floor), 1.0 + floor);
    if change.lo >= least && change.hi <= most {
        return Direction::Same;
    }
    let up = match (change.lo > most, change.hi < least) {
        (true, _) => true,
        (_, true) => false,
        _ => return Direction::CannotTell,
    };
    match better {
        Better::Neutral => Direction::Changed,
        Better::Higher if up => Direction::Better,
        Better::Lower if !up => Direction::Better,
        _ => Direction::Worse,
    }
}

fn word(direction: Direction, metric: &GateMetric, change: Option<Change>) -> &'static str {
    let more = change.is_some_and(|change| change.value > 1.0);
    match (direction, metric.is_speed()) {
        (Direction::Same, _) => "same",
        (Direction::CannotTell, _) => "cannot tell",
        (Direction::Better, true) => "faster",
        (Direction::Worse, true) => "slower",
        _ if more => "more",
        _ => "less",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_floor_and_the_interval_allow_is_claimed() {
        let of = |ratio: f64, half: f64| Change { value: ratio, lo: ratio - half, hi: ratio + half };
        let lower = |change| direction(change, 0.02, Better::Lower);
        assert_eq!(lower(of(1.0, 0.01)), Direction::Same);
        assert_eq!(lower(of(1.05, 0.01)), Direction::Worse);
        assert_eq!(lower(of(0.9, 0.01)), Direction::Better);
        assert_eq!(lower(of(1.05, 0.04)), Direction::CannotTell);
        assert_eq!(lower(of(1.01, 0.015)), Direction::CannotTell);
        assert_eq!(direction(of(1.1, 0.01), 0.02, Better::Higher), Direction::Better);
        assert_eq!(direction(of(1.1, 0.01), 0.02, Better::Neutral), Direction::Changed);
    }
}
