//! Numbers as people write them in lists: `0.71`, `0,71`, `1,234.50`, `1.234,50`, `1'234.50`, `1 234,50`. Which mark is the
//! decimal one is taken from what the list itself allows, or from the mapping, and never guessed: `1,234` alone is either
//! 1234 or 1.234.

use rust_decimal::Decimal;
use serde::Deserialize;

/// Digits of a group of thousands.
const GROUP: usize = 3;
/// What stands between groups of thousands besides a comma or a point: apostrophes, spaces that do not break, underscores.
const GROUPING: [char; 7] = ['\'', '\u{2019}', ' ', '\u{a0}', '\u{202f}', '\u{2009}', '_'];
/// What stands for no cents at all, as in `12,-`.
const NO_CENTS: [&str; 4] = ["-", "--", "\u{2013}", "\u{2014}"];

/// The sign between units and their fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Mark {
    /// `0.71`.
    #[serde(rename = ".")]
    Point,
    /// `0,71`.
    #[serde(rename = ",")]
    Comma,
}

impl Mark {
    /// The sign itself.
    pub fn sign(self) -> char {
        match self {
            Self::Point => '.',
            Self::Comma => ',',
        }
    }

    fn other(self) -> char {
        match self {
            Self::Point => ',',
            Self::Comma => '.',
        }
    }
}

/// A text under both readings; `None` where it is no number in one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    point: Option<Decimal>,
    comma: Option<Decimal>,
}

impl Number {
    /// Reads an unsigned number; `None` where it is one in neither reading.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let number = Self { point: strict(text, Mark::Point), comma: strict(text, Mark::Comma) };
        (number.point.is_some() || number.comma.is_some()).then_some(number)
    }

    /// The number under one reading.
    pub(crate) fn with(self, mark: Mark) -> Option<Decimal> {
        match mark {
            Mark::Point => self.point,
            Mark::Comma => self.comma,
        }
    }

    /// The mark that this number can only be written with; `None` where either will do.
    pub(crate) fn proves(self) -> Option<Mark> {
        match (self.point, self.comma) {
            (Some(_), None) => Some(Mark::Point),
            (None, Some(_)) => Some(Mark::Comma),
            _ => None,
        }
    }

    /// The number where it does not depend on the reading; the two numbers where it does.
    pub(crate) fn certain(self) -> Result<Decimal, (Decimal, Decimal)> {
        match (self.point, self.comma) {
            (Some(point), Some(comma)) if point != comma => Err((point, comma)),
            (Some(value), _) | (None, Some(value)) => Ok(value),
            (None, None) => Ok(Decimal::ZERO),
        }
    }
}

/// A number with this decimal mark, its thousands (if it has them) in groups of three between signs that are all the same.
fn strict(text: &str, mark: Mark) -> Option<Decimal> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once(mark.sign()) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let fraction = match fraction {
        Some(dash) if NO_CENTS.contains(&dash) && !whole.is_empty() => "",
        Some(fraction) if !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) => fraction,
        Some(_) => return None,
        None => "",
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = ungrouped(whole, mark)?;
    let plain = if fraction.is_empty() { format!("0{whole}") } else { format!("0{whole}.{fraction}") };
    match exponent {
        None => plain.parse().ok(),
        Some(power) => {
            let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
            let sound = !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
            sound.then(|| Decimal::from_scientific(&format!("{plain}e{power}")).ok()).flatten()
        }
    }
}

