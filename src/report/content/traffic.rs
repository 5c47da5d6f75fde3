//! What a load test found: each step, where the time goes, and the limit in words.

use crate::record::{
    CutShort, LimitKind, LimitRecord, PhaseTimes, Ranged, RecoveryRecord, Run, StepRecord, StepVerdict, TrafficRecord,
};
use crate::report::table::{DASH, Table};
use crate::units::{Fraction, Quantity, RequestsPerSecond, Seconds, TokensPerSecond, digits};
use std::collections::BTreeSet;

/// Notes below the table of steps, so that a long search does not bury them.
const MOST_NOTES: usize = 20;

/// Every table of a load test.
pub fn tables(traffic: &TrafficRecord) -> Vec<Table> {
    let mut tables = vec![steps(traffic)];
    tables.extend(terms(traffic));
    tables.extend(phases(traffic));
    tables
}

/// A value with its interval.
fn ranged(value: Option<Ranged>) -> String {
    match value {
        None => DASH.to_string(),
        Some(Ranged { value, lo: Some(lo), hi: Some(hi) }) if value > 0.0 => match (hi - lo) / 2.0 / value * 100.0 {
            margin if margin > 100.0 => format!("{} ±>100%", Seconds(value).human()),
            margin => format!("{} ±{margin:.0}%", Seconds(value).human()),
        },
        Some(Ranged { value, .. }) => Seconds(value).human(),
    }
}

fn word(verdict: StepVerdict) -> &'static str {
    match verdict {
        StepVerdict::Holds => "holds",
        StepVerdict::HoldsBarely => "holds ?",
        StepVerdict::BreaksBarely => "breaks ?",
        StepVerdict::Breaks => "breaks",
    }
}

fn how(arrival: &str) -> String {
    match arrival.strip_prefix("closed_") {
        Some("1") => "one after the other".to_string(),
        Some(users) => format!("closed loop, {users} users"),
        None => arrival.replace("open_", ""),
    }
}

/// Each step, in the order in which they were run.
fn steps(traffic: &TrafficRecord) -> Table {
    let columns = [
        ">offered/s",
        "arrivals",
        ">requests",
        ">failed",
        ">answered/s",
        ">tokens/s",
        ">in flight",
        ">TTFT p50",
        ">p90",
        ">p99",
        ">TPOT p50",
        ">p99",
        ">E2E p50",
        ">p90",
        ">p99",
        ">goodput",
        "SLO",
    ];
    let mut table = Table::new(format!("Load on {} ({})", traffic.target, traffic.api), &columns);
    table.spare = vec![5, 8, 13, 6, 4, 15, 11];
    let mut rows: Vec<&StepRecord> = traffic.steps.iter().collect();
    rows.sort_by(|a, b| {
        let closed = |step: &StepRecord| !step.arrival.starts_with("closed");
        closed(a).cmp(&closed(b)).then(a.offered_requests_per_s.0.total_cmp(&b.offered_requests_per_s.0))
    });
    for step in rows {
        let failed = step.failed();
        let cut = if step.cut_short.is_some() { " *" } else { "" };
        let closed = step.arrival.starts_with("closed");
        // The tail of a closed loop is that of the users it has, not of the traffic that it stands for.
        let tail = |value: Option<Ranged>| if closed { DASH.to_string() } else { ranged(value) };
        table.push(vec![
            digits(step.offered_requests_per_s.0),
            how(&step.arrival),
            format!("{}{cut}", step.requests),
            failed.to_string(),
            digits(step.answered_requests_per_s.0),
            step.output_tokens_per_s.map_or(DASH.to_string(), |TokensPerSecond(rate)| digits(rate)),
            digits(step.mean_in_flight),
            ranged(step.ttft_s.p50),
            tail(step.ttft_s.p90),
            tail(step.ttft_s.p99),
            ranged(step.tpot_s.p50),
            tail(step.tpot_s.p99),
            ranged(step.e2e_s.p50),
            tail(step.e2e_s.p90),
            tail(step.e2e_s.p99),
            Fraction(step.goodput).human(),
            step.verdict.map_or(DASH, word).to_string(),
        ]);
    }
    notes(&mut table, traffic);
    table
}

