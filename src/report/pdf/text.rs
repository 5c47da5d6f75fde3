//! How wide text is, and where it breaks.

use crate::report::fallback::{self, Fallback};
use crate::report::picture::{REGULAR, SEMIBOLD};
use std::collections::{BTreeSet, HashMap};
use ttf_parser::Face;

/// Which of the two faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Weight {
    /// Text.
    Regular,
    /// Headings.
    SemiBold,
}

/// Widths of the characters of both faces, in parts of the size.
pub(crate) struct Metrics {
    faces: [(Face<'static>, HashMap<char, f32>); 2],
    /// For what they lack.
    fallback: Option<(Fallback, Face<'static>)>,
    /// What they lack of the text so far.
    pub missing: BTreeSet<char>,
    /// What no font has, and stands by its number.
    pub undrawn: BTreeSet<char>,
}

impl Metrics {
    /// Of the project's fonts, and of another for what they lack.
    pub(crate) fn new(fallback: Option<Fallback>) -> anyhow::Result<Self> {
        let face = |bytes: &'static [u8]| anyhow::Ok((Face::parse(bytes, 0)?, HashMap::new()));
        let fallback = match fallback {
            Some(font) => Some((font.clone(), Face::parse(font.data, font.index)?)),
            None => None,
        };
        let faces = [face(REGULAR)?, face(SEMIBOLD)?];
        Ok(Self { faces, fallback, missing: BTreeSet::new(), undrawn: BTreeSet::new() })
    }

    /// The font for what the others lack.
    pub(crate) fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref().map(|(font, _)| font)
    }

    /// Whether the other font draws a character.
    fn is_other(&self, c: char) -> bool {
        let other = self.fallback.as_ref().is_some_and(|(_, face)| face.glyph_index(c).is_some());
        other && self.faces[0].0.glyph_index(c).is_none()
    }

    /// The width of a character in parts of the size.
    fn natural(&self, c: char, weight: Weight) -> f32 {
        let own = &self.faces[weight as usize].0;
        let face = self.fallback.as_ref().filter(|_| self.is_other(c)).map_or(own, |(_, face)| face);
        let glyph = face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph));
        f32::from(glyph.unwrap_or(600)) / f32::from(face.units_per_em())
    }

    fn advance(&mut self, c: char, weight: Weight) -> f32 {
        if let Some(known) = self.faces[weight as usize].1.get(&c) {
            return *known;
        }
        let width = self.natural(c, weight);
        self.faces[weight as usize].1.insert(c, width);
        width
    }

    /// Text of which every character can be drawn: control characters become spaces, what no font has its number.
    pub(crate) fn drawable(&mut self, text: &str) -> String {
        let mut drawn = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_control() {
                drawn.push(' ');
            } else if self.faces[0].0.glyph_index(c).is_some() {
                drawn.push(c);
            } else {
                self.missing.insert(c);
                if self.is_other(c) {
                    drawn.push(c);
                } else {
                    self.undrawn.insert(c);
                    drawn.push_str(&fallback::by_number(c));
                }
            }
        }
        drawn
    }

    /// Stretches of text by the font that draws them: how far each begins from the left, and whether the other font does.
    pub(crate) fn runs<'a>(&self, text: &'a str, weight: Weight, size: f32) -> Vec<(f32, bool, &'a str)> {
        let mut runs: Vec<(f32, bool, usize)> = Vec::new();
        let mut left = 0.0;
        for (at, c) in text.char_indices() {
            let other = self.is_other(c);
            if runs.last().is_none_or(|(_, last, _)| *last != other) {
                runs.push((left, other, at));
            }
            left += self.natural(c, weight) * size;
        }
        let ends = runs.iter().skip(1).map(|(_, _, at)| *at).chain([text.len()]).collect::<Vec<_>>();
        runs.iter().zip(ends).map(|((left, other, at), end)| (*left, *other, &text[*at..end])).collect()
    }

    /// The width of text of a size.
    pub(crate) fn width(&mut self, text: &str, weight: Weight, size: f32) -> f32 {
        text.chars().map(|c| self.advance(c, weight)).sum::<f32>() * size
    }

    /// Lines no wider than `most`, broken between words; within one where it is wider alone.
    pub(crate) fn lines(&mut self, text: &str, weight: Weight, size: f32, most: f32) -> Vec<String> {
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

    #[test]
    fn what_no_font_has_stands_by_its_number_and_is_counted() {
        let mut metrics = Metrics::new(None).unwrap();
        assert_eq!(metrics.drawable("a\u{7}中文-7b"), "a \\u{4e2d}\\u{6587}-7b");
        assert_eq!(metrics.undrawn.iter().collect::<String>(), "中文");
        assert_eq!(metrics.runs("plain", Weight::Regular, 10.0), [(0.0, false, "plain")]);
    }

    #[test]
    fn another_font_draws_what_ours_lacks_where_it_has_it() {
        let wanted = BTreeSet::from(['\u{2801}', '中']);
        // Any font will do for the test; a machine without fonts has nothing to test.
        let Some(font) = fallback::find(&wanted) else { return };
        let mut metrics = Metrics::new(Some(font)).unwrap();
        let has = |metrics: &Metrics, c| metrics.is_other(c);
        let Some(c) = wanted.into_iter().find(|c| has(&metrics, *c)) else { return };
        let text = metrics.drawable(&format!("a{c}b"));
        assert_eq!(text, format!("a{c}b"));
        assert!(metrics.undrawn.is_empty());
        let runs = metrics.runs(&text, Weight::Regular, 10.0);
        assert_eq!(runs.iter().map(|(_, other, _)| *other).collect::<Vec<_>>(), [false, true, false]);
        assert!(runs[2].0 > runs[1].0 && runs[1].0 > 0.0);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_it_may_and_no_word_is_lost(text in "[a-zA-Z0-9 :;,./=<>|-]{0,200}", most in 20f32..300.0) {
            let mut metrics = Metrics::new(None).unwrap();
            let lines = metrics.lines(&text, Weight::Regular, 8.0, most);
            for line in &lines {
                prop_assert!(metrics.width(line, Weight::Regular, 8.0) <= most + 0.01, "{line}");
            }
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
