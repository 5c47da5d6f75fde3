//! How wide text is, and where it breaks.

use crate::report::picture::{REGULAR, SEMIBOLD};
use std::collections::HashMap;
use ttf_parser::Face;

/// Which of the two faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weight {
    /// Text.
    Regular,
    /// Headings.
    SemiBold,
}

/// Widths of the characters of both faces, in parts of the size.
pub struct Metrics {
    faces: [(Face<'static>, HashMap<char, f32>); 2],
}

impl Metrics {
    /// Of the project's fonts.
    pub fn new() -> anyhow::Result<Self> {
        let face = |bytes: &'static [u8]| anyhow::Ok((Face::parse(bytes, 0)?, HashMap::new()));
        Ok(Self { faces: [face(REGULAR)?, face(SEMIBOLD)?] })
    }

    fn advance(&mut self, c: char, weight: Weight) -> f32 {
        let (face, known) = &mut self.faces[weight as usize];
        *known.entry(c).or_insert_with(|| {
            let glyph = face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph));
            f32::from(glyph.unwrap_or(600)) / f32::from(face.units_per_em())
        })
    }

    /// Text of which every character can be drawn: control characters become spaces, what the fonts lack a question mark.
    pub fn drawable(&self, text: &str) -> String {
        let face = &self.faces[0].0;
        text.chars()
            .map(|c| match c {
                c if c.is_control() => ' ',
                c if face.glyph_index(c).is_some() => c,
                _ => '?',
            })
            .collect()
    }

    /// The width of text of a size.
    pub fn width(&mut self, text: &str, weight: Weight, size: f32) -> f32 {
        text.chars().map(|c| self.advance(c, weight)).sum::<f32>() * size
    }

    /// Lines no wider than `most`, broken between words; within one where it is wider alone.
    pub fn lines(&mut self, text: &str, weight: Weight, size: f32, most: f32) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        let mut used = 0.0;
        let space = self.width(" ", weight, size);
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let width = self.width(word, weight, size);
            if !line.is_empty() && used + space + width > most {
                lines.push(std::mem::take(&mut line));
                used = 0.0;
            }
            if !line.is_empty() {
                line.push(' ');
                used += space;
            }
            if width <= most {
                line.push_str(word);
                used += width;
                continue;
            }
            for c in word.chars() {
                let width = self.advance(c, weight) * size;
                if used + width > most && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                    used = 0.0;
                }
                line.push(c);
                used += width;
            }
        }
        if !line.is_empty() || lines.is_empty() {
            lines.push(line);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_line_is_wider_than_it_may_and_no_word_is_lost(text in "[a-zA-Z0-9 :;,./=<>|-]{0,200}", most in 20f32..300.0) {
            let mut metrics = Metrics::new().unwrap();
            let lines = metrics.lines(&text, Weight::Regular, 8.0, most);
            for line in &lines {
                prop_assert!(metrics.width(line, Weight::Regular, 8.0) <= most + 0.01, "{line}");
            }
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