fn notes(table: &mut Table, traffic: &TrafficRecord) {
    let notes = &mut table.notes;
    notes.push(format!("{}; a request is waited for {}.", traffic.prompts, traffic.timeout_s));
    if traffic.steps.iter().any(|step| step.arrival.starts_with("open")) {
        notes.push(
            "Times count from when a request was due. ± is half the 95 % interval of the percentile.".to_string(),
        );
    }
    if traffic.steps.iter().any(|step| step.arrival.starts_with("closed") && step.arrival != "closed_1") {
        notes.push(
            "In a closed loop a slow server is asked less, which hides its tail: it has no p90 and p99 here."
                .to_string(),
        );
    }
    if let Some(step) = traffic.steps.iter().max_by(|a, b| lag(a).total_cmp(&lag(b))) {
        let p99 = step.send_lag_s.p99.map_or(String::new(), |p| format!(", p99 {}", Seconds(p.value)));
        notes.push(format!(
            "The generator sent requests {} late in the mean{p99} (the worst step).",
            Seconds(lag(step))
        ));
    }
    for step in traffic.steps.iter().filter(|step| !step.lag_is_small) {
        let (word, much) = if step.lag_spoils {
            ("INVALID", "by more than a tenth of what is measured, or could not send every request")
        } else {
            ("DOUBTFUL", "by a part of the times that counts")
        };
        notes
            .push(format!("{word} at {} req/s: the generator was late {much}.", digits(step.offered_requests_per_s.0)));
    }
    notes.extend(disturbed(traffic));
    for step in traffic.steps.iter().filter(|step| step.cut_short.is_none()) {
        if let Some(growth) = step.backlog_growth_per_s {
            notes.push(format!(
                "At {} req/s more came than were answered: {} more in flight each second, and times that would go on growing.",
                digits(step.offered_requests_per_s.0),
                digits(growth)
            ));
        }
    }
    let cut_short = |step: &StepRecord| step.cut_short.as_ref().map(CutShort::to_string);
    let reasons: BTreeSet<String> = traffic.steps.iter().filter_map(cut_short).collect();
    for why in reasons {
        let rates = rates(traffic, |step| cut_short(step).as_ref() == Some(&why));
        notes.push(format!("* {rates} req/s ended early: {why}."));
    }
    for message in traffic.steps.iter().flat_map(|step| &step.messages) {
        let note = format!("A failure said: {message}.");
        if !notes.contains(&note) && notes.len() < 14 {
            notes.push(note);
        }
    }
    tokens(notes, traffic);
    notes.extend(traffic.notes.iter().map(|note| format!("{note}.")));
}

/// The rates of steps, each once, lowest first.
fn rates(traffic: &TrafficRecord, of: impl Fn(&StepRecord) -> bool) -> String {
    let mut rates: Vec<f64> =
        traffic.steps.iter().filter(|step| of(step)).map(|step| step.offered_requests_per_s.0).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    rates.into_iter().map(digits).collect::<Vec<_>>().join(", ")
}

/// What else went on on the server's machine.
fn disturbed(traffic: &TrafficRecord) -> Option<String> {
    let steps = || traffic.steps.iter().filter(|step| !step.disturbed.is_empty());
    let most = |of: fn(&StepRecord) -> Option<f64>| {
        let most = steps().filter_map(of).max_by(f64::total_cmp);
        most.map_or("an unknown share".to_string(), |share| Fraction(share).human())
    };
    steps().next()?;
    let mut names: Vec<&str> = steps().flat_map(|step| &step.disturbed).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    Some(format!(
        "DOUBTFUL at {} req/s ({}): others used up to {} of the CPU time, the hypervisor {}.",
        rates(traffic, |step| !step.disturbed.is_empty()),
        names.join(", "),
        most(|step| step.foreign_cpu),
        most(|step| step.stolen_cpu)
    ))
}

fn lag(step: &StepRecord) -> f64 {
    step.send_lag_s.mean.unwrap_or(0.0)
}

