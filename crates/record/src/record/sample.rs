//! Rows of samples.csv and power.csv: what was observed, before any statistics.

use super::plausible::range;
use crate::units::{Bytes, Joules, Seconds, Watts};
use std::collections::HashMap;

/// One iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    /// The case that it belongs to.
    pub case_id: String,
    /// Count from 0, warm-up included.
    pub iteration: usize,
    /// It was a warm-up and is not in the statistics.
    pub warmup: bool,
    /// Start, from the start of the case's first iteration.
    pub start: Seconds,
    /// When each token was there, from the start of the iteration; the first is TTFT, the last E2E.
    pub token_times: Vec<Seconds>,
}

impl SampleRow {
    /// The header of samples.csv.
    pub const HEADER: [&'static str; 7] =
        ["case_id", "iteration", "phase", "start_s", "ttft_s", "e2e_s", "token_times_s"];

    /// First token - start; `None` for an iteration without tokens.
    pub fn ttft(&self) -> Option<Seconds> {
        self.token_times.first().copied()
    }

    /// Last token - start.
    pub fn e2e(&self) -> Option<Seconds> {
        self.token_times.last().copied()
    }

    /// `(E2E - TTFT) / (n - 1)`, from two tokens on.
    pub fn tpot(&self) -> Option<Seconds> {
        match self.token_times.as_slice() {
            [first, .., last] => Some(Seconds((last.0 - first.0) / (self.token_times.len() - 1) as f64)),
            _ => None,
        }
    }

    /// Gaps between consecutive tokens.
    pub fn gaps(&self) -> impl Iterator<Item = Seconds> + '_ {
        self.token_times.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// The fields under [`SampleRow::HEADER`].
    pub fn fields(&self) -> Vec<String> {
        let number = |value: Option<Seconds>| value.map_or(String::new(), |v| format!("{:.9}", v.0));
        let times: Vec<String> = self.token_times.iter().map(|t| format!("{:.9}", t.0)).collect();
        vec![
            self.case_id.clone(),
            self.iteration.to_string(),
            if self.warmup { "warmup" } else { "measure" }.to_string(),
            format!("{:.9}", self.start.0),
            number(self.ttft()),
            number(self.e2e()),
            times.join(";"),
        ]
    }

    /// Reads a row from fields by name; the error names the column.
    pub fn from_fields(fields: &HashMap<String, String>) -> Result<Self, String> {
        let text = |name: &str| text_field(fields, name);
        let seconds = |name: &str, text: &str| measured_field(name, text).map(Seconds);
        let row = Self {
            case_id: text("case_id")?.to_string(),
            iteration: text("iteration")?.parse().map_err(|e| format!("column `iteration`: {e}"))?,
            warmup: match text("phase")? {
                "warmup" => true,
                "measure" => false,
                other => return Err(format!("column `phase`: `{other}` is neither warmup nor measure")),
            },
            start: seconds("start_s", text("start_s")?)?,
            token_times: text("token_times_s")?
                .split(';')
                .filter(|part| !part.is_empty())
                .map(|part| seconds("token_times_s", part))
                .collect::<Result<_, _>>()?,
        };
        if let Some(pair) = row.token_times.windows(2).find(|pair| pair[1] < pair[0]) {
            return Err(format!(
                "column `token_times_s`: a token at {} s stands after one at {} s",
                pair[1].0, pair[0].0
            ));
        }
        for (name, own) in [("ttft_s", row.ttft()), ("e2e_s", row.e2e())] {
            // Written to a billionth of a second.
            let said =
                Some(text(name)?).filter(|text| !text.is_empty()).map(|text| number_field(name, text)).transpose()?;
            if said.zip(own).is_some_and(|(said, own)| (said - own.0).abs() > 2e-9) || said.is_some() != own.is_some() {
                return Err(format!("column `{name}` is not what `token_times_s` says"));
            }
        }
        Ok(row)
    }
}

/// One reading of a power source.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PowerRow {
    /// The case that ran.
    pub case_id: String,
    /// The window of the case, from 0.
    pub window: usize,
    /// From the opening of the window.
    pub time: Seconds,
    /// What was read, such as `package-0` or `gpu0`.
    pub zone: String,
    /// Energy since the opening of the window, where the zone counts it.
    pub energy: Option<Joules>,
    /// Power as read; of a zone that only counts, the mean since the reading before.
    pub power: Option<Watts>,
    /// Clock of the multiprocessors.
    pub sm_clock_mhz: Option<f64>,
    /// Temperature in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Memory in use on the device.
    pub memory_used: Option<Bytes>,
    /// Processes of others that computed on the device.
    pub foreign_processes: Option<usize>,
    /// Why the clock was not at its highest, separated by spaces.
    pub throttle: String,
}

