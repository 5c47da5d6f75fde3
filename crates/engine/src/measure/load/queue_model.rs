//! A server on paper: places that each serve one request at a time, in time that is only counted. Its steps are added up and
//! judged by what judges real ones.

use super::length::Length;
use super::limit::{SearchContext, conclude};
use super::sample::{RequestTiming as Request, Sample};
use super::saturation::Backlog;
use super::search::{SearchResult, SearchSettings, search};
use super::step::{End, Load, StepOutcome, StepPlan, record};
use super::tally::Tally;
use crate::engine::target::{Answer, RequestOutcome};
use crate::record::Slo;
use crate::record::{Latency, LimitRecord, StepRecord};
use crate::workload::traffic::{Arrivals, Schedule};
use rand::{Rng, SeedableRng};
use rand_distr::Exp1;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::{Duration, Instant};

/// How often the backlog is looked at.
const LOOK: f64 = 0.05;

/// A server of known capacity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    /// Requests at once.
    pub(super) places: usize,
    /// Seconds of one.
    pub(super) service_s: f64,
    /// Times are exponential rather than all alike.
    pub(super) exponential: bool,
    /// Seconds for which nothing is served, from a second of all that it lives.
    pub(super) stall: Option<(f64, f64)>,
}

impl Server {
    pub(super) fn of(places: usize, service_s: f64) -> Self {
        Self { places, service_s, exponential: false, stall: None }
    }

    /// Requests a second that it can carry.
    pub(super) fn capacity(&self) -> f64 {
        self.places as f64 / self.service_s
    }

    /// When each is over, first come first served. `born` is the server's age as the first comes.
    fn ends(&self, arrivals: &[f64], born: f64, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
        let mut free = vec![0.0f64; self.places];
        let mut end = |at: &f64| {
            let service =
                if self.exponential { self.service_s * random.sample::<f64, _>(Exp1) } else { self.service_s };
            let place = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
            let mut begin = at.max(*place);
            if let Some((from, seconds)) = self.stall
                && (from..from + seconds).contains(&(born + begin))
            {
                begin = from + seconds - born;
            }
            *place = begin + service;
            *place
        };
        arrivals.iter().map(&mut end).collect()
    }
}

/// A step of a server that was at rest before.
pub(super) fn step(
    server: &Server,
    slo: &Slo,
    rate: f64,
    requests: usize,
    warm_up_s: f64,
    seed: u64,
    born: f64,
) -> StepRecord {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut arrivals, mut measured) = (Vec::new(), 0);
    for at in Schedule::new(Arrivals::Poisson, rate, 0.0, seed) {
        measured += usize::from(at >= warm_up_s);
        if measured > requests {
            break;
        }
        arrivals.push(at);
    }
    let ends = server.ends(&arrivals, born, &mut random);
    let (mut tally, begin) = (Tally::default(), Instant::now());
    let last = *arrivals.last().unwrap();
    let mut outcome = StepOutcome {
        warm_up_s,
        seconds: last - warm_up_s,
        answer_seconds: last - warm_up_s,
        ..StepOutcome::default()
    };
    for (index, (at, end)) in arrivals.iter().zip(&ends).enumerate() {
        let request = Request {
            index,
            warm_up: *at < warm_up_s,
            intended_s: *at,
            sent_s: *at,
            ended_s: *end,
            prompt_tokens: None,
            asked_tokens: 1,
        };
        let whole = Some(begin + Duration::from_secs_f64(*end));
        let answer = Answer { whole, ..Answer::failed(RequestOutcome::Ok, "") };
        let sample = Sample::new(request, answer, |moment| (moment - begin).as_secs_f64());
        outcome.count(&sample, last);
        tally.add(&sample, slo);
    }
    let (mut backlog, mut done) = (Backlog::default(), ends.clone());
    done.sort_by(f64::total_cmp);
    for look in 0..(last / LOOK) as usize {
        let at = look as f64 * LOOK;
        let (sent, over) = (arrivals.partition_point(|a| *a <= at), done.partition_point(|d| *d <= at));
        backlog.look(at, (sent - over) as u64, sent as u64);
    }
    outcome.backlog_growth = backlog.growth(warm_up_s.max(2.0 * server.service_s));
    let plan = StepPlan {
        step: 0,
        load: Load::Open { arrivals: Arrivals::Poisson, rate },
        end: End { requests: Some(requests), seconds: None },
        warm_up_s,
        timeout: Duration::from_secs(600),
        slo: slo.clone(),
        seed,
        may_end_early: false,
    };
    record(&plan, &tally, outcome)
}

