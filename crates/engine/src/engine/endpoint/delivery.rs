//! Which tokens of an answer were seen to come. A proxy that gathers an answer and hands it over at once shows nothing of
//! the pace of the server behind it: the time per token is that of tokens that came one after the other.

use std::time::{Duration, Instant};

/// Tokens that come in less time each were not made in it: they had been gathered.
const LEAST: f64 = 0.5e-3;
/// Share of the wait for an answer within which all of it came at once, and share of its time within which a part of it did.
const AT_ONCE: f64 = 0.05;
/// Share of an answer's time that is one moment.
const MOMENT: f64 = 0.02;
/// Share of the tokens that the first moment brings from which on it counts.
const MANY: f64 = 0.1;
/// Fewer tokens than these are no part of an answer that says anything.
const FEW: f64 = 4.0;

/// An event with text: when it came, and its bytes.
pub(crate) type Event = (Instant, usize);

/// The tokens of `tokens` that were seen to come behind the first moment, which is what the time from the first to the last
/// is divided by; `None` where all or most of them came at once. `waited` is the time from the request to the last of them.
pub(crate) fn after_first(events: &[Event], tokens: usize, waited: Duration) -> Option<f64> {
    let (first, last) = (events.first()?, events.last()?);
    let span = last.0.duration_since(first.0).as_secs_f64();
    let further = tokens.saturating_sub(1) as f64;
    if events.len() < 2 || further < 1.0 {
        return None;
    }
    if span <= AT_ONCE * waited.as_secs_f64() && span / further < LEAST {
        return None;
    }
    let weights = weights(events, tokens);
    if most_at_once(events, &weights, tokens as f64, span) {
        return None;
    }
    let mut begun = 0.0;
    for (event, weight) in events.iter().zip(&weights).take(events.len() - 1) {
        let took = event.0.duration_since(first.0).as_secs_f64();
        // Tokens at their own pace before a long stall are no moment.
        if took > MOMENT * span || took > LEAST * begun {
            break;
        }
        begun += weight;
    }
    let counts = begun.round() >= 2.0 && begun >= MANY * tokens as f64;
    Some(if counts { tokens as f64 - begun } else { further })
}

/// The tokens of each event: one, where there are as many; else by its bytes.
fn weights(events: &[Event], tokens: usize) -> Vec<f64> {
    let bytes: usize = events.iter().map(|(_, bytes)| bytes).sum();
    let one_each = events.len().abs_diff(tokens) as f64 <= 0.1 * events.len() as f64;
    if one_each || bytes == 0 {
        vec![tokens as f64 / events.len() as f64; events.len()]
    } else {
        events.iter().map(|(_, own)| (own * tokens) as f64 / bytes as f64).collect()
    }
}

/// More than half of the tokens came within a moment, and faster than any are made.
fn most_at_once(events: &[Event], weights: &[f64], tokens: f64, span: f64) -> bool {
    let (mut from, mut within) = (0, 0.0);
    for (to, weight) in weights.iter().enumerate() {
        within += weight;
        while within - weights[from] > tokens / 2.0 && from < to {
            within -= weights[from];
            from += 1;
        }
        if within > tokens / 2.0 + 1e-9 && within >= FEW {
            let took = events[to].0.duration_since(events[from].0).as_secs_f64();
            if took <= AT_ONCE * span && took / within < LEAST {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events of so many bytes at so many milliseconds behind a start, the wait until the last being `waited_ms`.
    fn of(events: &[(f64, usize)], tokens: usize, waited_ms: f64) -> Option<f64> {
        let start = Instant::now();
        let at = |ms: f64| start + Duration::from_secs_f64(ms * 1e-3);
        let events: Vec<Event> = events.iter().map(|(ms, bytes)| (at(*ms), *bytes)).collect();
        after_first(&events, tokens, Duration::from_secs_f64(waited_ms * 1e-3))
    }

    fn even(count: usize, gap_ms: f64) -> Vec<(f64, usize)> {
        (0..count).map(|i| (i as f64 * gap_ms, 2)).collect()
    }

    #[test]
    fn tokens_that_come_one_by_one_are_all_seen() {
        assert_eq!(of(&even(8, 4.0), 8, 60.0), Some(7.0));
        assert_eq!(of(&even(400, 10.0), 400, 4100.0), Some(399.0));
        // A long wait for a short answer at 10 ms a token.
        assert_eq!(of(&even(8, 10.0), 8, 20_000.0), Some(7.0));
        // A fast server whose answers are most of the wait.
        assert_eq!(of(&even(64, 0.1), 64, 8.0), Some(63.0));
        // A stall in the middle is the server's.
        let stalled: Vec<_> = (0..100).map(|i| (i as f64 * 10.0 + if i > 90 { 30_000.0 } else { 0.0 }, 3)).collect();
        assert_eq!(of(&stalled, 100, 31_100.0), Some(99.0));
        assert_eq!(of(&[(0.0, 5), (20.0, 1)], 2, 50.0), Some(1.0));
    }

    #[test]
    fn what_is_handed_over_at_once_is_not_seen_to_come() {
        assert_eq!(of(&even(8, 0.0), 8, 60.0), None);
        assert_eq!(of(&even(64, 0.02), 64, 600.0), None);
        assert_eq!(of(&[(0.0, 300)], 64, 600.0), None);
        // The first at once, the rest together; and the other way round.
        let held: Vec<_> = (0..8).map(|i| (if i == 0 { 0.0 } else { 32.0 }, 2)).collect();
        assert_eq!(of(&held, 8, 62.0), None);
        assert_eq!(of(&[(0.0, 300), (4.0, 5)], 64, 600.0), None);
        let blocks: Vec<_> = (0..60).map(|i| (if i < 40 { 0.0 } else { i as f64 * 10.0 }, 2)).collect();
        assert_eq!(of(&blocks, 60, 700.0), None);
    }

    #[test]
    fn what_the_first_moment_brings_did_not_take_the_time_behind_it() {
        // Two events of four tokens 16 ms apart: 4 ms a token.
        assert_eq!(of(&[(0.0, 8), (16.0, 8)], 8, 60.0), Some(4.0));
        let halves: Vec<_> = (0..40).map(|i| (if i < 20 { 0.0 } else { 200.0 }, 2)).collect();
        assert_eq!(of(&halves, 40, 400.0), Some(20.0));
        let quarters: Vec<_> = (0..40).map(|i| ((i / 10) as f64 * 100.0, 2)).collect();
        assert_eq!(of(&quarters, 40, 600.0), Some(30.0));
    }
}
