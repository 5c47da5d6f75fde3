//! What each variant, pruned or not, takes to store against its figure of quality, with the front of those that no other
//! beats in both.

use super::Plot;
use super::chart::{Axis, Chart, Dot, Line, Scale};
use crate::record::{QualityRow, Run};
use crate::units::interval::Interval;

const MIB: f64 = (1u64 << 20) as f64;
/// Variants that have their names beside the plot.
const MOST_NAMED: usize = 9;

/// `None` where fewer than two variants have the first figure of the run.
pub fn plot(run: &Run, figures: &[QualityRow]) -> Option<Plot> {
    let quality = run.record.quality.as_ref()?;
    let first = figures.first()?;
    let mut marks: Vec<(String, bool, Dot)> = Vec::new();
    for variant in quality.variants.iter().filter(|variant| variant.failure.is_none()) {
        let own = |row: &&QualityRow| row.quant == variant.quant && row.pruning == variant.pruning;
        let row = figures.iter().filter(own).find(|row| row.metric == first.metric && row.data == first.data);
        let Some(row) = row.filter(|row| row.value.is_finite()) else { continue };
        // The change against the reference is on the same items, and known far better than each figure alone.
        let (lo, hi) = match (row.delta, row.delta_lo, row.delta_hi) {
            (Some(delta), Some(lo), Some(hi)) => (row.value - delta + lo, row.value - delta + hi),
            _ => (row.value, row.value),
        };
        let dot = Dot { x: variant.stored_bytes.0 / MIB, y: Interval { value: row.value, lo, hi } };
        marks.push((variant.name(), !variant.pruning.is_empty(), dot));
    }
    if marks.len() < 2 {
        return None;
    }
    let front = front(&marks, first.higher_is_better);
    let metric = first.metric.replace('_', " ");
    let names: Vec<&str> = front.iter().map(|mark| mark.0.as_str()).collect();
    let chart = Chart {
        name: "variants".to_string(),
        title: format!("{metric} against what a variant takes to store"),
        description: format!(
            "{} variants; no other is both smaller and better than these: {}.",
            marks.len(),
            names.join(", ")
        ),
        note: format!(
            "Line: no other is both smaller and better ({}). Bars: 95 % intervals of the change against the reference. \
             Pruned: kept weights and one bit for each.",
            names.join(", ")
        ),
        x: Axis::new("stored, MiB", Scale::Linear),
        y: Axis::new(metric, Scale::Close),
        lines: std::iter::once(Line::new("front", front.iter().map(|mark| mark.2).collect()))
            .chain(marked(&marks))
            .collect(),
        places: Vec::new(),
    };
    chart.plot()
}

/// A mark with its name for each variant; two kinds of marks where there are too many for names.
fn marked(marks: &[(String, bool, Dot)]) -> Vec<Line> {
    let line = |name: &str, dots: Vec<Dot>| Line { joined: false, ..Line::new(name, dots) };
    if marks.len() <= MOST_NAMED {
        return marks.iter().map(|(name, _, dot)| line(name, vec![*dot])).collect();
    }
    let of = |pruned: bool| marks.iter().filter(|mark| mark.1 == pruned).map(|mark| mark.2).collect();
    vec![line("levels", of(false)), line("pruned", of(true))]
}

/// From the smallest on, each better than all that are smaller.
fn front(marks: &[(String, bool, Dot)], higher_is_better: bool) -> Vec<&(String, bool, Dot)> {
    let good = |dot: &Dot| if higher_is_better { dot.y.value } else { -dot.y.value };
    let mut sorted: Vec<&(String, bool, Dot)> = marks.iter().collect();
    sorted.sort_by(|a, b| a.2.x.total_cmp(&b.2.x).then(good(&b.2).total_cmp(&good(&a.2))));
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|mark| {
        let better = good(&mark.2) > best;
        best = best.max(good(&mark.2));
        better
    });
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_what_no_other_beats_in_both() {
        let mark = |name: &str, x, y| (name.to_string(), false, Dot::exact(x, y));
        let marks = [mark("f16", 4.0, 2.0), mark("int8", 2.0, 2.1), mark("int4", 1.0, 2.5), mark("pruned", 2.5, 3.0)];
        let names = |higher| front(&marks, higher).into_iter().map(|mark| mark.0.as_str()).collect::<Vec<_>>();
        assert_eq!(names(false), ["int4", "int8", "f16"]);
        assert_eq!(names(true), ["int4", "pruned"]);
    }
}
