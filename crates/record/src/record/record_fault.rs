//! What no run.json can say: numbers below 0 or beyond reason, dates of another age, intervals the wrong way round. The
//! whole file is walked, so that what is added to the record later is held to its unit too.

use super::outcome::Basis;
use super::plausible::{out_of_order, range, within};
use super::run::RunRecord;
use crate::units::Usd;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Times that may be below 0: what is left over when measured parts are taken from a measured whole.
const MAY_BE_NEGATIVE: [&str; 1] = ["transfer_s"];
/// Shares of a whole.
const SHARES: [&str; 5] = ["goodput", "percentile", "share_lo", "share_hi", "sparsity"];
/// Counts that no machine exceeds.
const COUNTS: [&str; 7] = ["threads", "engine_threads", "cores", "sockets", "accelerators", "slots", "numa_nodes"];
const MOST_COUNTED: f64 = 1e7;
/// A record is not older than the epoch of the clock, and not of a later age than this.
const LAST_YEAR: i16 = 2199;
/// Seconds that a clock may be set back while a run is under way.
const CLOCK_STEP: f64 = 86_400.0;

/// Something that cannot be, and where.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    /// The line of the file, from 1; 0 where it is not known.
    pub line: usize,
    /// What is wrong, with the path of its key.
    pub message: String,
}

/// The first thing of a run.json that cannot be. `value` and `record` are the same file, `text`, read in two ways.
pub(super) fn fault(text: &str, value: &Value, record: &RunRecord) -> Option<Fault> {
    let found = walk(&mut String::new(), value).or_else(|| contradiction(record));
    found.map(|(path, shown, why)| Fault {
        line: line_of(text, &path, shown.as_deref()),
        message: format!("`{path}`: {why}"),
    })
}

/// The path of a key, its value as the file has it where that is a plain one, and what is wrong.
type Found = (String, Option<String>, String);

fn walk(path: &mut String, value: &Value) -> Option<Found> {
    match value {
        Value::Object(map) => interval(path, map).or_else(|| {
            map.iter().find_map(|(key, value)| {
                let length = path.len();
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(key);
                let found = plain(key, value).map(|why| (path.clone(), Some(value.to_string()), why));
                let found = found.or_else(|| walk(path, value));
                path.truncate(length);
                found
            })
        }),
        Value::Array(list) => {
            // The numbers of a list have the unit of its name.
            let key = path.rsplit('.').next().unwrap_or("").to_string();
            list.iter().find_map(|value| match value {
                Value::Number(_) => plain(&key, value).map(|why| (path.clone(), Some(value.to_string()), why)),
                _ => walk(path, value),
            })
        }
        _ => None,
    }
}

/// What is wrong with the value of a key by itself.
fn plain(key: &str, value: &Value) -> Option<String> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        // Money is written as text, to be exact.
        Value::String(text) if key == "usd_per_hour" => return Usd(text.trim().parse().ok()?).hourly_fault(),
        _ => return None,
    };
    if SHARES.contains(&key) && !(0.0..=1.0).contains(&number) {
        return Some(format!("{number} is no share from 0 to 1"));
    }
    if COUNTS.contains(&key) && number > MOST_COUNTED {
        return Some(format!("{number} is more than any machine has"));
    }
    let (least, most) = range(key)?;
    if number < least && !MAY_BE_NEGATIVE.contains(&key) {
        return Some(format!("{number} is below 0"));
    }
    (number.abs() > most).then(|| format!("{number} is more than can be ({most:e} at most)"))
}

/// What is wrong between a value and its interval, or between percentiles.
fn interval(path: &str, map: &Map<String, Value>) -> Option<Found> {
    let number = |key: &str| map.get(key).and_then(Value::as_f64);
    let at = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    let (lo, hi) = (number("lo"), number("hi"));
    if let (Some(low), Some(high)) = (lo, hi)
        && low > high
    {
        return Some((at("lo"), Some(map["lo"].to_string()), format!("{low} is above `hi`, {high}")));
    }
    if let Some(value) = number("value").filter(|value| !within(*value, lo, hi)) {
        let why = format!("{value} does not lie within its interval");
        return Some((at("value"), Some(map["value"].to_string()), why));
    }
    let percentile = |key: &'static str| (key, map.get(key).and_then(|p| p.get("value")).and_then(Value::as_f64));
    let names = ["p50", "p90", "p95", "p99", "p999"].map(percentile);
    let ((below, least), (name, value)) = out_of_order(&names)?;
    Some((at(name), None, format!("{value} is less than `{below}`, {least}")))
}

/// What contradicts once types are known.
fn contradiction(record: &RunRecord) -> Option<Found> {
    let bad = |path: &str, why: String| Some((path.to_string(), None, why));
    let year = |time: Timestamp| jiff::tz::Offset::UTC.to_datetime(time).year();
    let dates = [("started_at", Some(record.started_at)), ("finished_at", record.finished_at)];
    for (key, time) in dates.into_iter().filter_map(|(key, time)| Some((key, time?))) {
        if !(1970..=LAST_YEAR).contains(&year(time)) {
            return bad(key, format!("{time} is no date of a run"));
        }
    }
    let seconds = |time: Timestamp| time.as_millisecond() as f64 / 1e3;
    if let Some(end) = record.finished_at.filter(|end| seconds(*end) < seconds(record.started_at) - CLOCK_STEP) {
        return bad("finished_at", format!("{end} is before `started_at`, {}", record.started_at));
    }
    let measured = record.basis == Basis::Measured;
    if measured && record.workload.is_some() && record.environment.cpu.engine_threads == 0 {
        return bad("environment.cpu.engine_threads", "0 threads measure nothing".to_string());
    }
    if let Some(ceiling) =
        record.ceilings.iter().find(|ceiling| !(ceiling.best > 0.0 && ceiling.median > 0.0 && ceiling.best < 1e30))
    {
        let why = format!("{} is at {}: a ceiling is above 0", ceiling.kind.label(), ceiling.best);
        return bad("ceilings.best", why);
    }
    let model = record.model.as_ref()?;
    if !(model.parameters > 0.0 && model.parameters < 1e18) {
        return bad("model.parameters", format!("{} is no number of parameters", model.parameters));
    }
    // Another tool's file may know less of a shape than would be needed to run it.
    match model.shape.validate() {
        Err(why) if measured => bad("model.shape", why),
        _ => None,
    }
}

/// The line that the last key of a path stands on, with this value where there is one.
fn line_of(text: &str, path: &str, value: Option<&str>) -> usize {
    let Some(key) = path.rsplit('.').next() else { return 0 };
    let quoted = format!("\"{key}\"");
    let holds = |line: &str| {
        let rest = line.split_once(&quoted).map(|(_, rest)| rest.trim_start().trim_start_matches(':').trim_start());
        rest.is_some_and(|rest| value.is_none_or(|value| rest.starts_with(value)))
    };
    if let Some(line) = text.lines().position(holds) {
        return line + 1;
    }
    let Some(begins) = text.lines().position(|line| line.contains(&quoted)) else { return 0 };
    // A list stands on the lines behind its key.
    let of_list = |line: &str| value.is_some_and(|value| line.trim().trim_end_matches(',') == value);
    begins + 1 + text.lines().skip(begins).position(of_list).unwrap_or(0)
}
