//! What a model, or its data, has become since a recorded run: a window of a watch, in run.json and in history files.

use super::plausible::within;
use super::reader::ReadError;
use crate::workload::Quant;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

/// Windows in succession in which the same has to be flagged before an alarm (docs/method/drift.md#alarms).
pub const CONFIRMING: usize = 3;

/// One window.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct DriftWindow {
    /// When it was measured.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What it is held against.
    pub baseline: BaselineRecord,
    /// The run that measured it.
    pub run: String,
    /// The model's name.
    pub model: String,
    /// BLAKE3 of its weights.
    pub model_hash: String,
    /// Its level.
    pub quant: Quant,
    /// The share of windows without any shift that may be flagged, over all tests of a window.
    pub alpha: f64,
    /// One entry for each data set.
    pub sets: Vec<DriftSet>,
    /// What is flagged in as many windows in succession as an alarm needs, this one included, as `data kind: feature`.
    pub alarms: Vec<String>,
}

/// The run that a window is held against.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct BaselineRecord {
    /// Its folder.
    pub location: String,
    /// The first 16 digits of BLAKE3 over its items of the level compared.
    pub id: String,
    /// Its model.
    pub model: String,
    /// BLAKE3 of that model's weights.
    pub model_hash: String,
    /// The level compared.
    pub quant: Quant,
    /// How that was pruned; empty for not at all.
    pub pruning: String,
}

/// A data set of a window.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct DriftSet {
    /// Its name.
    pub data: String,
    /// `text`, `choice`, `generation`, `pairs` or `classification`.
    pub kind: String,
    /// BLAKE3 of the file.
    pub hash: String,
    /// Items, or windows of a text.
    pub items: usize,
    /// Those of the baseline.
    pub items_before: usize,
    /// The items are those of the baseline, and compared one by one.
    pub paired: bool,
    /// The figure of quality: `perplexity`, `choice_accuracy`, `exact_match`, `spearman`, `top1_accuracy`.
    pub metric: String,
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// The baseline's.
    pub before: f64,
    /// Today's.
    pub value: f64,
    /// Lower end of the 95 % interval of today's.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
    /// How far it is above the baseline's.
    pub delta: f64,
    /// Lower end of the 95 % interval of the difference.
    pub delta_lo: Option<f64>,
    /// Upper end.
    pub delta_hi: Option<f64>,
    /// What was tested.
    pub tests: Vec<DriftTest>,
    /// What was not, and why.
    pub untested: Vec<String>,
    /// `degraded`, `improved`, `shifted`, `no detected change`, `not tested`.
    pub verdict: String,
    /// The least hashes of what it is made of, in hexadecimal digits: they tell how much of it an earlier window had, in
    /// whatever order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sketch: Vec<String>,
}

/// A test.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct DriftTest {
    /// `outcome`, `score`, `length` or `surprise`.
    pub feature: String,
    /// `mcnemar`, `fisher`, `student`, `kolmogorov_smirnov` or `stability_index`.
    pub test: String,
    /// The difference, distance or index.
    pub statistic: f64,
    /// What it passes by chance as often as this test may, where nothing has changed.
    pub critical: Option<f64>,
    /// The chance of one as large where nothing has changed.
    pub p_value: f64,
    /// The same, corrected for the number of tests of the window (Holm).
    pub p_corrected: f64,
    /// The least true difference or distance that three windows in succession find, four times of five.
    pub detectable: Option<f64>,
    /// The Jensen-Shannon divergence over the same bins, in bits.
    pub jensen_shannon: Option<f64>,
    /// Beyond chance.
    pub flagged: bool,
}

impl DriftSet {
    /// Features that a test flags.
    pub fn flagged(&self) -> Vec<&str> {
        let mut features: Vec<&str> =
            self.tests.iter().filter(|test| test.flagged).map(|test| test.feature.as_str()).collect();
        features.dedup();
        features
    }
}

impl DriftWindow {
    /// The file of a run's folder that holds its window and those before it.
    pub const FILE: &'static str = "drift.jsonl";

    /// Anything is beyond chance.
    pub fn is_flagged(&self) -> bool {
        self.sets.iter().any(|set| !set.flagged().is_empty())
    }

