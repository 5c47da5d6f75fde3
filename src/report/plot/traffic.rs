//! Latency against the rate of an open loop, and how a step and a burst went over time.

use super::Plot;
use super::chart::{Axis, Chart, Dot, Line, Scale};
use crate::record::{Latency, LatencyKind, Moment, Ranged, StepRecord, TrafficRecord};
use crate::units::{Seconds, digits, digits_plain};

/// A percentile of a time.
type Percentile = (&'static str, fn(&Latency) -> Option<Ranged>);

const PERCENTILES: [Percentile; 3] = [("p50", |l| l.p50), ("p90", |l| l.p90), ("p99", |l| l.p99)];

fn latency(step: &StepRecord, kind: LatencyKind) -> &Latency {
    match kind {
        LatencyKind::Ttft => &step.ttft_s,
        LatencyKind::Tpot => &step.tpot_s,
        LatencyKind::E2e => &step.e2e_s,
    }
}

/// Every plot of a load test.
pub fn plots(traffic: &TrafficRecord) -> Vec<Plot> {
    let mut kinds: Vec<LatencyKind> = traffic.slo.iter().map(|term| term.of).collect();
    kinds.push(LatencyKind::Ttft);
    kinds.push(LatencyKind::E2e);
    kinds.sort();
    kinds.dedup();
    let mut plots: Vec<Plot> = kinds.into_iter().filter_map(|kind| against_rate(traffic, kind)).collect();
    let open: Vec<&StepRecord> = traffic.steps.iter().filter(|step| step.arrival.starts_with("open")).collect();
    if let ([one], None) = (open.as_slice(), &traffic.limit) {
        let (offered, answered) = (one.offered_requests_per_s.0, one.answered_requests_per_s.0);
        let title = format!("How {} req/s went, of which {} were answered", digits(offered), digits(answered));
        plots.extend(over_time("load-over-time", title, &one.moments, Vec::new()));
    }
    if let Some(recovery) = &traffic.recovery {
        let title = format!(
            "A burst of {} req/s on {} req/s",
            digits(recovery.burst_requests_per_s.0),
            digits(recovery.base_requests_per_s.0)
        );
        let end = recovery.burst_s.0;
        let mut places = vec![(end, "end of the burst".to_string())];
        if let Some(after) = recovery.recovered_after_s.filter(|after| after.0 > 0.1) {
            places.push((end + after.0, "the SLO holds again".to_string()));
        }
        plots.extend(over_time("recovery", title, &recovery.moments, places));
    }
    plots
}

/// A time against the rate that was offered, over the steps of a search.
fn against_rate(traffic: &TrafficRecord, kind: LatencyKind) -> Option<Plot> {
    let mut steps: Vec<&StepRecord> = traffic.steps.iter().filter(|step| step.arrival.starts_with("open")).collect();
    steps.sort_by(|a, b| a.offered_requests_per_s.0.total_cmp(&b.offered_requests_per_s.0));
    // Of a rate that was run again, the last and longest run stands; the sort keeps their order.
    steps.reverse();
    steps.dedup_by(|earlier, later| earlier.offered_requests_per_s == later.offered_requests_per_s);
    steps.reverse();
    if steps.len() < 2 {
        return None;
    }
    let dot = |step: &StepRecord, ranged: Ranged| Dot { x: step.offered_requests_per_s.0, y: ranged.closed() };
    let mut lines: Vec<Line> = Vec::new();
    for (name, percentile) in PERCENTILES {
        let dots: Vec<Dot> =
            steps.iter().filter_map(|step| Some(dot(step, percentile(latency(step, kind))?))).collect();
        if !dots.is_empty() {
            lines.push(Line::new(name, dots));
        }
    }
    let ends = [steps.first()?, steps.last()?].map(|step| step.offered_requests_per_s.0);
    for term in traffic.slo.iter().filter(|term| term.of == kind) {
        let limit = ends.map(|x| Dot::exact(x, term.limit_s.0)).to_vec();
        lines.push(Line::new(format!("limit of p{}", digits_plain(term.percentile * 100.0)), limit));
    }
    let limit = traffic.limit.as_ref().and_then(|limit| limit.requests_per_s);
    let label = kind.label();
    let chart = Chart {
        name: format!("{}-against-rate", label.to_lowercase()),
        title: format!("{label} against the rate of requests"),
        description: match limit {
            Some(rate) => format!("{} steps; the limit under the SLO is {rate}.", steps.len()),
            None => format!("{} steps; no limit under an SLO.", steps.len()),
        },
        note: format!(
            "Open loop ({}), times from when a request was due. Bars: 95 % intervals. Steps that broke the SLO were ended \
             early.",
            steps.first()?.arrival.replace("open_", "")
        ),
        x: Axis::new("requests/s that are offered", Scale::Linear),
        y: Axis::new(format!("{label}, s"), Scale::Log),
        lines,
        places: limit.map(|rate| (rate.0, "limit".to_string())).into_iter().collect(),
    };
    chart.plot()
}

/// Mean times and requests in flight over the seconds of a step.
fn over_time(name: &str, title: String, moments: &[Moment], places: Vec<(f64, String)>) -> Option<Plot> {
    let line = |name: &str, of: fn(&Moment) -> Option<f64>| {
        let dots: Vec<Dot> = moments.iter().filter_map(|moment| Some(Dot::exact(moment.at_s, of(moment)?))).collect();
        Line::new(name, dots)
    };
    let mut lines = vec![line("mean E2E", |m| m.e2e_s), line("mean TTFT", |m| m.ttft_s)];
    lines.retain(|line| line.dots.len() > 1);
    if lines.is_empty() {
        return None;
    }
    let width = moments.windows(2).next().map_or(0.0, |pair| pair[1].at_s - pair[0].at_s);
    let most = moments.iter().map(|moment| moment.in_flight).max().unwrap_or(0);
    let failed: u64 = moments.iter().map(|moment| moment.failed).sum();
    let chart = Chart {
        name: name.to_string(),
        title,
        description: format!("At most {most} requests were in flight; {failed} failed."),
        note: format!("Each dot: requests that were due within {}.", Seconds(width)),
        x: Axis::new("seconds", Scale::Linear),
        y: Axis::new("mean time of a request, s", Scale::Linear),
        lines,
        places,
    };
    chart.plot()
}
