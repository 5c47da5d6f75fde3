//! Plots as pixels, for what shows no SVG. The fonts are the project's own, so that every machine draws the same.

use super::fallback::{self, Fallback};
use super::plot::Plot;
use resvg::{tiny_skia, usvg};
use std::sync::{Arc, OnceLock};

/// The text of pictures and of PDFs (IBM Plex Sans, SIL Open Font Licence; see fonts/LICENSE).
pub const REGULAR: &[u8] = include_bytes!("../../fonts/IBMPlexSans-Regular.ttf");
/// Headings.
pub const SEMIBOLD: &[u8] = include_bytes!("../../fonts/IBMPlexSans-SemiBold.ttf");
const FAMILY: &str = "IBM Plex Sans";
/// Pixels for each unit of the drawing: sharp on dense screens and on paper.
const SCALE: f32 = 2.0;

/// The fonts, and another for what they lack.
fn with_fonts(other: Option<Fallback>) -> usvg::Options<'static> {
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(REGULAR.to_vec());
    fonts.load_font_data(SEMIBOLD.to_vec());
    if let Some(other) = other {
        fonts.load_font_data(other.data.to_vec());
    }
    fonts.set_sans_serif_family(FAMILY);
    usvg::Options { font_family: FAMILY.to_string(), fontdb: Arc::new(fonts), ..usvg::Options::default() }
}

/// The project's fonts, loaded once.
fn options() -> &'static usvg::Options<'static> {
    static OPTIONS: OnceLock<usvg::Options<'static>> = OnceLock::new();
    OPTIONS.get_or_init(|| with_fonts(None))
}

/// The drawing of a plot.
pub fn tree(plot: &Plot) -> anyhow::Result<usvg::Tree> {
    let missing = fallback::missing(&plot.svg);
    if missing.is_empty() {
        return Ok(usvg::Tree::from_str(&plot.svg, options())?);
    }
    let other = fallback::find(&missing);
    let has = |c: char| {
        let face = other.as_ref().and_then(|font| ttf_parser::Face::parse(font.data, font.index).ok());
        face.is_some_and(|face| face.glyph_index(c).is_some())
    };
    // What no font has would be drawn as nothing.
    let lost: Vec<char> = missing.into_iter().filter(|c| !has(*c)).collect();
    let svg: String =
        plot.svg.chars().map(|c| if lost.contains(&c) { fallback::by_number(c) } else { c.to_string() }).collect();
    Ok(usvg::Tree::from_str(&svg, &with_fonts(other))?)
}

/// The plot as a PNG file.
pub fn png(plot: &Plot) -> anyhow::Result<Vec<u8>> {
    let tree = tree(plot)?;
    let size = tree.size();
    let (width, height) = ((size.width() * SCALE) as u32, (size.height() * SCALE) as u32);
    let mut pixels =
        tiny_skia::Pixmap::new(width, height).ok_or_else(|| anyhow::anyhow!("{} is too large to draw", plot.name))?;
    pixels.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    Ok(pixels.encode_png()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Table;

    #[test]
    fn text_is_drawn_by_the_own_font_wherever_it_runs() {
        let svg = "<svg width=\"60\" height=\"20\" xmlns=\"http://www.w3.org/2000/svg\">\
                   <text x=\"2\" y=\"15\" font-family=\"sans-serif\" font-size=\"14\">words</text></svg>";
        let plot = Plot {
            name: "p".into(),
            title: String::new(),
            description: String::new(),
            note: String::new(),
            data: Table::new("", &[]),
            svg: svg.into(),
        };
        let file = png(&plot).unwrap();
        let pixels = tiny_skia::Pixmap::decode_png(&file).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (120, 40));
        let dark = pixels.pixels().iter().filter(|pixel| pixel.red() < 100).count();
        assert!(dark > 50, "{dark} dark pixels");
    }
}