/// A search of a server on paper, and the seconds that it would have taken.
pub(super) fn find(server: &Server, slo: &Slo, precision: f64, seed: u64) -> (SearchResult, LimitRecord, f64) {
    let alone = Latency { count: 12, mean: Some(server.service_s), ..Latency::default() };
    let alone = StepRecord { e2e_s: alone, ..StepRecord::default() };
    let length = Length::new(slo, &alone, precision, None);
    let how = SearchSettings {
        start: 0.5 / server.service_s,
        precision: length.resolvable(),
        most_steps: 20,
        most_rate: 1e6,
        least_rate: 0.02 / server.service_s,
    };
    let (mut clock, mut seed) = (0.0, seed * 1000);
    let searched = search(&how, &mut |asked| {
        seed += 1;
        let record = step(server, slo, asked.rate, length.requests(asked), length.warm_up_s(), seed, clock);
        clock += length.seconds(asked);
        Some(record)
    });
    let context = SearchContext { how: &how, alone: None, few_places: false, first_step: 0 };
    let found = conclude(&searched, &context);
    (searched, found, clock)
}

/// Whether the server carries a rate for a minute.
fn holds_for_a_minute(server: &Server, slo: &Slo, rate: f64, seed: u64) -> bool {
    let requests = (rate * 60.0).ceil() as usize;
    step(server, slo, rate, requests, 0.0, seed, 0.0).verdict.unwrap().holds()
}

fn slo(text: &str) -> Slo {
    text.parse().unwrap()
}

#[test]
fn a_slow_overload_is_not_called_certain() {
    // Fifty a second, and a second of room: 5 % too many take twenty seconds to show, and steps of two seconds did not see 12 %.
    let (server, limit) = (Server::of(1, 0.02), slo("e2e_p90=1s"));
    for seed in 0..4 {
        let (_, found, _) = find(&server, &limit, 0.05, seed);
        let (rate, lo) = (found.requests_per_s.unwrap().0, found.lo.unwrap().0);
        assert!(rate < 51.0 && rate > 43.0, "{seed}: {found:?}");
        assert!(found.is_confirmed() && found.repeated_s.unwrap().0 > 55.0, "{found:?}");
        assert!(holds_for_a_minute(&server, &limit, lo, seed + 500), "{seed}: {found:?}");
    }
}

#[test]
fn three_searches_agree_within_their_intervals() {
    for (places, service_s, exponential, limit) in [
        (1, 0.02, false, "e2e_p90=1s"),
        (1, 0.02, true, "e2e_p90=1s"),
        (1, 0.01, false, "e2e_p90=60ms"),
        (8, 0.4, false, "e2e=2s"),
        (4, 0.004, true, "e2e_p90=20ms"),
    ] {
        let server = Server { exponential, ..Server::of(places, service_s) };
        let limit = slo(limit);
        let found: Vec<LimitRecord> = (0..3).map(|seed| find(&server, &limit, 0.05, seed).1).collect();
        for (a, b) in found.iter().flat_map(|a| found.iter().map(move |b| (a, b))) {
            let (rate, lo, hi) = (a.requests_per_s.unwrap(), b.lo.unwrap(), b.hi.unwrap());
            assert!(lo <= rate && rate <= hi, "{server:?} {limit:?}: {rate:?} is not within {lo:?} to {hi:?}");
        }
    }
}

#[test]
fn what_is_called_certain_holds_for_a_minute_whatever_the_server() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let (mut certain, mut held) = (0, 0);
    for seed in 0..24 {
        let places = random.random_range(1..=16);
        let service_s = 0.004 * 100f64.powf(random.random_range(0.0..1.0));
        let server = Server { exponential: random.random_bool(0.5), ..Server::of(places, service_s) };
        let room = random.random_range(4.0..30.0);
        let percentile = ["", "_p90", "_p95"][random.random_range(0..3)];
        let limit = slo(&format!("e2e{percentile}={:.4}s", service_s * room));
        let (_, found, _) = find(&server, &limit, 0.05, seed);
        let Some(lo) = found.lo else { continue };
        assert!(found.is_confirmed() && lo.0 < server.capacity(), "{server:?} {limit:?}: {found:?}");
        certain += 1;
        held += usize::from(holds_for_a_minute(&server, &limit, lo.0, seed + 3000));
    }
    assert!(certain >= 20 && held + 1 >= certain, "{held} of {certain} hold");
}

#[test]
fn a_stall_of_the_server_does_not_end_a_search() {
    let limit = slo("e2e_p90=200ms");
    let quiet = Server::of(1, 0.01);
    for from in [0.3, 4.0, 11.0, 23.0] {
        let server = Server { stall: Some((from, 1.5)), ..quiet };
        let rate = find(&server, &limit, 0.05, 3).1.requests_per_s.unwrap().0;
        assert!((78.0..98.0).contains(&rate), "stalled at {from}: {rate}");
    }
}
