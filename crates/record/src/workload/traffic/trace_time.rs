//! What the times of a trace mean. A number alone does not say whether it counts seconds or milliseconds, and a trace that
//! is read a thousand times too fast is a load that nobody has: the unit is known from a name, from a known format or from
//! the size of a count since 1970, and asked for where it is not.

use crate::names::none_of;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// What a number of a trace counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(parse_err_ty = String, parse_err_fn = none_of::<TimeUnit>)]
pub enum TimeUnit {
    /// Seconds.
    #[strum(serialize = "s")]
    Seconds,
    /// Thousandths.
    #[strum(serialize = "ms")]
    Milliseconds,
    /// Millionths.
    #[strum(serialize = "us")]
    Microseconds,
    /// Billionths.
    #[strum(serialize = "ns")]
    Nanoseconds,
}

impl TimeUnit {
    /// In seconds.
    pub fn seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 1e-3,
            Self::Microseconds => 1e-6,
            Self::Nanoseconds => 1e-9,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }
}

/// Columns of times, the first to be looked for first, and what a name says of the unit.
pub(super) const TIMES: [(&str, Option<TimeUnit>); 11] = [
    ("timestamp_s", Some(TimeUnit::Seconds)),
    ("timestamp_ms", Some(TimeUnit::Milliseconds)),
    ("timestamp_us", Some(TimeUnit::Microseconds)),
    ("timestamp_ns", Some(TimeUnit::Nanoseconds)),
    ("arrival_s", Some(TimeUnit::Seconds)),
    ("arrival_ms", Some(TimeUnit::Milliseconds)),
    ("Timestamp", None),
    ("TIMESTAMP", None),
    ("timestamp", None),
    ("arrived_at", None),
    ("arrival_time", None),
];

/// A moment as a file writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TraceTimestamp {
    /// A count of something.
    Number(f64),
    /// A date with its zone, as seconds since 1970.
    Zoned(f64),
    /// A date without one, as seconds since 1970 in whatever zone it is.
    Plain(f64),
}

impl TraceTimestamp {
    /// Reads a number, or a date with a time of day.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(number) = text.parse::<f64>() {
            let fits = number.is_finite() && number.abs() < 1e19;
            return if fits { Ok(Self::Number(number)) } else { Err(format!("`{text}` is not a time")) };
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(Self::Zoned(moment.as_nanosecond() as f64 / 1e9));
        }
        // A date with a zone that is not understood must not be taken for one without.
        let zoned = text.get(11..).is_some_and(|time| time.contains(['+', '-', '[', 'Z', 'z']));
        let plain = Some(text).filter(|_| !zoned).and_then(|text| text.parse::<DateTime>().ok());
        let moment = plain.and_then(|plain| TimeZone::UTC.to_timestamp(plain).ok());
        match moment {
            Some(moment) => Ok(Self::Plain(moment.as_nanosecond() as f64 / 1e9)),
            None => Err(format!("`{text}` is neither a number nor a date and time")),
        }
    }

    fn value(self) -> f64 {
        match self {
            Self::Number(value) | Self::Zoned(value) | Self::Plain(value) => value,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Zoned(_) => "a date with a zone",
            Self::Plain(_) => "a date without a zone",
        }
    }
}

/// What a file shows beside its times.
#[derive(Debug, Clone, Default)]
pub(super) struct Signs {
    /// The column of the times.
    pub column: String,
    /// What its name says.
    pub named: Option<TimeUnit>,
    /// `input_length` and `output_length`, as Mooncake and Bailian call them.
    pub input_length: bool,
    /// `hash_ids`, which Mooncake's and Bailian's have.
    pub hash_ids: bool,
    /// `chat_id`, which only Bailian's have.
    pub chat_id: bool,
    /// `Request tokens`, as BurstGPT calls them.
    pub request_tokens: bool,
    /// `num_prefill_tokens`, as Vidur calls them.
    pub num_prefill_tokens: bool,
}