    /// What of it cannot be: chances beyond 0 to 1, a figure outside of its interval, a date of another age.
    fn fault(&self) -> Option<String> {
        let chance = |what: &str, p: f64| {
            (!(0.0..=1.0).contains(&p)).then(|| format!("`{what}` is {p}, which is no chance from 0 to 1"))
        };
        if !(1970..2200).contains(&jiff::tz::Offset::UTC.to_datetime(self.at).year()) {
            return Some(format!("`at` is {}, which is no date of a measurement", self.at));
        }
        let of_set = |set: &DriftSet| {
            if !within(set.value, set.lo, set.hi) {
                return Some(format!("`value` of {} does not lie within its interval", set.data));
            }
            if !within(set.delta, set.delta_lo, set.delta_hi) {
                return Some(format!("`delta` of {} does not lie within its interval", set.data));
            }
            let of_test =
                |test: &DriftTest| chance("p_value", test.p_value).or(chance("p_corrected", test.p_corrected));
            set.tests.iter().find_map(of_test)
        };
        chance("alpha", self.alpha).or_else(|| self.sets.iter().find_map(of_set))
    }

    /// Anything was tested.
    pub fn is_tested(&self) -> bool {
        self.sets.iter().any(|set| !set.tests.is_empty())
    }
}

/// With more of its data than this in one window that counted already, or half of it in several, a window confirms nothing:
/// what was extreme by chance is so again.
const MOST_IN_COMMON: f64 = 1.0 / 3.0;
const MOST_IN_SEVERAL: f64 = 0.5;
/// Fewest hashes that a share of common data is told from.
const FEWEST_HASHES: usize = 10;

impl DriftSet {
    /// The share of this data that `other` has too.
    fn in_common(&self, other: &DriftSet) -> f64 {
        if self.hash == other.hash {
            return 1.0;
        }
        // A small set is in its sketch whole; of a large one all that is not above the last hash is.
        let large = [self, other].map(|set| set.sketch.last().filter(|_| set.sketch.len() >= SKETCH));
        let most = large.into_iter().flatten().min();
        let known: Vec<&String> = self.sketch.iter().filter(|hash| most.is_none_or(|most| *hash <= most)).collect();
        let common = known.iter().filter(|hash| other.sketch.binary_search(hash).is_ok()).count();
        match known.len() {
            0 => 0.0,
            few if few < FEWEST_HASHES && most.is_some() => 0.0,
            known => common as f64 / known as f64,
        }
    }
}

/// The hashes of a sketch of a set that has more.
pub const SKETCH: usize = 256;

/// The features that are of the model as well as of the data.
const OF_THE_MODEL: [&str; 2] = ["outcome", "score"];

/// A set of a window that counted, with its window.
type Counted<'a> = (&'a DriftWindow, &'a DriftSet);

/// Windows in succession in which each feature of each kind of data is flagged, up to the last. A window that did not test
/// a feature neither counts nor ends a succession, nor does one that is flagged with data (for what is of the model: and
/// with the model) that was in those before.
fn counted(windows: &[DriftWindow]) -> BTreeMap<String, Vec<Counted<'_>>> {
    let mut counted: BTreeMap<String, Vec<Counted<'_>>> = BTreeMap::new();
    for (window, set) in windows.iter().flat_map(|window| window.sets.iter().map(move |set| (window, set))) {
        let mut features: Vec<&str> = set.tests.iter().map(|test| test.feature.as_str()).collect();
        features.dedup();
        let flagged = set.flagged();
        for feature in features {
            let streak = counted.entry(format!("{}: {feature}", set.kind)).or_default();
            if !flagged.contains(&feature) {
                streak.clear();
            } else if is_new(window, set, feature, streak) {
                streak.push((window, set));
            }
        }
    }
    counted
}

