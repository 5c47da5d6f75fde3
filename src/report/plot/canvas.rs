//! What all plots share: size, colours, marks, legend, and the words for a screen reader.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width of every plot.
pub(crate) const WIDTH: u32 = 760;
/// Room on the right for the legend.
pub(crate) const LEGEND_WIDTH: u32 = 150;
/// Font of all text.
pub(crate) const FONT: &str = "sans-serif";

/// Okabe and Ito's colours without the yellow, which is too light on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// Colour of series `index`.
pub(crate) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// Lines of the grid.
pub(crate) const GRID: RGBColor = RGBColor(225, 225, 225);
/// Axes and their labels.
pub(crate) const INK: RGBColor = RGBColor(60, 60, 60);

/// Text of `size` in `colour`, anchored left and centred vertically.
pub(crate) fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    TextStyle {
        font: (FONT, size).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(HPos::Left, VPos::Center),
    }
}

/// The mark of series `index` at a pixel: circle, square, triangle, diamond, cross in turn.
pub(crate) fn mark<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    index: usize,
    (x, y): (i32, i32),
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let (colour, r) = (colour(index), 5);
    let filled = colour.filled();
    match index % 5 {
        0 => area.draw(&Circle::new((x, y), r, filled)),
        1 => area.draw(&Rectangle::new([(x - r + 1, y - r + 1), (x + r - 1, y + r - 1)], filled)),
        2 => area.draw(&Polygon::new(vec![(x, y - r), (x + r, y + r - 1), (x - r, y + r - 1)], filled)),
        3 => area.draw(&Polygon::new(vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)], filled)),
        _ => area.draw(&Cross::new((x, y), r - 1, colour.stroke_width(2))),
    }
}

/// Marks and names down the right side, from `top` on.
pub(crate) fn legend<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    names: &[String],
    top: i32,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let x = (WIDTH - LEGEND_WIDTH) as i32 + 20;
    for (index, name) in names.iter().enumerate() {
        let y = top + 20 * index as i32;
        mark(area, index, (x, y))?;
        area.draw(&Text::new(shortened(name, 18), (x + 12, y), text(13, INK)))?;
    }
    Ok(())
}

/// A name cut to `most` characters.
pub(crate) fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() > most { name.chars().take(most - 1).chain(['…']).collect() } else { name.to_string() }
}

/// Draws on an SVG of the given height and adds the words for a screen reader. A plot that cannot be drawn becomes a
/// picture that says so, never a missing report.
pub(crate) fn svg(
    height: u32,
    title: &str,
    description: &str,
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn std::error::Error>>,
) -> String {
    let mut out = String::new();
    let failure = {
        let area = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
        let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&area)).and_then(|()| Ok(area.present()?));
        drawn.err().map(|e| e.to_string())
    };
    if let Some(why) = failure {
        out = format!(
            "<svg width=\"{WIDTH}\" height=\"40\" xmlns=\"http://www.w3.org/2000/svg\"><text x=\"8\" y=\"24\">{}</text></svg>",
            escape(&format!("This plot could not be drawn: {why}"))
        );
    }
    let words = format!("<title>{}</title><desc>{}</desc>", escape(title), escape(description));
    match out.find("<svg").and_then(|start| Some(start + out[start..].find('>')?)) {
        Some(end) => {
            out.insert_str(end + 1, &words);
            out.insert_str(end, " role=\"img\"");
            out
        }
        None => out,
    }
}

/// Text within XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `1`, `10`, `0.01`: a tick of a logarithmic axis; and numbers at three digits elsewhere.
pub(crate) fn tick(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        m if m >= 1e12 => format!("{}T", trimmed(value / 1e12)),
        m if m >= 1e9 => format!("{}G", trimmed(value / 1e9)),
        m if m >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        m if m >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = crate::units::digits(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// Powers of ten, with 2 and 5 between where the range is short, that cover `low..high`.
pub(crate) fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last)
        .flat_map(|e| steps.iter().map(move |s| s * 10f64.powi(e)))
        .filter(|t| (low * 0.999..=high * 1.001).contains(t))
        .collect()
}

/// Four to six round values from `low` to `high`.
pub(crate) fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|s| s * magnitude).find(|s| *s >= rough).unwrap_or(magnitude);
    let first = (low / step).ceil();
    (0..=10).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= high).collect()
}

/// A range that holds all `values` with a tenth of it as room.
pub(crate) fn close_range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let room = if high > low { (high - low) * 0.1 } else { low.abs().max(1e-6) * 0.1 };
    (low <= high).then_some((low - room, high + room))
}

/// A range that holds all `values` with some room, from 0 where `from_zero`.
pub(crate) fn range(values: impl Iterator<Item = f64>, from_zero: bool) -> Option<(f64, f64)> {
    let values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    if from_zero { Some((0.0, if high > 0.0 { high * 1.08 } else { 1.0 })) } else { Some((low / 1.3, high * 1.3)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_read_well() {
        assert_eq!([0.01, 1.0, 250.0, 20_000.0, 1.5e9].map(tick), ["0.01", "1", "250", "20k", "1.5G"]);
        assert_eq!(log_ticks(0.9, 12.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(log_ticks(1.0, 1e5).len(), 6);
    }

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(linear_ticks(0.0, 108.0), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(linear_ticks(0.0, 0.9).len(), 5);
        assert_eq!(linear_ticks(-1.5, 2.1), [-1.0, 0.0, 1.0, 2.0]);
        assert_eq!(close_range([3.0, 2.0, f64::NAN].into_iter()), Some((1.9, 3.1)));
        assert_eq!(close_range(std::iter::empty()), None);
    }

    #[test]
    fn a_plot_speaks_and_escapes() {
        let svg = svg(100, "a <b>", "\"c\" & d", |area| {
            area.draw(&Text::new("<script>alert(1)</script>", (5, 50), text(12, INK)))?;
            Ok(())
        });
        assert!(svg.contains("<title>a &lt;b&gt;</title><desc>&quot;c&quot; &amp; d</desc>"));
        assert!(svg.contains("role=\"img\""));
        assert!(!svg.contains("<script>"), "{svg}");
    }
}