/// What came back, against what was asked for.
fn tokens(notes: &mut Vec<String>, traffic: &TrafficRecord) {
    let Some(step) = traffic.steps.iter().max_by_key(|step| step.requests) else { return };
    let prompt = step.prompt_tokens.map_or("an unknown number of".to_string(), digits);
    let by = match step.tokens_from.as_deref() {
        Some("server") => "as the server counts them",
        Some("tokenizer") => "as the tokenizer counts them",
        _ => "as the engine counts them",
    };
    if step.e2e_s.count > 0 && step.ttft_s.count > 0 {
        notes.push(match step.output_tokens {
            Some(came) => {
                format!(
                    "Answers have {} tokens of {} asked for, {by}; prompts {prompt}.",
                    digits(came),
                    digits(step.asked_tokens)
                )
            }
            None => "Nobody counted the tokens of answers: events are not taken for tokens, so that there is no TPOT; \
                     --tokenizer counts them."
                .to_string(),
        });
    }
    // Records of before name the tokenizer's count as that of the answer.
    let by_tokenizer = step.output_tokens.filter(|_| step.tokens_from.as_deref() == Some("tokenizer"));
    if let (Some(ours), Some(theirs)) = (step.text_tokens.or(by_tokenizer), step.server_tokens) {
        notes.push(format!(
            "The server counts {} tokens of an answer, the tokenizer {}.",
            digits(theirs),
            digits(ours)
        ));
    }
    for note in traffic.steps.iter().flat_map(|step| &step.answer_notes) {
        let note = format!("{note}.");
        if !notes.contains(&note) && notes.len() < MOST_NOTES {
            notes.push(note);
        }
    }
    let short: u64 = traffic.steps.iter().map(|step| step.short_answers).sum();
    if short > 0 {
        notes.push(format!("{short} answers are shorter than was asked for."));
    }
    if step.event_is_token == Some(false) {
        notes.push("Events carry several tokens each: gaps between them are no ITL.".to_string());
    }
}

/// How each limit fared in each step.
fn terms(traffic: &TrafficRecord) -> Option<Table> {
    if traffic.slo.is_empty() {
        return None;
    }
    let mut table = Table::new("Limits", &[">offered/s", "limit", ">beyond it", ">95 % interval", ">allowed", "kept"]);
    let mut steps: Vec<&StepRecord> =
        traffic.steps.iter().filter(|step| step.arrival.starts_with("open") || traffic.limit.is_none()).collect();
    steps.sort_by(|a, b| a.offered_requests_per_s.0.total_cmp(&b.offered_requests_per_s.0));
    let percent = |share: f64| Fraction(share).human();
    for step in steps {
        for term in &step.terms {
            if term.requests == 0 {
                let mut row = vec![digits(step.offered_requests_per_s.0), term.term.label()];
                row.extend([DASH, DASH, DASH, "cannot tell: no request has this time"].map(str::to_string));
                table.push(row);
                continue;
            }
            table.push(vec![
                digits(step.offered_requests_per_s.0),
                term.term.label(),
                percent(term.share()),
                format!("{} to {}", percent(term.share_lo), percent(term.share_hi)),
                percent(term.allowed()),
                match (term.unseen, step.verdict) {
                    (1.., None) => format!("cannot tell: of {} more requests it is not seen", term.unseen),
                    _ if term.share() <= term.allowed() + 1e-9 => "yes".to_string(),
                    _ => "no".to_string(),
                },
            ]);
        }
    }
    table.notes.push(
        "Failed requests are beyond every limit. The interval is Wilson's, widened by how slow requests come together in time."
            .to_string(),
    );
    Some(table)
}

