//! Spearman's rank correlation.

/// The correlation of the ranks of pairs, equal values sharing their mean rank; `None` where one side has one value only.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    weighted_pearson(ranked(pairs).iter().map(|(a, b)| (*a, *b, 1.0)))
}

/// Pairs as ranks, each side's own.
pub fn ranked(pairs: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let first = ranks(pairs.iter().map(|pair| pair.0).collect());
    let second = ranks(pairs.iter().map(|pair| pair.1).collect());
    first.into_iter().zip(second).collect()
}

/// The correlation of ranked pairs, each drawn `times` often; no number where one side has one value only.
pub fn drawn_correlation(ranked: &[(f64, f64)], times: &[u32]) -> f64 {
    let weighted = ranked.iter().zip(times).map(|((a, b), times)| (*a, *b, *times as f64));
    weighted_pearson(weighted).unwrap_or(f64::NAN)
}

/// Pearson's correlation of weighted pairs.
pub fn weighted_pearson(pairs: impl Iterator<Item = (f64, f64, f64)> + Clone) -> Option<f64> {
    let (mut total, mut a_sum, mut b_sum) = (0.0, 0.0, 0.0);
    for (a, b, weight) in pairs.clone() {
        total += weight;
        a_sum += a * weight;
        b_sum += b * weight;
    }
    let (a_mean, b_mean) = (a_sum / total, b_sum / total);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b, weight) in pairs {
        ab += weight * (a - a_mean) * (b - b_mean);
        aa += weight * (a - a_mean).powi(2);
        bb += weight * (b - b_mean).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Ranks from 0, equal values sharing the mean of theirs.
pub fn ranks(values: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let equal = order[first..].iter().take_while(|i| values[**i] == values[order[first]]).count().max(1);
        let mean = first as f64 + (equal - 1) as f64 / 2.0;
        order[first..first + equal].iter().for_each(|index| ranks[*index] = mean);
        first += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_textbook() {
        // 1 - 6 sum d^2 / (n (n^2 - 1)) with d = 1, 1, 0, 0, 0.
        let found = spearman(&[(1.0, 20.0), (2.0, 10.0), (3.0, 30.0), (4.0, 40.0), (5.0, 90.0)]).unwrap();
        assert!((found - 0.9).abs() < 1e-12, "{found}");
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 1.0)]), None);
        assert_eq!(ranks(vec![3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
    }
}