impl PowerRow {
    /// The header of power.csv.
    pub const HEADER: [&'static str; 11] = [
        "case_id",
        "window",
        "time_s",
        "zone",
        "energy_j",
        "power_w",
        "sm_clock_mhz",
        "temperature_c",
        "memory_used_bytes",
        "foreign_processes",
        "throttle_reasons",
    ];

    /// The fields under [`PowerRow::HEADER`].
    pub fn fields(&self) -> Vec<String> {
        let number = |value: Option<f64>, places: usize| value.map_or(String::new(), |v| format!("{v:.places$}"));
        vec![
            self.case_id.clone(),
            self.window.to_string(),
            format!("{:.6}", self.time.0),
            self.zone.clone(),
            number(self.energy.map(|e| e.0), 6),
            number(self.power.map(|p| p.0), 3),
            number(self.sm_clock_mhz, 0),
            number(self.temperature_c, 0),
            number(self.memory_used.map(|m| m.0), 0),
            number(self.foreign_processes.map(|n| n as f64), 0),
            self.throttle.clone(),
        ]
    }

    /// Reads a row from fields by name; the error names the column.
    pub fn from_fields(fields: &HashMap<String, String>) -> Result<Self, String> {
        let text = |name: &str| text_field(fields, name);
        let number = |name: &str| match text(name)? {
            "" => Ok(None),
            // A temperature may be below 0 outside of a data centre.
            text if name == "temperature_c" => number_field(name, text).map(Some),
            text => measured_field(name, text).map(Some),
        };
        let processes = number("foreign_processes")?;
        if processes.is_some_and(|count| count.fract() != 0.0) {
            return Err("column `foreign_processes` is no whole number".to_string());
        }
        Ok(Self {
            case_id: text("case_id")?.to_string(),
            window: text("window")?.parse().map_err(|e| format!("column `window`: {e}"))?,
            time: Seconds(number("time_s")?.ok_or("column `time_s` is empty")?),
            zone: text("zone")?.to_string(),
            energy: number("energy_j")?.map(Joules),
            power: number("power_w")?.map(Watts),
            sm_clock_mhz: number("sm_clock_mhz")?,
            temperature_c: number("temperature_c")?,
            memory_used: number("memory_used_bytes")?.map(Bytes),
            foreign_processes: processes.map(|count| count as usize),
            throttle: text("throttle_reasons")?.to_string(),
        })
    }
}

/// The field called `name`.
pub(super) fn text_field<'a>(fields: &'a HashMap<String, String>, name: &str) -> Result<&'a str, String> {
    fields.get(name).map(String::as_str).ok_or_else(|| format!("column `{name}` is missing"))
}

/// The number in a field.
pub(super) fn number_field(name: &str, text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("column `{name}`: `{text}` is not a number")),
    }
}

/// The number in a field that holds a measured amount: not below 0, and not more than its unit can be.
pub(super) fn measured_field(name: &str, text: &str) -> Result<f64, String> {
    let value = number_field(name, text)?;
    let (least, most) = range(name).unwrap_or((0.0, f64::MAX));
    match value {
        value if value < least => Err(format!("column `{name}`: {text} is below 0")),
        value if value > most => Err(format!("column `{name}`: {text} is more than can be ({most:e} at most)")),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_metrics_by_their_definitions() {
        let row = SampleRow {
            case_id: "a".into(),
            iteration: 3,
            warmup: false,
            start: Seconds(1.5),
            token_times: vec![Seconds(0.5), Seconds(0.75), Seconds(1.25)],
        };
        assert_eq!(row.ttft(), Some(Seconds(0.5)));
        assert_eq!(row.e2e(), Some(Seconds(1.25)));
        assert_eq!(row.tpot(), Some(Seconds(0.375)));
        assert_eq!(row.gaps().collect::<Vec<_>>(), [Seconds(0.25), Seconds(0.5)]);
        let fields: HashMap<String, String> =
            SampleRow::HEADER.into_iter().map(String::from).zip(row.fields()).collect();
        assert_eq!(SampleRow::from_fields(&fields), Ok(row));
    }

    #[test]
    fn readings_are_read_back_and_what_is_absent_stays_so() {
        let full = PowerRow {
            case_id: "a".into(),
            window: 2,
            time: Seconds(0.25),
            zone: "gpu0".into(),
            energy: Some(Joules(12.5)),
            power: Some(Watts(250.0)),
            sm_clock_mhz: Some(1980.0),
            temperature_c: Some(61.0),
            memory_used: Some(Bytes(2e9)),
            foreign_processes: Some(1),
            throttle: "power_cap thermal".into(),
        };
        for row in [full, PowerRow { zone: "package-0".into(), ..PowerRow::default() }] {
            let mut fields: HashMap<String, String> =
                PowerRow::HEADER.into_iter().map(String::from).zip(row.fields()).collect();
            assert_eq!(PowerRow::from_fields(&fields), Ok(row));
            fields.insert("power_w".into(), "inf".into());
            assert!(PowerRow::from_fields(&fields).unwrap_err().contains("power_w"));
        }
    }
}