/// Seconds of each moment from some fixed one, and how that was understood. `moments` have the lines that they stand on; an
/// error may name one.
pub(super) fn understood(
    moments: &[(usize, TraceTimestamp)],
    signs: &Signs,
    asked: Option<TimeUnit>,
) -> Result<(Vec<f64>, String), (usize, String)> {
    let Some((_, first)) = moments.first().copied() else { return Ok((Vec::new(), String::new())) };
    let kind = |when: &TraceTimestamp| std::mem::discriminant(when);
    if let Some((line, other)) = moments.iter().find(|(_, when)| kind(when) != kind(&first)) {
        return Err((*line, format!("{} stands where the first line has {}", other.words(), first.words())));
    }
    let column = &signs.column;
    let (factor, words) = match first {
        TraceTimestamp::Number(_) => {
            let numbers: Vec<f64> = moments.iter().map(|(_, when)| when.value()).collect();
            let (unit, why) = unit(&numbers, signs, asked).map_err(|why| (0, why))?;
            (unit.seconds(), format!("`{column}` counts {} ({why})", unit.words()))
        }
        _ if asked.is_some() => return Err((0, format!("--trace-unit is for numbers; `{column}` holds dates"))),
        TraceTimestamp::Zoned(_) => (1.0, format!("`{column}` holds dates with their zones")),
        TraceTimestamp::Plain(_) => {
            (1.0, format!("`{column}` holds dates without a zone, taken as one zone in which no clock is changed"))
        }
    };
    // Taken from the first before they are scaled: counts since 1970 have no room for parts of a second otherwise.
    let begin = first.value();
    Ok((moments.iter().map(|(_, when)| (when.value() - begin) * factor).collect(), words))
}

/// The longest that a trace may span for its times to be a count since 1970.
const LONGEST_SPAN: f64 = 1e7;
/// From 2015 to 2040, in seconds since 1970.
const THIS_AGE: std::ops::Range<f64> = 1.42e9..2.21e9;

/// The unit in which all numbers are moments of this age.
fn since_1970(numbers: &[f64]) -> Option<TimeUnit> {
    let (least, most) =
        numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), n| (least.min(*n), most.max(*n)));
    TimeUnit::VARIANTS.iter().copied().find(|unit| {
        let [least, most] = [least, most].map(|number| number * unit.seconds());
        THIS_AGE.contains(&least) && THIS_AGE.contains(&most) && most - least <= LONGEST_SPAN
    })
}