/// The digits of a whole number without what stands between its thousands.
fn ungrouped(whole: &str, mark: Mark) -> Option<String> {
    let Some(sign) = whole.chars().find(|c| !c.is_ascii_digit()) else { return Some(whole.to_string()) };
    if sign != mark.other() && !GROUPING.contains(&sign) {
        return None;
    }
    let mut groups = whole.split(sign);
    let first = groups.next().unwrap_or("");
    let digits = |group: &str| group.bytes().all(|b| b.is_ascii_digit());
    let leads = (1..=GROUP).contains(&first.len()) && digits(first) && !first.starts_with('0');
    let follow = groups.all(|group| group.len() == GROUP && digits(group));
    (leads && follow).then(|| whole.chars().filter(char::is_ascii_digit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn what_says_its_mark_is_read_by_it() {
        for (text, mark, value) in [
            ("0.71", Mark::Point, "0.71"),
            ("0,71", Mark::Comma, "0.71"),
            ("0.526", Mark::Point, "0.526"),
            ("0,526", Mark::Comma, "0.526"),
            ("1,234.50", Mark::Point, "1234.50"),
            ("1.020,50", Mark::Comma, "1020.50"),
            ("1'234.50", Mark::Point, "1234.50"),
            ("1\u{2019}234.567", Mark::Point, "1234.567"),
            ("1 234,5", Mark::Comma, "1234.5"),
            ("1\u{202f}234,567", Mark::Comma, "1234.567"),
            ("1.234.567", Mark::Comma, "1234567"),
            ("1234,567", Mark::Comma, "1234.567"),
            (",5", Mark::Comma, "0.5"),
            ("12,-", Mark::Comma, "12"),
            ("12.\u{2013}", Mark::Point, "12"),
            ("1.5e-05", Mark::Point, "0.000015"),
            ("1,5E-5", Mark::Comma, "0.000015"),
        ] {
            let number = Number::read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((number.proves(), number.certain()), (Some(mark), Ok(decimal(value))), "{text}");
        }
    }

    #[test]
    fn what_can_be_read_two_ways_is_not_decided() {
        for (text, point, comma) in [
            ("1,234", "1234", "1.234"),
            ("1.234", "1.234", "1234"),
            ("12.240", "12.24", "12240"),
            ("1.000", "1", "1000"),
        ] {
            let number = Number::read(text).unwrap();
            assert_eq!(number.proves(), None, "{text}");
            assert_eq!(number.certain(), Err((decimal(point), decimal(comma))), "{text}");
        }
        for text in ["1234", "1 234", "1'234", "0", "1e-05"] {
            assert!(Number::read(text).unwrap().certain().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "",
            ".",
            ",",
            "1.2.3",
            "1,2,3",
            "1,23,456.78",
            "12 34",
            "1,234'567",
            "1.234.56",
            "NaN",
            "inf",
            "Infinity",
            "1e",
            "1e9999",
            "1e+",
            "0x10",
            "\u{661}",
            "\u{ff11}",
            "1..2",
            "1,.2",
            "e5",
            "1-",
            "--",
            "5.",
            "01.234.567",
        ] {
            assert_eq!(Number::read(text), None, "{text}");
        }
    }

    proptest! {
        /// Whatever a list writes between thousands and before cents, a declared mark reads it back.
        #[test]
        fn every_convention_reads_back(cents in 0u64..10_000_000_000, places in 0u32..5, mark in 0..2, group in 0..9usize) {
            let mark = [Mark::Point, Mark::Comma][mark as usize];
            let value = Decimal::new(cents as i64, places);
            let plain = format!("{value:.*}", places as usize);
            let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(w, f)| (w, Some(f)));
            let signs: [&str; 9] = ["", "'", "\u{2019}", " ", "\u{a0}", "\u{202f}", "\u{2009}", "_", if mark == Mark::Point { "," } else { "." }];
            let mut grouped = String::new();
            for (index, digit) in whole.chars().enumerate() {
                if index > 0 && (whole.len() - index) % 3 == 0 {
                    grouped.push_str(signs[group]);
                }
                grouped.push(digit);
            }
            let text = fraction.map_or(grouped.clone(), |fraction| format!("{grouped}{}{fraction}", mark.sign()));
            let number = Number::read(&text).unwrap();
            prop_assert_eq!(number.with(mark), Some(value), "{}", text);
            // Without it, it is the same number or not decided.
            if let Ok(certain) = number.certain() {
                prop_assert_eq!(certain, value, "{}", text);
            }
        }
    }
}
