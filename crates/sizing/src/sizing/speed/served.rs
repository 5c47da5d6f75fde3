//! The first token of a request to a server that others use too: its own prefill, the step that is under way when it
//! comes, and the prefills of those before it.
//!
//! A batch of so many requests in flight is not prefilled at once: they came one after the other.

use crate::units::interval::Interval;

/// Beyond this share of the time in prefills, a queue's mean is that of how long one looks.
const MOST_BUSY: f64 = 0.9;

/// Mean seconds to the first token where `in_flight` requests are served in the mean, each with a prefill of `prefill_s`
/// and then `gen_tokens - 1` steps of `tpot_s`: prefill, half a step, and the wait of a queue with random arrivals and equal
/// service times (Pollaczek and Khinchine: `busy x service / 2 (1 - busy)`).
pub(crate) fn first_token_s(prefill_s: f64, tpot_s: f64, in_flight: f64, gen_tokens: f64) -> f64 {
    let request_s = prefill_s + tpot_s * (gen_tokens - 1.0).max(0.0);
    let busy = (in_flight / request_s * prefill_s).min(MOST_BUSY);
    prefill_s + tpot_s / 2.0 + busy * prefill_s / (2.0 * (1.0 - busy))
}

/// What was measured on one card, carried over to another by what the same sum says of both.
pub(crate) fn carried(measured: Interval, here: Interval, there: f64) -> Interval {
    Interval::new(measured.value * here.value / there, measured.lo * here.lo / there, measured.hi * here.hi / there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_does_not_wait_for_the_prefills_of_all_in_flight() {
        // 142 in flight, 50 ms a prefill, 100 ms a step, 120 tokens: 11.9 requests/s keep prefills busy for 59 %.
        let first = first_token_s(0.05, 0.1, 142.0, 120.0);
        assert!((0.13..0.15).contains(&first), "{first}");
        // Alone there is next to no queue.
        assert!((first_token_s(0.05, 0.01, 1.0, 100.0) / 0.056 - 1.0).abs() < 0.05);
    }

    #[test]
    fn on_the_card_itself_it_is_what_was_measured() {
        let measured = Interval::new(1.4, 1.3, 1.5);
        let same = carried(measured, Interval::exact(0.2), 0.2);
        assert!((same.value - 1.4).abs() + (same.lo - 1.3).abs() + (same.hi - 1.5).abs() < 1e-9, "{same:?}");
    }
}
