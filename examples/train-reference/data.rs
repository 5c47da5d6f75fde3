//! The evaluation sets that ship with the reference model: one of each kind, from entries that training never saw.

use anyhow::Result;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};
use sizewell::workload::chronicle::{self, LANDMARKS, SKIES, TOWNS, TRADES};
use std::path::Path;

/// Bytes of held-out text: somewhat more than 100,000 tokens.
const TEXT: usize = 520_000;
const QUESTIONS: usize = 600;
const GENERATIONS: usize = 300;
const PAIRS: usize = 300;
const LABELLED: usize = 400;

/// The held-out text.
pub fn held_out_text() -> String {
    chronicle::text(TEXT, &mut Xoshiro256PlusPlus::seed_from_u64(1))
}

/// Writes all sets.
pub fn write(folder: &Path) -> Result<()> {
    std::fs::write(folder.join("text.txt"), held_out_text())?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
    lines(folder, "choice.jsonl", QUESTIONS, || question(&mut rng))?;
    lines(folder, "generate.jsonl", GENERATIONS, || generation(&mut rng))?;
    lines(folder, "pairs.jsonl", PAIRS, || Some(pair(&mut rng)))?;
    lines(folder, "classify.jsonl", LABELLED, || labelled(&mut rng))
}

fn lines(folder: &Path, name: &str, count: usize, mut next: impl FnMut() -> Option<Value>) -> Result<()> {
    let mut text = String::new();
    let mut made = 0;
    while made < count {
        if let Some(line) = next() {
            text.push_str(&format!("{line}\n"));
            made += 1;
        }
    }
    Ok(std::fs::write(folder.join(name), text)?)
}

/// An entry cut before one of `options` in the place that follows `mark`: what comes before, and which option it was.
fn cut(entry: &str, mark: &str, options: &[&str]) -> Option<(String, usize)> {
    let at = entry.find(mark)? + mark.len();
    let rest = entry[at..].strip_prefix(' ')?;
    let word = rest.split([' ', '.']).next()?;
    Some((entry[..at].to_string(), options.iter().position(|option| *option == word)?))
}

/// Multiple choice: some have one right answer (what it costs, where the road runs, what was bought again), some only a
/// likely one (the sky), as questions have.
fn question(rng: &mut impl Rng) -> Option<Value> {
    let entry = chronicle::entry(rng);
    let (context, choices, answer) = match rng.random_range(0..4) {
        0 => {
            let (context, answer) = cut(&entry, "runs along the", &LANDMARKS)?;
            (context, LANDMARKS.map(String::from).to_vec(), answer)
        }
        1 => {
            let (context, answer) = cut(&entry, "under a", &SKIES)?;
            (context, SKIES.map(String::from).to_vec(), answer)
        }
        2 => {
            let at = entry.find(" paid")? + " paid".len();
            let total: usize = entry[at..].trim_start().split(' ').next()?.parse().ok()?;
            let mut totals: Vec<usize> = (2..=6).flat_map(|a| (2..=6).map(move |b| a * b)).collect();
            totals.sort_unstable();
            totals.dedup();
            totals.retain(|other| *other != total);
            let mut choices: Vec<usize> = totals.choose_multiple(rng, 3).copied().collect();
            choices.push(total);
            choices.shuffle(rng);
            let answer = choices.iter().position(|choice| *choice == total)?;
            (entry[..at].to_string(), choices.iter().map(|choice| format!("{choice} coins")).collect(), answer)
        }
        _ => {
            let at = entry.find(", and the")? + ", and the".len();
            let trades = TRADES.map(|(trade, _)| trade);
            let (context, answer) = cut(&entry[..], &entry[at - ", and the".len()..at], &trades)?;
            (context, trades.map(String::from).to_vec(), answer)
        }
    };
    let choices: Vec<String> = choices.iter().map(|choice| format!(" {choice}")).collect();
    Some(json!({"context": context, "choices": choices, "answer": answer}))
}

/// A prompt and what has to come next, word for word.
fn generation(rng: &mut impl Rng) -> Option<Value> {
    let entry = chronicle::entry(rng);
    let mark = [" paid", "The road to"][rng.random_range(0..2)];
    let at = entry.find(mark)? + mark.len();
    let answer = match mark {
        " paid" => entry[at..].split('.').next()?,
        _ => entry[at..].split(" under").next()?,
    };
    Some(json!({"prompt": &entry[..at], "answer": answer.trim(), "stop": [".", " under"]}))
}

/// Two first sentences and how alike they are: the share of what was chosen that they have in common.
fn pair(rng: &mut impl Rng) -> Value {
    let sentence = |rng: &mut _| {
        let entry = chronicle::entry(rng);
        entry.split_inclusive('.').next().unwrap_or_default().to_string()
    };
    let first = sentence(rng);
    let mut second: Vec<String> = sentence(rng).split(' ').map(String::from).collect();
    let words: Vec<&str> = first.split(' ').collect();
    // A part of the second sentence, which is larger the more alike they are to be, is that of the first.
    let share = rng.random::<f64>();
    for (own, other) in second.iter_mut().zip(&words) {
        if rng.random::<f64>() < share {
            *own = other.to_string();
        }
    }
    let alike = second.iter().zip(&words).filter(|(a, b)| a == b).count();
    let score = alike as f64 / words.len() as f64 * 5.0;
    json!({"a": first, "b": second.join(" "), "score": (score * 100.0).round() / 100.0})
}

/// A beginning and the town that was named next: only likely ones can be told, so that the best of five matter.
fn labelled(rng: &mut impl Rng) -> Option<Value> {
    let entry = chronicle::entry(rng);
    let (text, answer) = cut(&entry, " of", &TOWNS)?;
    let labels: Vec<String> = TOWNS.iter().map(|town| format!(" {town}")).collect();
    Some(json!({"text": text, "labels": labels, "label": answer}))
}