fn is_new(window: &DriftWindow, set: &DriftSet, feature: &str, before: &[Counted<'_>]) -> bool {
    let of_model = |other: &DriftWindow| (&other.model_hash, other.quant) == (&window.model_hash, window.quant);
    let same = before.iter().filter(|(other, _)| !OF_THE_MODEL.contains(&feature) || of_model(other));
    let shares: Vec<f64> = same.map(|(_, other)| set.in_common(other)).collect();
    shares.iter().all(|share| *share <= MOST_IN_COMMON) && shares.iter().sum::<f64>() <= MOST_IN_SEVERAL
}

/// In how many windows in succession, up to the last, each feature of each kind of data is flagged. The same data once more
/// is no further window.
pub fn streaks(windows: &[DriftWindow]) -> BTreeMap<String, usize> {
    counted(windows).into_iter().map(|(what, windows)| (what, windows.len())).collect()
}

/// Data sets of the last window, each with the largest share of its data that one window before had with the same model:
/// those that have more of it than a further window may.
pub fn seen_before(windows: &[DriftWindow]) -> Vec<(String, f64)> {
    let Some((last, before)) = windows.split_last() else { return Vec::new() };
    let share = |set: &DriftSet| {
        let same = |other: &&DriftWindow| (&other.model_hash, other.quant) == (&last.model_hash, last.quant);
        let sets = before.iter().filter(same).flat_map(|window| &window.sets).filter(|other| other.kind == set.kind);
        sets.map(|other| set.in_common(other)).fold(0.0, f64::max)
    };
    let all = last.sets.iter().map(|set| (set.data.clone(), share(set)));
    all.filter(|(_, share)| *share > MOST_IN_COMMON).collect()
}

/// The windows of a history file (one JSON object a line); none where there is no file.
pub fn read_history(path: &Path) -> Result<Vec<DriftWindow>, ReadError> {
    let mut text = String::new();
    if path.exists() && !path.is_file() {
        return Err(ReadError::new(path, 0, "is no file that a history can be kept in"));
    }
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.and_then(|mut file| file.read_to_string(&mut text)).map_err(|e| ReadError::new(path, 0, e))?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        let line = text.lines().count();
        return Err(ReadError::new(path, line, "is cut off: remove this line, its window was not written whole"));
    }
    let parse = |(index, line): (usize, &str)| {
        let fail = |why: String| ReadError::new(path, index + 1, format!("is no window: {why}"));
        let window: DriftWindow = serde_json::from_str(line).map_err(|error| fail(error.to_string()))?;
        // Kinds become parts of the names of files.
        match window.sets.iter().find(|set| !set.kind.chars().all(|c| c.is_ascii_lowercase())) {
            Some(set) => Err(fail(format!("`{}` is no kind of data", set.kind))),
            None => window.fault().map_or(Ok(window), |why| Err(fail(why))),
        }
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Appends a window, whole or not at all. Two processes at once wait for each other.
pub fn append_history(path: &Path, window: &DriftWindow) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    let before = file.metadata()?.len();
    let line = serde_json::to_string(window).map_err(std::io::Error::other)? + "\n";
    let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of a line would spoil the file for good.
        file.set_len(before)?;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    static WINDOWS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

    fn window(flagged: &[&str], tested: &[&str]) -> DriftWindow {
        let test = |feature: &&str| DriftTest {
            feature: feature.to_string(),
            test: "kolmogorov_smirnov".into(),
            statistic: 0.1,
            critical: Some(0.2),
            p_value: 0.5,
            p_corrected: 1.0,
            detectable: None,
            jensen_shannon: None,
            flagged: flagged.contains(feature),
        };
        let set = DriftSet {
            data: "d".into(),
            kind: "choice".into(),
            // Other data in every window.
            hash: WINDOWS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string(),
            items: 100,
            items_before: 100,
            paired: false,
            metric: "choice_accuracy".into(),
            higher_is_better: true,
            before: 0.9,
            value: 0.9,
            lo: None,
            hi: None,
            delta: 0.0,
            delta_lo: None,
            delta_hi: None,
            tests: tested.iter().map(test).collect(),
            untested: Vec::new(),
            verdict: "no detected change".into(),
            sketch: Vec::new(),
        };
        let baseline = BaselineRecord {
            location: "b".into(),
            id: "1".into(),
            model: "m".into(),
            model_hash: "x".into(),
            quant: Quant::F16,
            pruning: String::new(),
        };
        DriftWindow {
            at: Timestamp::UNIX_EPOCH,
            baseline,
            run: "r".into(),
            model: "m".into(),
            model_hash: "x".into(),
            quant: Quant::F16,
            alpha: 0.01,
            sets: vec![set],
            alarms: Vec::new(),
        }
    }

    #[test]
    fn a_streak_is_of_one_feature_and_is_ended_by_a_window_that_tested_it_without_a_flag() {
        let both = ["score", "length"];
        let streak = |windows: &[DriftWindow], key: &str| streaks(windows).get(key).copied();
        let mut windows = vec![window(&["score"], &both), window(&["length"], &both), window(&["score"], &both)];
        assert_eq!(streak(&windows, "choice: score"), Some(1));
        windows.push(window(&[], &["length"]));
        windows.push(window(&["score"], &both));
        assert_eq!(streak(&windows, "choice: score"), Some(2), "the window between did not test it");
        windows.push(window(&[], &both));
        assert_eq!(streak(&windows, "choice: score"), Some(0));
        assert_eq!(streak(&[], "choice: score"), None);
    }

    /// A window with items of these numbers.
    fn of_items(flagged: &[&str], items: std::ops::Range<u64>, model: &str) -> DriftWindow {
        let mut window = window(flagged, &["score", "length"]);
        let hash = |item: u64| {
            let mixed = (item + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
        };
        let mut hashes: Vec<u64> = items.map(hash).collect();
        hashes.sort_unstable();
        hashes.truncate(SKETCH);
        window.sets[0].sketch = hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        window.model_hash = model.into();
        window
    }

    #[test]
    fn the_same_data_once_more_is_no_further_window() {
        let both = ["score", "length"];
        let streak = |windows: &[DriftWindow]| {
            let found = streaks(windows);
            ["choice: score", "choice: length"].map(|what| found[what])
        };
        let day = |items: std::ops::Range<u64>| of_items(&both, items, "m");
        for count in [100, 5000] {
            let first = day(0..count);
            assert_eq!(streak(&[first.clone(), first.clone(), first.clone()]), [1, 1], "{count}");
            // Another file, the same items: in another order.
            assert_eq!(streak(&[day(0..count), day(0..count), day(0..count)]), [1, 1], "{count}");
            // Two thirds of it are those of the day before; a week later all are new.
            let slid = [day(0..count), day(count / 3..count * 4 / 3), day(count..count * 2), day(count * 2..count * 3)];
            assert_eq!(streak(&slid), [3, 3], "{count}");
            assert_eq!(streak(&slid[..2]), [1, 1], "{count}");
            assert_eq!(seen_before(&slid[..2])[0].0, "d");
            assert!((seen_before(&slid[..2])[0].1 - 2.0 / 3.0).abs() < 0.1, "{:?}", seen_before(&slid[..2]));
            assert_eq!(seen_before(&slid[..1]), []);
        }
        // Another model asked the same says something new of models, and nothing of data.
        let models = ["a", "b", "c"].map(|model| of_items(&both, 0..100, model));
        assert_eq!(streak(&models), [3, 1]);
        // What is no longer flagged ends it, whatever data it is.
        let over = [day(0..100), of_items(&[], 0..100, "m"), day(0..100)];
        assert_eq!(streak(&over), [1, 1]);
    }

    #[test]
    fn a_history_is_read_as_it_was_written_and_a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        assert_eq!(read_history(&path).unwrap(), []);
        let (first, second) = (window(&[], &["score"]), window(&["score"], &["score"]));
        append_history(&path, &first).unwrap();
        append_history(&path, &second).unwrap();
        assert_eq!(read_history(&path).unwrap(), [first, second]);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert!(read_history(&path).unwrap_err().to_string().contains(":2: is cut off"));
        std::fs::write(&path, format!("{{\"a\": 1}}\n{whole}")).unwrap();
        assert!(read_history(&path).unwrap_err().to_string().contains(":1: is no window"));
        std::fs::write(&path, whole.replace("\"choice\"", "\"../choice\"")).unwrap();
        assert!(read_history(&path).unwrap_err().to_string().contains(":1: is no window: `../choice` is no kind"));
        assert!(read_history(folder.path()).unwrap_err().to_string().contains("no file"));
        std::fs::write(&path, [0xff, 0xfe, b'\n']).unwrap();
        assert!(read_history(&path).is_err());
    }
}
