//! How often the watch of `quality --watch` raises a false alarm, and how often it finds a planted shift: histories of
//! 30 windows, each window other items than the baseline's, through the same tests and the same succession rule as the
//! command. `cargo bench --bench drift -- [histories] [windows]`; 1,000 and 30 by default, some minutes.

use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use sizewell::quality::drift::{ALPHA, DriftData, DriftSettings, compare};
use sizewell::record::drift::{CONFIRMING, streaks};
use sizewell::record::evaluation::DataSetKind;
use sizewell::record::{BaselineRecord, DriftSet, DriftWindow, ItemRow};
use sizewell::workload::Quant;

/// What a model's answers are drawn from.
#[derive(Clone, Copy)]
struct Source {
    kind: DataSetKind,
    right: f64,
    /// Shift of the score, in its standard deviations.
    score: f64,
    /// Factor of the lengths.
    length: f64,
    /// Factor of the perplexity.
    perplexity: f64,
}

const USUAL: Source = Source { kind: DataSetKind::Choice, right: 0.8, score: 0.0, length: 1.0, perplexity: 1.0 };

/// Items of `source`; scores lean on whether the answer is right, as they do.
fn items(source: Source, count: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<ItemRow> {
    let score = Normal::new(source.score, 1.0).unwrap();
    let (length, surprise) = (LogNormal::new(3.0, 0.5).unwrap(), Normal::new(6.0, 0.4).unwrap());
    (0..count)
        .map(|_| {
            let nats = (2.0 + source.perplexity.ln() + 0.25 * score.sample(rng)) * 256.0;
            let right = rng.random_bool(source.right);
            let text = source.kind == DataSetKind::Text;
            ItemRow {
                data: "d".into(),
                quant: Quant::F16,
                pruning: String::new(),
                hash: format!("{:016x}", rng.random::<u64>()),
                length: if text { 512.0 } else { (length.sample(rng) * source.length).round() },
                outcome: if text { nats } else { f64::from(u8::from(right)) },
                weight: if text { 256.0 } else { 1.0 },
                score: if text { -nats / 256.0 } else { score.sample(rng) + f64::from(u8::from(right)) },
                target: None,
                surprise: rng.random_bool(0.5).then(|| surprise.sample(rng)),
            }
        })
        .collect()
}

fn window(sets: Vec<DriftSet>) -> DriftWindow {
    let baseline = BaselineRecord {
        location: String::new(),
        id: String::new(),
        model: String::new(),
        model_hash: String::new(),
        quant: Quant::F16,
        pruning: String::new(),
    };
    DriftWindow {
        at: jiff::Timestamp::UNIX_EPOCH,
        baseline,
        run: String::new(),
        model: String::new(),
        model_hash: String::new(),
        quant: Quant::F16,
        alpha: ALPHA,
        sets,
        alarms: Vec::new(),
    }
}

fn tested(kind: DataSetKind, before: &[ItemRow], after: &[ItemRow], seed: u64) -> Vec<DriftSet> {
    let compared = DriftData {
        data: "d".into(),
        kind,
        hash: String::new(),
        sketch: Vec::new(),
        before: before.iter().collect(),
        after: after.iter().collect(),
    };
    compare(&[compared], DriftSettings { alpha: ALPHA, seed, critical_values: false })
}

/// Flagged windows, and the window of the first alarm.
struct History {
    flagged: usize,
    alarm: Option<usize>,
}

fn history(before: Source, after: Source, sizes: [usize; 2], windows: usize, seed: u64) -> History {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let baseline = items(before, sizes[0], &mut rng);
    let (mut past, mut found) = (Vec::new(), History { flagged: 0, alarm: None });
    for index in 0..windows {
        let today = items(after, sizes[1], &mut rng);
        past.push(window(tested(before.kind, &baseline, &today, seed.wrapping_add(index as u64))));
        found.flagged += usize::from(past.last().is_some_and(DriftWindow::is_flagged));
        if found.alarm.is_none() && streaks(&past).values().any(|streak| *streak >= CONFIRMING) {
            found.alarm = Some(index + 1);
        }
    }
    found
}

/// The change of the figure that the program states as found, on average over fifty baselines of `source`.
fn stated(source: Source, sizes: [usize; 2]) -> f64 {
    (0..50).map(|seed| stated_once(source, sizes, seed)).sum::<f64>() / 50.0
}

fn stated_once(source: Source, sizes: [usize; 2], seed: u64) -> f64 {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (before, after) = (items(source, sizes[0], &mut rng), items(source, sizes[1], &mut rng));
    let sets = tested(source.kind, &before, &after, 1);
    sets[0].tests.iter().find(|test| test.feature == "outcome").and_then(|test| test.detectable).unwrap_or(0.0)
}

/// The 95 % interval of a share.
fn share(found: usize, of: usize) -> String {
    let (lo, hi) = sizewell::statistics::paired::wilson(found, of);
    format!("{:.2} % ({:.2} to {:.2})", found as f64 / of as f64 * 100.0, lo * 100.0, hi * 100.0)
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (histories, windows) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(30));
    println!("{histories} histories each; alpha {ALPHA}; {CONFIRMING} windows confirm");
    println!(
        "| kind | baseline, window: items | planted | flagged windows | alarm within 3 windows | alarm within {windows} |"
    );
    println!("|---|---|---|---|---|---|");
    let text = Source { kind: DataSetKind::Text, ..USUAL };
    let sizes = [[600, 300], [200, 100], [300, 1000]];
    for usual in [USUAL, text] {
        for size in sizes {
            row("nothing", usual, usual, size, windows, histories);
        }
    }
    for size in sizes {
        let change = stated(USUAL, size);
        let lost = Source { right: USUAL.right - change, ..USUAL };
        row(&format!("{:.1} points of accuracy, as stated", change * 100.0), USUAL, lost, size, CONFIRMING, histories);
        let change = stated(text, size);
        let factor = 1.0 + change / stated_perplexity();
        let worse = Source { perplexity: factor, ..text };
        row(&format!("perplexity x {factor:.3}, as stated"), text, worse, size, CONFIRMING, histories);
        for shift in [0.25, 0.5] {
            let less = Source { score: -shift, ..USUAL };
            row(&format!("scores {shift} standard deviations"), USUAL, less, size, CONFIRMING, histories);
        }
        let longer = Source { length: 1.25, ..USUAL };
        row("inputs a quarter longer", USUAL, longer, size, CONFIRMING, histories);
    }
}

/// The perplexity that `items` are drawn about, with the part that is the spread's.
fn stated_perplexity() -> f64 {
    2.0f64.exp()
}

fn row(planted: &str, before: Source, after: Source, sizes: [usize; 2], windows: usize, histories: usize) {
    let all: Vec<History> =
        (0..histories as u64).into_par_iter().map(|seed| history(before, after, sizes, windows, seed)).collect();
    let flagged: usize = all.iter().map(|history| history.flagged).sum();
    let within = |most: usize| all.iter().filter(|history| history.alarm.is_some_and(|at| at <= most)).count();
    println!(
        "| {} | {}, {} | {planted} | {} | {} | {} |",
        before.kind.name(),
        sizes[0],
        sizes[1],
        share(flagged, histories * windows),
        share(within(CONFIRMING), histories),
        if windows > CONFIRMING { share(within(windows), histories) } else { "-".to_string() }
    );
}
