//! How often a gate is right: `cargo bench --bench gate`. Recorded samples of the example run are brought to a spread of
//! 2 % and drawn anew, in blocks as they followed each other, for a baseline and a candidate; in one half of the
//! simulations every time of the candidate is 5 % longer. Counted are the gate's verdicts over all cases together.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sizewell::gate::judge::Prices;
use sizewell::gate::{Policy, RunWithSamples, Side, Verdict, judge};
use sizewell::record::{Outcome, Run, SampleRow};
use sizewell::statistics::bootstrap::median;
use sizewell::units::Seconds;
use std::collections::HashMap;
use std::path::Path;

const SIMULATIONS: usize = 1000;
const SPREAD: f64 = 0.02;
const REGRESSION: f64 = 1.05;
const BLOCK: usize = 3;

/// The measured iterations of each case, as factors on the median of its whole time, with a standard deviation of 2 %.
fn factors(run: &Run) -> HashMap<String, Vec<f64>> {
    let mut by_case: HashMap<String, Vec<f64>> = HashMap::new();
    for sample in run.samples().expect("samples of the example run").iter().filter(|sample| !sample.warmup) {
        by_case.entry(sample.case_id.clone()).or_default().push(sample.e2e().map_or(0.0, |time| time.0));
    }
    by_case.retain(|_, times| times.len() >= 5);
    for times in by_case.values_mut() {
        let middle = median(times).expect("a median");
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let deviation = (times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (times.len() - 1) as f64).sqrt();
        for time in times.iter_mut() {
            *time = 1.0 + (*time - middle) / deviation * SPREAD;
        }
    }
    by_case
}

/// A run of `count` iterations a case, drawn from the factors; `drift` is what the whole run is slower by.
fn draw(
    run: &Run,
    factors: &HashMap<String, Vec<f64>>,
    count: usize,
    slower: f64,
    rng: &mut Xoshiro256PlusPlus,
) -> RunWithSamples {
    let mut samples = Vec::new();
    let mut drawn = run.clone();
    drawn.cases.retain(|row| row.outcome == Outcome::Ok && factors.contains_key(&row.key.id()));
    for row in &mut drawn.cases {
        row.invalid.clear();
        let id = row.key.id();
        let (of_case, ttft, tpot) = (&factors[&id], row.metrics.ttft, row.metrics.tpot);
        let (Some(ttft), Some(tpot)) = (ttft, tpot) else { continue };
        let mut iteration = 0;
        while iteration < count {
            let start = rng.random_range(0..of_case.len());
            for step in 0..BLOCK.min(count - iteration) {
                let factor = of_case[(start + step) % of_case.len()] * slower;
                let token = |index: usize| Seconds((ttft.median.0 + index as f64 * tpot.median.0) * factor);
                samples.push(SampleRow {
                    case_id: id.clone(),
                    iteration,
                    warmup: false,
                    start: Seconds(iteration as f64),
                    token_times: (0..row.key.case.gen_tokens()).map(token).collect(),
                });
                iteration += 1;
            }
        }
    }
    RunWithSamples::new(drawn, samples, Vec::new())
}

/// Shares of pass, fail, cannot tell over the simulations.
fn verdicts(run: &Run, count: usize, slower: f64, seed: u64) -> [f64; 3] {
    let factors = factors(run);
    let mut policy = Policy::of_a_baseline();
    policy.rules.retain(|rule| !rule.optional);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut counts = [0.0; 3];
    for _ in 0..SIMULATIONS {
        let mut side = |slower: f64| Side { runs: vec![draw(run, &factors, count, slower, &mut rng)] };
        let (baseline, candidate) = (side(1.0), side(slower));
        let judgement = judge(&candidate, Some(&baseline), &policy, Prices::default()).expect("a verdict");
        match judgement.verdict {
            Verdict::Pass => counts[0] += 1.0,
            Verdict::Fail => counts[1] += 1.0,
            _ => counts[2] += 1.0,
        }
    }
    counts.map(|count| count / SIMULATIONS as f64 * 100.0)
}

fn main() {
    let run = Run::read(Path::new("results/example")).expect("the example run");
    let cases = factors(&run).len();
    println!("{SIMULATIONS} simulations a line; {cases} cases, TTFT and TPOT of each; spread {:.0} %", SPREAD * 100.0);
    println!("iterations a case, change: pass, fail, cannot tell");
    for count in [10, 20, 30, 50] {
        for (name, slower) in [("unchanged", 1.0), ("5 % slower", REGRESSION)] {
            let [pass, fail, cannot_tell] = verdicts(&run, count, slower, count as u64);
            println!("{count:>3} {name:<11} {pass:5.1} % {fail:5.1} % {cannot_tell:5.1} %");
        }
    }
}
