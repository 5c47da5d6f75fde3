//! Quality over the windows of a watch, with what was flagged and where an alarm began.

use super::Plot;
use super::chart::{Axis, Chart, Dot, Line, Scale};
use crate::record::{DriftSet, DriftWindow};
use crate::units::interval::Estimate;

/// A plot for each kind of data that is watched.
pub fn plots(windows: &[DriftWindow]) -> Vec<Plot> {
    let mut kinds: Vec<&str> = Vec::new();
    for set in windows.iter().flat_map(|window| &window.sets) {
        if !kinds.contains(&set.kind.as_str()) {
            kinds.push(&set.kind);
        }
    }
    kinds.into_iter().filter_map(|kind| plot(windows, kind)).collect()
}

fn plot(windows: &[DriftWindow], kind: &str) -> Option<Plot> {
    let sets: Vec<(usize, &DriftWindow, &DriftSet)> = windows
        .iter()
        .enumerate()
        .flat_map(|(index, window)| window.sets.iter().map(move |set| (index + 1, window, set)))
        .filter(|(.., set)| set.kind == kind && set.value.is_finite() && !set.tests.is_empty())
        .collect();
    let (_, _, last) = sets.last()?;
    let metric = last.metric.replace('_', " ");
    let dot = |(index, _, set): &(usize, &DriftWindow, &DriftSet)| Dot {
        x: *index as f64,
        y: Estimate { value: set.value, lo: set.lo, hi: set.hi }.closed(),
    };
    let flagged = sets.iter().filter(|(.., set)| !set.flagged().is_empty());
    let flagged = flagged.map(|(index, _, set)| Dot::exact(*index as f64, set.value)).collect();
    let alarms = alarms(&sets, kind);
    let dates = sets.first().zip(sets.last()).map_or(String::new(), |((_, first, _), (_, last, _))| {
        format!("{} to {}", first.at.strftime("%Y-%m-%d"), last.at.strftime("%Y-%m-%d"))
    });
    let chart = Chart {
        name: format!("drift-{kind}"),
        title: format!("{metric} over the windows of {}", last.data),
        description: match alarms.first() {
            Some((window, what)) => format!("{} windows, {dates}. Window {window}: {what}.", sets.len()),
            None => format!("{} windows, {dates}, without an alarm.", sets.len()),
        },
        note: format!("Bars: 95 % intervals of {metric}; {dates}. 0 is the baseline. An alarm takes three windows."),
        x: Axis::new("window", Scale::Linear),
        y: Axis::new(metric, Scale::Close),
        lines: vec![
            Line::new("windows", sets.iter().map(dot).collect()),
            Line { joined: false, ..Line::new("flagged", flagged) },
            Line::new("baseline", [0.0, sets.last()?.0 as f64].map(|x| Dot::exact(x, last.before)).to_vec()),
        ],
        places: alarms,
    };
    chart.plot()
}

/// The windows at which an alarm began.
fn alarms(sets: &[(usize, &DriftWindow, &DriftSet)], kind: &str) -> Vec<(f64, String)> {
    let own = |window: &DriftWindow| -> Vec<String> {
        window
            .alarms
            .iter()
            .filter_map(|alarm| Some(alarm.strip_prefix(kind)?.strip_prefix(": ")?.to_string()))
            .collect()
    };
    let mut before: Vec<String> = Vec::new();
    let mut places = Vec::new();
    for (index, window, _) in sets {
        let now = own(window);
        let begun: Vec<&str> = now.iter().filter(|alarm| !before.contains(alarm)).map(String::as_str).collect();
        if !begun.is_empty() {
            places.push((*index as f64, format!("alarm: {}", begun.join(", "))));
        }
        before = now;
    }
    places
}
