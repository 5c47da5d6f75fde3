//! Requests in flight in the mean: the batch of a measurement under a load.

/// What a file says of its load. Times are means in seconds, a rate is of completed requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Users of a closed loop, each of whom waits for the answer; `None` where requests come by a rate or all at once.
    pub users: Option<f64>,
    /// What holds back further requests at any rate.
    pub cap: Option<f64>,
    /// Requests that were sent.
    pub sent: Option<f64>,
    /// Requests in flight as the tool itself counted them over time.
    pub counted: Option<f64>,
    /// Completed requests a second.
    pub requests_per_s: Option<f64>,
    /// Mean time of a request.
    pub e2e_s: Option<f64>,
    /// Mean time to the first token.
    pub ttft_s: Option<f64>,
    /// Mean time of a further token.
    pub tpot_s: Option<f64>,
    /// Generated tokens of a request in the mean.
    pub gen_tokens: Option<f64>,
}

impl Load {
    /// The batch: users where they wait for their answers; else what was counted; else by Little's law, the rate times the
    /// mean time of a request (a median would leave out the queue's tail). Neither more users nor more by that law than were
    /// sent, and never more than a cap lets through.
    /// `None` where the file does not say enough.
    pub(crate) fn batch(&self) -> Option<usize> {
        let is = |value: Option<f64>| value.filter(|value| value.is_finite() && *value > 0.0);
        let by_parts = || {
            let steps = (is(self.gen_tokens)? - 1.0).max(0.0);
            let further = if steps > 0.0 { is(self.tpot_s)? * steps } else { 0.0 };
            Some(is(self.ttft_s)? + further)
        };
        let by_law = || Some(is(self.requests_per_s)? * is(self.e2e_s).or_else(by_parts)?);
        let below = |most: Option<f64>| is(most).unwrap_or(f64::INFINITY);
        // What was counted is so; what follows from other figures stays within what was sent.
        let mean = match (is(self.users), is(self.counted)) {
            (None, Some(counted)) => counted,
            (users, _) => users.or_else(by_law)?.min(below(self.sent)),
        };
        // A float of this size fits; what is absurd is left out by the case's own limits.
        Some(mean.min(below(self.cap)).round().clamp(1.0, 1e15) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_rate_keeps_as_many_in_flight_as_little_s_law_says() {
        let by_parts = Load {
            requests_per_s: Some(9.933_701),
            ttft_s: Some(1.486_394),
            tpot_s: Some(0.106_539),
            gen_tokens: Some(120.689),
            sent: Some(1000.0),
            ..Load::default()
        };
        assert_eq!(by_parts.batch(), Some(141));
        let whole = Load { cap: Some(256.0), requests_per_s: Some(2.0), e2e_s: Some(1.57), ..Load::default() };
        assert_eq!(whole.batch(), Some(3));
        // Overloaded: no more than were sent, or than the cap lets through.
        let many = Load { requests_per_s: Some(10.0), e2e_s: Some(100.0), ..Load::default() };
        assert_eq!(Load { sent: Some(200.0), ..many }.batch(), Some(200));
        assert_eq!(Load { sent: Some(200.0), cap: Some(64.0), ..many }.batch(), Some(64));
    }

    #[test]
    fn users_of_a_closed_loop_are_the_batch_and_what_is_not_said_is_not_guessed() {
        let load = Load { users: Some(8.0), requests_per_s: Some(1.0), e2e_s: Some(3.0), ..Load::default() };
        assert_eq!(load.batch(), Some(8));
        assert_eq!(Load { sent: Some(4.0), ..load }.batch(), Some(4), "eight users cannot send four requests at once");
        assert_eq!(Load { counted: Some(3.2), ..Load::default() }.batch(), Some(3));
        assert_eq!(Load { requests_per_s: Some(2.0), ..Load::default() }.batch(), None);
        assert_eq!(Load { requests_per_s: Some(f64::NAN), e2e_s: Some(1.0), ..Load::default() }.batch(), None);
        let one_token =
            Load { requests_per_s: Some(10.0), ttft_s: Some(0.5), gen_tokens: Some(1.0), ..Load::default() };
        assert_eq!(one_token.batch(), Some(5), "there is no further token to wait for");
    }
}
