//! The roofline of the measured device, with each case on it (Williams, Waterman and Patterson, 2009).

use super::Plot;
use super::canvas::{self, GRID, INK, LEGEND_WIDTH, WIDTH, log_ticks, text, tick};
use crate::record::ceiling::{highest, roof};
use crate::record::{Bound, Ceiling, CeilingKind, Outcome, Run};
use crate::report::table::Table;
use crate::workload::{Case, ModelShape};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const HEIGHT: u32 = 420;
/// Marks that are in the table.
const MOST_ROWS: usize = 300;
const TOP: i32 = 46;
const BOTTOM: i32 = 52;
const LEFT: i32 = 74;
const RIGHT: i32 = (WIDTH - LEGEND_WIDTH) as i32;

/// A phase of a case: operations per byte, and operations per second.
struct RooflinePoint {
    case: Case,
    series: usize,
    intensity: f64,
    rate: f64,
}

/// What stands beside a line: one that the device can go beyond says so.
fn label(roof: &Ceiling) -> String {
    match roof.bound {
        Bound::Roof => roof.kind.label().to_string(),
        Bound::Lower => format!("{}, at least", roof.kind.label()),
    }
}

/// Both phases of each case that was measured, and the names of their series.
fn points(run: &Run, shape: &ModelShape) -> (Vec<RooflinePoint>, Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut spots = Vec::new();
    for row in run.cases.iter().filter(|row| row.outcome == Outcome::Ok) {
        let (case, m) = (row.key.case, &row.metrics);
        let (Some(ttft), Some(tpot), Some(read)) = (m.ttft, m.tpot, m.decode_read) else { continue };
        let middle = case.prompt_tokens() + case.gen_tokens() / 2;
        let weights = shape.step_weight_bytes(case.quant, case.batch).0;
        let phases = [
            ("prefill", shape.prefill_ops(case.batch, case.prompt_tokens()), weights, ttft.median.0),
            ("decode", shape.decode_ops(case.batch, middle), read.0, tpot.median.0),
        ];
        for (phase, ops, bytes, seconds) in phases {
            let name = format!("{} {phase}", case.quant);
            let series = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            spots.push(RooflinePoint { case, series, intensity: ops / bytes, rate: ops / seconds });
        }
    }
    (spots, names)
}

fn table(title: &str, spots: &[RooflinePoint], names: &[String]) -> Table {
    let mut data = Table::new(title, &["case", ">operations per byte", ">operations/s"]);
    if spots.len() > MOST_ROWS {
        data.notes.push(format!("the first {MOST_ROWS} of {} marks", spots.len()));
    }
    for spot in spots.iter().take(MOST_ROWS) {
        let [intensity, rate] = [spot.intensity, spot.rate].map(|value| format!("{value:.3e}"));
        data.push(vec![format!("{}, {}", spot.case, names[spot.series]), intensity, rate]);
    }
    data
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Grid and words of both axes, each with its ends and where its values lie.
fn axes(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    (x_low, x_high, x): (f64, f64, &dyn Fn(f64) -> i32),
    (y_low, y_high, y): (f64, f64, &dyn Fn(f64) -> i32),
) -> Drawn {
    let bottom = HEIGHT as i32 - BOTTOM;
    for value in log_ticks(x_low, x_high) {
        area.draw(&PathElement::new(vec![(x(value), TOP), (x(value), bottom)], GRID))?;
        let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
        area.draw(&Text::new(tick(value), (x(value), bottom + 14), style))?;
    }
    for value in log_ticks(y_low, y_high) {
        area.draw(&PathElement::new(vec![(LEFT, y(value)), (RIGHT, y(value))], GRID))?;
        let style = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(tick(value), (LEFT - 8, y(value)), style))?;
    }
    let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw(&Text::new("operations per byte read", ((LEFT + RIGHT) / 2, bottom + 38), style))?;
    Ok(())
}

/// The roofline; `None` without ceilings or cases.
pub fn plot(run: &Run) -> Option<Plot> {
    let shape = &run.record.model.as_ref()?.shape;
    let (ceilings, device) = (&run.record.ceilings, &run.record.engine.device);
    let bandwidth = roof(ceilings, device, CeilingKind::ReadBandwidth)?;
    use CeilingKind::*;
    let roofs: Vec<&Ceiling> = [GemmF32, GemmF16, GemmBf16, TensorF16, TensorBf16, FmaF32, DotBf16, DotInt8]
        .into_iter()
        .filter_map(|kind| highest(ceilings, device, kind))
        .collect();
    let (spots, names) = points(run, shape);
    let highest = roofs.iter().map(|roof| roof.best).max_by(f64::total_cmp)?;
    let (x_low, x_high) = canvas::range(spots.iter().map(|s| s.intensity), false)?;
    let (y_low, y_high) = canvas::range(spots.iter().map(|s| s.rate).chain([highest]), false)?;
    let title = "Roofline of this machine, with each case".to_string();
    let description = format!(
        "Operations per second against operations per byte, both logarithmic. The slanted line is the measured read \
         bandwidth ({}), the flat ones are {}. Marks below a line did not reach it.",
        CeilingKind::ReadBandwidth.human(bandwidth),
        roofs
            .iter()
            .map(|roof| format!("{} ({})", roof.kind.label(), roof.human(roof.best)))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let bottom = HEIGHT as i32 - BOTTOM;
    let x = |v: f64| LEFT + ((v / x_low).ln() / (x_high / x_low).ln() * (RIGHT - LEFT) as f64) as i32;
    let y = |v: f64| bottom - ((v / y_low).ln() / (y_high / y_low).ln() * (bottom - TOP) as f64) as i32;
    let svg = canvas::svg(HEIGHT, &title, &description, |area| {
        area.draw(&Text::new(title.clone(), (LEFT, 18), text(17, BLACK)))?;
        area.draw(&Text::new("operations/s".to_string(), (8, 34), text(13, INK)))?;
        axes(area, (x_low, x_high, &x), (y_low, y_high, &y))?;
        // The slanted roof, from the left edge up to the highest flat one.
        let (start, end) = (x_low.max(y_low / bandwidth), (highest / bandwidth).min(x_high));
        if end > start {
            let line = vec![(x(start), y(start * bandwidth)), (x(end), y(end * bandwidth))];
            area.draw(&PathElement::new(line, BLACK.stroke_width(2)))?;
        }
        let mut labels: Vec<(i32, i32)> = Vec::new();
        for roof in &roofs {
            let (rate, label) = (roof.best, label(roof));
            let start = (rate / bandwidth).clamp(x_low, x_high);
            area.draw(&PathElement::new(vec![(x(start), y(rate)), (RIGHT, y(rate))], BLACK.stroke_width(1)))?;
            let style = text(12, INK).pos(Pos::new(HPos::Right, VPos::Bottom));
            // Beside the one that it would cover.
            let beside: i32 = labels.iter().filter(|(at, _)| (at - y(rate)).abs() < 14).map(|(_, width)| width).sum();
            labels.push((y(rate), 90.max(8 * label.len() as i32)));
            area.draw(&Text::new(label, (RIGHT - 4 - beside, y(rate) - 3), style))?;
        }
        for spot in &spots {
            canvas::mark(area, spot.series, (x(spot.intensity), y(spot.rate)))?;
        }
        canvas::legend(area, &names, TOP + 10)?;
        Ok(())
    });
    let data = table(&title, &spots, &names);
    let note = format!("Medians; {}. Roofs are the best of their samples.", super::curves::sizes_of_samples(run));
    Some(Plot { name: "roofline".to_string(), title, description, note, data, svg })
}