/// Where the time of a request goes, at each rate that says so.
fn phases(traffic: &TrafficRecord) -> Option<Table> {
    let columns =
        [">offered/s", "arrivals", ">first token", ">tokenize", ">queue", ">prefill", ">decode", ">transfer", ">sum"];
    let mut table = Table::new("Where the time goes", &columns);
    let mut outside = false;
    for step in traffic.steps.iter().filter(|step| step.phases.is_some()) {
        let Some(phases) = step.phases else { continue };
        let measured = step.phases_from.as_deref() == Some("measured");
        outside |= !measured;
        let mut row = vec![digits(step.offered_requests_per_s.0), how(&step.arrival)];
        // What looks alike from outside stands in one column, and what is not known is no zero.
        row.extend(phases.parts().map(|(name, seconds)| match name {
            PhaseTimes::BEFORE_FIRST_TOKEN if measured => DASH.to_string(),
            PhaseTimes::BEFORE_FIRST_TOKEN => Seconds(phases.before_first_token()).human(),
            "decode" => Seconds(seconds).human(),
            _ if measured => Seconds(seconds).human(),
            _ => DASH.to_string(),
        }));
        row.push(Seconds(phases.parts().iter().map(|(_, seconds)| seconds).sum()).human());
        table.push(row);
    }
    table.notes.push(if outside {
        "Seen from outside: before the first token, waiting for a place, for others' prefills and for the own one look \
                 alike."
            .to_string()
    } else {
        "As the server says, in the mean; transfer is what is left of E2E.".to_string()
    });
    (!table.rows.is_empty()).then_some(table)
}

/// The limit, what gave way, the recovery: a sentence each.
pub fn sentences(run: &Run) -> Vec<String> {
    let Some(traffic) = &run.record.traffic else { return Vec::new() };
    let mut said = Vec::new();
    if let Some(limit) = &traffic.limit {
        let terms: Vec<String> = traffic.slo.iter().map(|term| term.label()).collect();
        let mut slo = terms.join(", ");
        if let Some(share) = traffic.goodput {
            slo.push_str(&format!(", goodput {}", Fraction(share).human()));
        }
        said.push(match limit.requests_per_s {
            Some(rate) => format!("Limit under {slo}: {}{}.", rate.human(), range(limit.lo, limit.hi)),
            None => format!("Limit under {slo}: no rate that was tried holds{}.", range(None, limit.hi)),
        });
        said.extend(repeated(limit));
        said.push(format!("What gave way first: {} ({}).", limit.gave_way, limit.explanation));
        said.push(match limit.kind {
            LimitKind::Knee => "A knee: a little more load costs a little more time.".to_string(),
            LimitKind::Cliff => "A cliff: just above the limit requests fail or queue without end.".to_string(),
            LimitKind::Unknown => "Whether it is a knee or a cliff the steps do not say.".to_string(),
        });
    }
    said.extend(traffic.recovery.as_ref().map(recovery));
    said
}

/// That a limit was run again, and what came of it.
fn repeated(limit: &LimitRecord) -> Option<String> {
    let first = limit.found_first.filter(|first| limit.requests_per_s.is_none_or(|rate| first.0 > rate.0 * 1.001));
    let first = first.map_or(String::new(), |first| format!("; {} held at first and broke then", first.human()));
    match (limit.requests_per_s, limit.repeated_s) {
        (Some(_), Some(seconds)) => Some(format!("It held for {seconds} when it was run again{first}.")),
        (Some(_), None) => {
            Some("It was not run again to be certain: the record is of before that was done.".to_string())
        }
        (None, _) if first.is_empty() => None,
        (None, _) => Some(format!("No rate held when it was run again for longer{first}: none is fit to buy by.")),
    }
}

fn range(lo: Option<RequestsPerSecond>, hi: Option<RequestsPerSecond>) -> String {
    match (lo, hi) {
        (Some(lo), Some(hi)) => format!(" ({} certainly hold, {} certainly do not)", digits(lo.0), hi.human()),
        (None, Some(hi)) => format!(" ({} certainly do not hold)", hi.human()),
        (Some(lo), None) => format!(" ({} certainly hold; no rate that was tried certainly does not)", lo.human()),
        (None, None) => " (too few requests to be certain of any rate)".to_string(),
    }
}

fn recovery(recovery: &RecoveryRecord) -> String {
    let burst = format!(
        "After a burst of {} for {} on {}",
        recovery.burst_requests_per_s.human(),
        recovery.burst_s,
        recovery.base_requests_per_s.human()
    );
    match recovery.recovered_after_s {
        Some(after) if after.0 < 0.1 => format!("{burst} the SLO held again at once."),
        Some(after) => format!("{burst} the SLO held again after {after}."),
        None => format!("{burst} the SLO did not hold again within {}.", recovery.watched_s),
    }
}
