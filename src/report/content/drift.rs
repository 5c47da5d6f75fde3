//! What has changed since a recorded run.

use crate::record::drift::{CONFIRMING, seen_before, streaks};
use crate::record::{DriftSet, DriftTest, DriftWindow};
use crate::report::table::{DASH, Table};
use crate::units::{digits, digits_plain};

/// A row for each data set of the last window: the figure, its change, and what is flagged.
pub fn window(windows: &[DriftWindow]) -> Table {
    let columns = [
        "data",
        "figure",
        ">baseline",
        ">now",
        ">change",
        ">95 % of change",
        "answers",
        "scores",
        "lengths",
        "tokens",
        "verdict",
    ];
    let Some(last) = windows.last() else { return Table::new("Drift", &columns) };
    let baseline = &last.baseline;
    let mut table = Table::new(format!("Drift since {}", baseline.location), &columns);
    for set in &last.sets {
        let whole = set.tests.iter().any(|test| test.feature == "outcome");
        let number = |value: f64| if whole { digits(value) } else { DASH.to_string() };
        let mut row = vec![set.data.clone(), set.metric.replace('_', " "), number(set.before), number(set.value)];
        row.push(if whole { format!("{}", Signed(set.delta)) } else { DASH.to_string() });
        row.push(match (set.delta_lo, set.delta_hi) {
            (Some(lo), Some(hi)) => format!("{} to {}", digits(lo), digits(hi)),
            _ => DASH.to_string(),
        });
        row.extend(["outcome", "score", "length", "surprise"].map(|feature| cell(set, feature)));
        row.push(set.verdict.clone());
        table.push(row);
    }
    notes(&mut table, windows, last);
    table
}

struct Signed(f64);

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0.0 { "" } else { "+" };
        write!(f, "{sign}{}", digits(self.0))
    }
}

fn cell(set: &DriftSet, feature: &str) -> String {
    let least = set.tests.iter().filter(|test| test.feature == feature).map(|test| test.p_corrected);
    match least.min_by(f64::total_cmp) {
        None => "not tested".to_string(),
        Some(p) => {
            let flag = if set.flagged().contains(&feature) { "flagged, " } else { "" };
            format!("{flag}p {}", chance(p))
        }
    }
}

fn chance(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_string() } else { format!("{p:.3}") }
}

fn notes(table: &mut Table, windows: &[DriftWindow], last: &DriftWindow) {
    let paired = last.sets.iter().filter(|set| set.paired).count();
    let how = match (paired, last.sets.len()) {
        (0, _) => "on other items than the baseline's",
        (paired, all) if paired == all => "on the baseline's items, one by one",
        _ => "partly on the baseline's items, one by one",
    };
    table.notes.push(format!(
        "Compared {how}. A window without any change is flagged with a chance of {} % at most, over all its tests (Holm).",
        digits(last.alpha * 100.0)
    ));
    let least = |set: &DriftSet| {
        let outcome = set.tests.iter().find(|test| test.feature == "outcome")?;
        Some(format!("{} {}", set.metric.replace('_', " "), digits(outcome.detectable?)))
    };
    let found: Vec<String> = last.sets.iter().filter_map(least).collect();
    if !found.is_empty() {
        table.notes.push(format!(
            "Changes that {CONFIRMING} windows of this size find, four times of five: {}.",
            found.join(", ")
        ));
    }
    if last.model_hash != last.baseline.model_hash {
        table.notes.push(format!("The model is another: {} now, {} in the baseline.", last.model, last.baseline.model));
    }
    for (data, share) in seen_before(windows) {
        let share = digits_plain((share * 100.0).round());
        table.notes.push(format!(
            "{data}: {share} % of the data was in a window before, with this model: it confirms nothing new, and is no further \
             window towards an alarm."
        ));
    }
    for set in &last.sets {
        for why in &set.untested {
            table.notes.push(format!("{}, not tested: {why}", set.data));
        }
    }
    for (what, count) in streaks(windows).into_iter().filter(|(_, count)| *count > 0) {
        table.notes.push(match count {
            count if count >= CONFIRMING => format!("ALARM {what} is flagged in {count} windows in succession."),
            count => format!("{what} is flagged in {count} of {CONFIRMING} windows in succession that make an alarm."),
        });
    }
}

/// Every test of the last window.
pub fn tests(window: &DriftWindow) -> Table {
    let columns = [
        "data",
        "of",
        "test",
        ">statistic",
        ">critical",
        ">p",
        ">p (Holm)",
        ">found 4 of 5",
        ">Jensen-Shannon, bits",
        ">items",
        ">baseline's",
    ];
    let mut table = Table::new("Tests of the window", &columns);
    let number = |value: Option<f64>| value.map_or(DASH.to_string(), digits);
    for set in &window.sets {
        for DriftTest {
            feature, test, statistic, critical, p_value, p_corrected, detectable, jensen_shannon, ..
        } in &set.tests
        {
            table.push(vec![
                set.data.clone(),
                feature.clone(),
                test.replace('_', " "),
                digits(*statistic),
                number(*critical),
                chance(*p_value),
                chance(*p_corrected),
                detectable.map_or(DASH.to_string(), |least| format!(">= {}", digits(least))),
                number(*jensen_shannon),
                set.items.to_string(),
                set.items_before.to_string(),
            ]);
        }
    }
    table
}

/// Every window of a history.
pub fn history(windows: &[DriftWindow]) -> Table {
    let mut table = Table::new("Windows", &["window", "when", "data", "figure", ">value", "flagged", "alarm"]);
    for (index, window) in windows.iter().enumerate() {
        for set in &window.sets {
            let own = format!("{}: ", set.kind);
            let alarms: Vec<&str> =
                window.alarms.iter().filter(|alarm| alarm.starts_with(&own)).map(String::as_str).collect();
            let or_dash = |text: String| if text.is_empty() { DASH.to_string() } else { text };
            table.push(vec![
                (index + 1).to_string(),
                window.at.strftime("%Y-%m-%d %H:%M").to_string(),
                set.data.clone(),
                set.metric.replace('_', " "),
                digits(set.value),
                or_dash(set.flagged().join(", ")),
                or_dash(alarms.join(", ")),
            ]);
        }
    }
    table
}
