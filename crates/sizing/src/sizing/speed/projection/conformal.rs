//! How wide a margin has to be: what projections were off by on cards that were left out of the fit.

use std::collections::HashMap;

/// Share of the true times that an interval is to hold.
pub const NOMINAL: f64 = 0.9;
/// Scores of few cards say less than they seem to: the quantile is taken a little further out.
const LEVEL: f64 = 0.95;
/// Fewer left-out cards than this say nothing about a quantile.
pub const LEAST_CARDS: usize = 5;
/// Where there are fewer: the normal quantile.
pub const DEFAULT_QUANTILE: f64 = 1.645;

/// `|ln(true / projected)|` in units of the standard deviation that was expected, by the card that was left out.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    scores: Vec<(String, f64)>,
    errors: Vec<f64>,
}

impl Scores {
    /// Adds one, with `|projected / true - 1|`.
    pub fn push(&mut self, card: &str, score: f64, error: f64) {
        self.scores.push((card.to_string(), score));
        self.errors.push(error);
    }

    /// Mean of the errors; `None` for too few cards.
    pub fn mape(&self) -> Option<f64> {
        (self.cards() >= LEAST_CARDS).then(|| self.errors.iter().sum::<f64>() / self.errors.len() as f64)
    }

    /// Cards that were left out.
    pub fn cards(&self) -> usize {
        let mut cards: Vec<&str> = self.scores.iter().map(|(card, _)| card.as_str()).collect();
        cards.sort_unstable();
        cards.dedup();
        cards.len()
    }

    /// How many standard deviations hold [`NOMINAL`] of the cases, each card counting alike; `None` for too few cards.
    pub fn quantile(&self) -> Option<f64> {
        if self.cards() < LEAST_CARDS {
            return None;
        }
        let mut counts: HashMap<&str, f64> = HashMap::new();
        for (card, _) in &self.scores {
            *counts.entry(card).or_default() += 1.0;
        }
        let cards = counts.len() as f64;
        let mut weighted: Vec<(f64, f64)> =
            self.scores.iter().map(|(card, score)| (*score, 1.0 / counts[card.as_str()])).collect();
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0.0;
        weighted
            .iter()
            .find(|(_, weight)| {
                sum += weight;
                sum >= LEVEL * cards
            })
            .or(weighted.last())
            .map(|(score, _)| *score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_counts_alike() {
        let mut scores = Scores::default();
        for card in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
            scores.push(card, 1.0, 0.1);
        }
        for _ in 0..1000 {
            scores.push("often measured", 9.0, 0.9);
        }
        assert_eq!(scores.cards(), 13);
        assert_eq!(scores.quantile(), Some(9.0), "twelve of thirteen cards are less than 0.95 of them");
        for card in 0..20 {
            scores.push(&format!("more {card}"), 1.0, 0.1);
        }
        assert_eq!(scores.quantile(), Some(1.0), "however often one card was measured");
        let mut few = Scores::default();
        few.push("a", 1.0, 0.1);
        assert_eq!((few.quantile(), few.mape()), (None, None));
    }
}