fn unit(numbers: &[f64], signs: &Signs, asked: Option<TimeUnit>) -> Result<(TimeUnit, String), String> {
    let column = &signs.column;
    let epoch = since_1970(numbers);
    if let Some(asked) = asked {
        let contrary = signs.named.or(epoch).filter(|unit| *unit != asked);
        let remark =
            contrary.map_or(String::new(), |unit| format!(", against the {} that the file says", unit.words()));
        return Ok((asked, format!("as --trace-unit says{remark}")));
    }
    let from = |unit: TimeUnit| {
        let day = numbers.first().and_then(|first| Timestamp::from_second((first * unit.seconds()) as i64).ok());
        day.map_or(String::new(), |day| format!(", from {}", Offset::UTC.to_datetime(day).date()))
    };
    if let Some(named) = signs.named {
        return match epoch.filter(|unit| *unit != named) {
            Some(unit) => Err(format!(
                "`{column}` is of {} by its name and counts {} since 1970 by its numbers: say which with --trace-unit \
                 {named} or --trace-unit {unit}",
                named.words(),
                unit.words()
            )),
            None if epoch.is_some() => Ok((named, format!("as its name says, since 1970{}", from(named)))),
            None => Ok((named, "as its name says".to_string())),
        };
    }
    if let Some(unit) = epoch {
        return Ok((unit, format!("since 1970{}", from(unit))));
    }
    let known = |unit, format: &str| Ok((unit, format!("as in traces of {format}")));
    if numbers.iter().all(|number| Some(number) == numbers.first()) {
        return Ok((TimeUnit::Seconds, "all at once, so that the unit does not matter".to_string()));
    }
    if signs.request_tokens {
        return known(TimeUnit::Seconds, "BurstGPT");
    }
    if signs.num_prefill_tokens && column == "arrived_at" {
        return known(TimeUnit::Seconds, "Vidur");
    }
    if signs.input_length && signs.chat_id {
        return known(TimeUnit::Seconds, "Bailian");
    }
    if signs.input_length && signs.hash_ids && numbers.iter().all(|number| number.fract() == 0.0) {
        return known(TimeUnit::Milliseconds, "Mooncake");
    }
    Err(format!(
        "`{column}` may count seconds or milliseconds, and nothing in the file says which: say it with --trace-unit s \
         or --trace-unit ms (or us, ns)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(numbers: &[f64], signs: Signs, asked: Option<TimeUnit>) -> Result<(Vec<f64>, String), String> {
        let moments: Vec<(usize, TraceTimestamp)> =
            numbers.iter().map(|number| (1, TraceTimestamp::Number(*number))).collect();
        understood(&moments, &signs, asked).map_err(|(_, why)| why)
    }

    fn bare(change: fn(&mut Signs)) -> Signs {
        let mut signs = Signs { column: "timestamp".into(), ..Signs::default() };
        change(&mut signs);
        signs
    }

    #[test]
    fn the_unit_is_known_from_the_format_or_asked_for() {
        let mooncake = bare(|signs| (signs.input_length, signs.hash_ids) = (true, true));
        let bailian = bare(|signs| (signs.input_length, signs.hash_ids, signs.chat_id) = (true, true, true));
        assert_eq!(seconds(&[27.0, 3027.0], mooncake.clone(), None).unwrap().0, [0.0, 3.0]);
        assert_eq!(seconds(&[10.5, 12.5, 15.5], bailian.clone(), None).unwrap().0, [0.0, 2.0, 5.0]);
        assert_eq!(seconds(&[10.0, 12.0], bailian, None).unwrap().0, [0.0, 2.0]);
        for (numbers, signs) in [
            (vec![10.5, 12.5], mooncake.clone()),
            (vec![1.0, 2.0], bare(|signs| signs.input_length = true)),
            (vec![1.0, 2.0], bare(|_| ())),
            // The clock of a machine since it was started, in nanoseconds, is not of the year 2001.
            (vec![1.0e12, 1.5e12], bare(|_| ())),
        ] {
            assert!(seconds(&numbers, signs.clone(), None).unwrap_err().contains("--trace-unit s"));
            let (at, words) = seconds(&numbers, signs, Some(TimeUnit::Milliseconds)).unwrap();
            assert!((at[1] - (numbers[1] - numbers[0]) / 1e3).abs() < 1e-9 && words.contains("as --trace-unit says"));
        }
        assert!(seconds(&[1.0, 3.0], bare(|signs| signs.request_tokens = true), None).unwrap().1.contains("BurstGPT"));
    }

    #[test]
    fn counts_since_1970_say_their_unit_by_their_size() {
        for (scale, words) in [(1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")] {
            let numbers = [1.7e9 * scale, 1.7e9 * scale + 2.0 * scale];
            let (at, said) = seconds(&numbers, bare(|_| ()), None).unwrap();
            assert!((at[1] - 2.0).abs() < 1e-3, "{at:?}");
            assert!(said.contains(&format!("counts {words} (since 1970, from 2023-11-14)")), "{said}");
        }
        let named = bare(|signs| signs.named = Some(TimeUnit::Seconds));
        let why = seconds(&[1.7e12, 1.7e12 + 5000.0], named.clone(), None).unwrap_err();
        assert!(why.contains("--trace-unit s or --trace-unit ms"), "{why}");
        let (at, said) = seconds(&[1.7e12, 1.7e12 + 5000.0], named, Some(TimeUnit::Milliseconds)).unwrap();
        assert!(at == [0.0, 5.0] && said.contains("against the seconds that the file says"), "{said}");
    }

    #[test]
    fn zones_count_and_are_not_mixed() {
        let read = |texts: &[&str]| {
            let moments: Vec<(usize, TraceTimestamp)> = texts
                .iter()
                .enumerate()
                .map(|(index, text)| (index + 2, TraceTimestamp::read(text).unwrap()))
                .collect();
            understood(&moments, &bare(|_| ()), None)
        };
        assert_eq!(read(&["2024-05-10 00:00:00.25+00:00", "2024-05-10T02:00:01.25+02:00"]).unwrap().0, [0.0, 1.0]);
        assert_eq!(read(&["2024-05-10 00:00:00-05:00", "2024-05-10 05:00:03Z"]).unwrap().0, [0.0, 3.0]);
        let (at, said) = read(&["2023-11-16 18:15:46.6805900", "2023-11-16 18:15:46.9805900"]).unwrap();
        assert!((at[1] - 0.3).abs() < 1e-6 && said.contains("without a zone"));
        let (line, why) = read(&["2024-05-10 00:00:00Z", "2024-05-10 00:00:01"]).unwrap_err();
        assert!(line == 3 && why.contains("a date without a zone stands where the first line has a date with a zone"));
        assert!(read(&["2024-05-10 00:00:00Z", "17"]).unwrap_err().1.contains("a number stands where"));
        for bad in ["16/11/2023 18:15", "2024-05-10 00:00:00+25:99", "soon", "NaN", "1e40"] {
            assert!(TraceTimestamp::read(bad).is_err(), "{bad}");
        }
    }
}
