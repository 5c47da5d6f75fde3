//! Text that stood in a text before. A paragraph that comes twice, or a file that was put behind itself, says nothing new
//! the second time; windows of it are no further items, however they are cut. What is compared are shingles: sequences
//! of 32 tokens that follow each other, of which the hash says whether they are looked at (Broder 1997).

use crate::record::drift::SKETCH;
use std::collections::{HashMap, VecDeque};

/// Tokens of a shingle: as many come again by chance in no text.
const LENGTH: usize = 32;
/// Shingles that are looked at in each window, on average.
const A_WINDOW: usize = 16;
/// The most shingles that are kept in mind, of about 30 million tokens.
const MOST_KEPT: usize = 1 << 20;
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// The least of the hashes of everything in a data set, by which two are compared without keeping either: what is among
/// the least of the one is among the least of the other, if it is in it.
pub fn sketch(hashes: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut all: Vec<u64> = hashes.into_iter().map(mixed).collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(SKETCH);
    all
}

/// Every bit of the result depends on every bit of `hash` (Steele, Lea and Flood 2014).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// What was read so far.
pub struct RepeatDetector {
    recent: VecDeque<u32>,
    /// Of the recent tokens, as a polynomial.
    hash: u64,
    /// What the oldest of them is multiplied with.
    oldest: u64,
    /// One shingle in so many is looked at.
    one_in: u64,
    /// In which entry each was first.
    seen: HashMap<u64, u32>,
}

impl RepeatDetector {
    /// Of a text whose windows each have so many tokens that no other has.
    pub fn new(tokens: usize) -> Self {
        Self {
            recent: VecDeque::with_capacity(LENGTH + 1),
            hash: 0,
            oldest: (1..LENGTH).fold(1, |power: u64, _| power.wrapping_mul(BASE)),
            one_in: (tokens / A_WINDOW).max(1) as u64,
            seen: HashMap::new(),
        }
    }

    /// The hash of the shingle that ends with `token`; `None` where the text is shorter.
    fn next(&mut self, token: u32) -> Option<u64> {
        if self.recent.len() == LENGTH
            && let Some(first) = self.recent.pop_front()
        {
            self.hash = self.hash.wrapping_sub(mixed(first as u64 + 1).wrapping_mul(self.oldest));
        }
        self.recent.push_back(token);
        self.hash = self.hash.wrapping_mul(BASE).wrapping_add(mixed(token as u64 + 1));
        (self.recent.len() == LENGTH).then(|| mixed(self.hash))
    }

    /// Reads the tokens that follow, which are to go into the entry `entry`. Where at least half of them stood in the text
    /// before, says in which entry most of them did, and they are not taken for anything new.
    pub fn read(&mut self, tokens: &[u32], entry: usize) -> Option<usize> {
        let all: Vec<u64> = tokens.iter().filter_map(|token| self.next(*token)).collect();
        let mut shingles: Vec<u64> = all.iter().copied().filter(|hash| hash.is_multiple_of(self.one_in)).collect();
        if shingles.is_empty() {
            // A short sentence again and again may have none to look at; the least is the same each time.
            shingles.extend(all.into_iter().min());
        }
        let mut known: HashMap<u32, usize> = HashMap::new();
        for entry in shingles.iter().filter_map(|shingle| self.seen.get(shingle)) {
            *known.entry(*entry).or_default() += 1;
        }
        let all: usize = known.values().sum();
        let repeated = if 2 * all >= shingles.len() {
            // The earliest of those with as many.
            known.into_iter().max_by_key(|(entry, count)| (*count, u32::MAX - entry)).map(|(entry, _)| entry)
        } else {
            None
        };
        for shingle in shingles {
            if self.seen.len() < MOST_KEPT {
                self.seen.entry(shingle).or_insert(repeated.unwrap_or(entry as u32));
            }
        }
        repeated.map(|entry| entry as usize)
    }

    /// Two entries each have become one.
    pub fn halve(&mut self) {
        self.seen.values_mut().for_each(|entry| *entry /= 2);
    }

    /// The sketch of all that was read.
    pub fn sketch(&self) -> Vec<u64> {
        sketch(self.seen.keys().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn tokens(count: usize, seed: u64) -> Vec<u32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(0..500)).collect()
    }

    /// Which entry each window goes into, as a text does it.
    fn entries(text: &[u32], window: usize) -> Vec<usize> {
        let mut repeats = RepeatDetector::new(window);
        let mut next = 0;
        let mut entry = |window: &[u32]| match repeats.read(window, next) {
            Some(known) => known,
            None => {
                next += 1;
                next - 1
            }
        };
        text.chunks_exact(window).map(&mut entry).collect()
    }

    #[test]
    fn what_comes_again_is_no_further_entry_however_it_is_cut() {
        for window in [8, 64, 512] {
            let once = tokens(window * 20, 1);
            let apart = entries(&once, window);
            assert_eq!(apart, (0..20).collect::<Vec<_>>(), "{window}");
            // A few tokens between them, so that windows of the second are others than those of the first.
            let twice = [once.clone(), tokens(window / 3, 2), once.clone()].concat();
            let found = entries(&twice, window);
            let different = found.iter().max().unwrap() + 1;
            assert!((20..=24).contains(&different), "{window}: {found:?}");
            // One sentence again and again is one.
            let period = tokens(37, 3).repeat(window * 20 / 37);
            let found = entries(&period, window);
            assert!(found.iter().max().unwrap() * window <= 2 * LENGTH + 2 * 37, "{window}: {found:?}");
        }
    }

    #[test]
    fn a_few_words_in_common_are_no_repeat() {
        let common = tokens(60, 9);
        let text: Vec<u32> = (0..20).flat_map(|i| [tokens(196, 100 + i), common.clone()].concat()).collect();
        assert_eq!(entries(&text, 256), (0..20).collect::<Vec<_>>());
    }
}
