//! How wide a margin has to be: what projections were off by on cards that were left out of the fit.

/// Share of the true times that an interval is to hold.
pub const NOMINAL: f64 = 0.9;
/// Scores of few cards say less than they seem to: the quantile is taken a little further out.
const LEVEL: f64 = 0.92;
/// Fewer left-out cards than this say nothing about a quantile.
pub const LEAST_CARDS: usize = 5;
/// Where there are fewer: the normal quantile.
pub const DEFAULT_QUANTILE: f64 = 1.645;

/// `|ln(true / projected)|` in units of the standard deviation that was expected, by the card that was left out.
#[derive(Debug, Clone, Default)]
pub struct Scores(Vec<(String, f64)>);

impl Scores {
    /// Adds one.
    pub fn push(&mut self, card: &str, score: f64) {
        self.0.push((card.to_string(), score));
    }

    /// Cards that were left out.
    pub fn cards(&self) -> usize {
        let mut cards: Vec<&str> = self.0.iter().map(|(card, _)| card.as_str()).collect();
        cards.sort_unstable();
        cards.dedup();
        cards.len()
    }

    /// How many standard deviations hold [`NOMINAL`] of the cases, each card counting alike; `None` for too few cards.
    pub fn quantile(&self, leave_out: Option<&str>) -> Option<f64> {
        let kept: Vec<&(String, f64)> = self.0.iter().filter(|(card, _)| Some(card.as_str()) != leave_out).collect();
        let count = |name: &str| kept.iter().filter(|(card, _)| card == name).count() as f64;
        let mut weighted: Vec<(f64, f64)> = kept.iter().map(|(card, score)| (*score, 1.0 / count(card))).collect();
        let cards: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        if cards.round() < LEAST_CARDS as f64 - if leave_out.is_some() { 1.0 } else { 0.0 } {
            return None;
        }
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
            scores.push(card, 1.0);
        }
        for _ in 0..1000 {
            scores.push("often measured", 9.0);
        }
        assert_eq!(scores.cards(), 13);
        assert_eq!(scores.quantile(None), Some(1.0), "one card of thirteen is less than a tenth");
        assert_eq!(scores.quantile(Some("often measured")), Some(1.0));
        let mut few = Scores::default();
        few.push("a", 1.0);
        assert_eq!(few.quantile(None), None);
    }
}
