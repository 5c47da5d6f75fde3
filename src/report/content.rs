//! The tables of a report.

use super::table::{DASH, Table};
use crate::record::ceiling::roof;
use crate::record::{CaseRow, CeilingKind, Distribution, Estimate, Outcome, Run, RunRecord};
use crate::sizing::cost::CostInterval;
use crate::sizing::{Excluded, Interval, RankRow, Ranking};
use crate::units::{Quantity, RequestsPerSecond, Seconds};
use std::collections::BTreeMap;

/// A value with the half-width of its 95 % interval in percent.
fn with_margin(text: String, value: f64, lo: Option<f64>, hi: Option<f64>) -> String {
    match (lo, hi) {
        (Some(lo), Some(hi)) if value > 0.0 => format!("{text} ±{:.1}%", (hi - lo) / 2.0 / value * 100.0),
        _ => text,
    }
}

fn distribution(value: Option<Distribution<Seconds>>) -> String {
    value.map_or(DASH.to_string(), |d| with_margin(d.median.human(), d.median.0, d.lo.map(|v| v.0), d.hi.map(|v| v.0)))
}

fn estimate<Q: Quantity>(value: Option<Estimate<Q>>) -> String {
    value.map_or(DASH.to_string(), |e| {
        with_margin(e.value.human(), e.value.si(), e.lo.map(Quantity::si), e.hi.map(Quantity::si))
    })
}

fn quantity<Q: Quantity>(value: Option<Q>) -> String {
    value.map_or(DASH.to_string(), Quantity::human)
}

/// One line for each case: what was measured, or why not.
pub fn cases(run: &Run) -> Table {
    let mut table = Table::new(
        "Cases",
        &[
            "quant",
            ">batch",
            ">prompt",
            ">gen",
            ">TTFT",
            ">TPOT",
            ">prefill",
            ">decode",
            ">requests",
            ">peak memory",
            ">of read roof",
            ">of compute roof",
            ">samples",
            "state",
        ],
    );
    for row in &run.cases {
        let case = row.key.case;
        let m = &row.metrics;
        let lengths = [case.batch, case.prompt_tokens, case.gen_tokens].map(|n| n.to_string());
        let mut cells = vec![case.quant.to_string()];
        cells.extend(lengths);
        cells.extend([
            distribution(m.ttft),
            distribution(m.tpot),
            estimate(m.prefill_tokens_per_s),
            estimate(m.decode_tokens_per_s),
            estimate(m.requests_per_s),
            quantity(m.peak_device),
            quantity(m.achieved_bandwidth),
            quantity(m.achieved_flops),
            row.samples.to_string(),
            state(row),
        ]);
        table.push(cells);
    }
    table.notes = case_notes(run);
    table
}

fn state(row: &CaseRow) -> String {
    let reasons: Vec<&str> = row.invalid.iter().map(|r| r.name()).collect();
    match row.outcome {
        Outcome::Ok if reasons.is_empty() => "valid".to_string(),
        Outcome::Ok => format!("doubtful: {}", reasons.join(", ")),
        other => format!("{other}: {}", row.reason.map_or("", |r| r.name())),
    }
}

/// What the table of cases needs said below it: reasons in words, once each.
fn case_notes(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |text: String| {
        if !notes.contains(&text) {
            notes.push(text);
        }
    };
    for row in &run.cases {
        for reason in &row.invalid {
            note(format!("{reason}: {}", reason.advice()));
        }
        if row.outcome != Outcome::Ok {
            note(format!("{} {}: {}", row.key.case, row.outcome, row.message));
        }
        for remark in &row.notes {
            note(format!("{}: {remark}", row.key.case.quant));
        }
    }
    let absent = |tag: &str| run.cases.iter().find_map(|row| row.why_absent(tag));
    if let Some(why) = absent("energy_j") {
        note(format!("energy: absent ({why})"));
    }
    if let Some(why) = absent("achieved_bandwidth_fraction") {
        note(format!("of read roof: absent where {why}"));
    }
    note("± is half the 95 % interval of the median; TTFT is of the whole batch".to_string());
    notes
}

/// Energy of each case, where there is any.
pub fn energy(run: &Run) -> Option<Table> {
    let mut table = Table::new(
        format!("Energy ({})", run.record.power.source),
        &["quant", ">batch", ">prompt", ">energy", ">power", ">per token", ">tokens per joule"],
    );
    for row in run.cases.iter().filter(|row| row.metrics.energy.is_some()) {
        let (case, m) = (row.key.case, &row.metrics);
        table.push(vec![
            case.quant.to_string(),
            case.batch.to_string(),
            case.prompt_tokens.to_string(),
            quantity(m.energy),
            quantity(m.power),
            quantity(m.energy_per_token),
            quantity(m.tokens_per_j),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Weights that were loaded.
pub fn loads(run: &Run) -> Table {
    let mut table = Table::new("Weights", &["quant", ">load time", ">size", "stored as", "a few greedy words"]);
    for load in &run.record.loads {
        table.push(vec![
            load.quant.to_string(),
            load.load_s.human(),
            load.weight_bytes.human(),
            if load.notes.is_empty() { load.quant.nominal_encoding().to_string() } else { load.notes.join("; ") },
            load.sample_text.clone().unwrap_or(DASH.to_string()),
        ]);
    }
    table
}

/// Measured roofs.
pub fn ceilings(record: &RunRecord) -> Table {
    let mut table = Table::new("Ceilings of this machine", &["ceiling", ">threads", ">best", ">median", "how"]);
    for ceiling in &record.ceilings {
        table.push(vec![
            ceiling.kind.label().to_string(),
            ceiling.threads.to_string(),
            ceiling.kind.human(ceiling.best),
            ceiling.kind.human(ceiling.median),
            ceiling.how.clone(),
        ]);
    }
    table.notes.push("Shares of a roof are shares of the best sample, as STREAM reports it".to_string());
    table
}

fn interval_seconds(interval: Interval) -> String {
    Seconds(interval.value).human()
}

fn cost(cost: Option<CostInterval>) -> [String; 2] {
    match cost {
        Some(cost) => [cost.value.to_string(), format!("{} - {}", cost.lo, cost.hi)],
        None => [DASH.to_string(), DASH.to_string()],
    }
}

/// The name and place of a row.
pub fn offer_name(row: &RankRow) -> String {
    let region = row.region.as_ref().map_or(String::new(), |region| format!(" {region}"));
    let market = row.market.filter(|m| m.name() != "on_demand").map_or(String::new(), |m| format!(" {}", m.name()));
    format!("{}:{}{region}{market}", row.provider, row.instance_type)
}

/// The first `most` rows of a ranking, and every measured one wherever it stands.
pub fn ranking(ranking: &Ranking, most: usize) -> Table {
    let mut table = Table::new(
        format!(
            "Cost of a request: {} prompt and {} generated tokens, busy all the time",
            ranking.prompt_tokens, ranking.gen_tokens
        ),
        &[
            ">#",
            "offer",
            "hardware",
            "quant",
            ">batch",
            "basis",
            ">$/h",
            ">$/M tokens",
            "from - to",
            ">TTFT",
            ">TPOT",
            ">requests",
            ">price age",
        ],
    );
    for (index, row) in ranking.rows.iter().enumerate() {
        if index >= most && row.basis == crate::record::Basis::Projected {
            continue;
        }
        let place = match (row.usd_per_million_tokens.is_some(), row.tied_with_first || index == 0) {
            (false, _) => DASH.to_string(),
            (true, true) if ranking.rows.iter().any(|r| r.tied_with_first) => "1=".to_string(),
            _ => (index + 1).to_string(),
        };
        let [value, range] = cost(row.usd_per_million_tokens);
        table.push(vec![
            place,
            offer_name(row),
            row.hardware.clone(),
            row.quant.to_string(),
            row.batch.to_string(),
            row.basis.to_string(),
            row.usd_per_h.map_or(DASH.to_string(), |p| p.0.normalize().to_string()),
            value,
            range,
            interval_seconds(row.ttft_s),
            interval_seconds(row.tpot_s),
            RequestsPerSecond(row.requests_per_s.value).human(),
            row.price_age_days.map_or("unknown".to_string(), |days| format!("{days} d")),
        ]);
    }
    table.notes = ranking_notes(ranking, most);
    table
}

fn ranking_notes(ranking: &Ranking, most: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if ranking.rows.iter().any(|row| row.tied_with_first) {
        notes.push("1= cannot be told from the first: the intervals overlap".to_string());
    }
    if ranking.rows.iter().any(|row| row.basis == crate::record::Basis::Projected) {
        notes.push(
            "projected: the share of the roof that was reached here, times the roof there; METHODOLOGY.md says how \
             far off that can be"
                .to_string(),
        );
    }
    notes.extend(ranking.rows.iter().find_map(|row| row.why_no_cost.clone()).map(|why| format!("this machine: {why}")));
    let ages: Vec<i64> = ranking.rows.iter().filter_map(|row| row.price_age_days).collect();
    if let (Some(least), Some(most)) = (ages.iter().min(), ages.iter().max()) {
        let warning = if *most > 30 { ": check them before you buy" } else { "" };
        notes.push(format!("prices are {least} to {most} days old{warning}"));
    }
    if ranking.rows.len() > most {
        notes.push(format!("{} more rows in the CSV and JSON forms (sizewell rank)", ranking.rows.len() - most));
    }
    notes
}

/// What was left out of a ranking: one line for each reason, with the types that it holds for.
pub fn excluded(excluded: &[Excluded]) -> Table {
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for item in excluded {
        // Sizes differ from type to type; the reason is the same.
        let reason = item.reason.split(':').next().unwrap_or("").to_string();
        let reason = if reason == "does not fit" { reason } else { item.reason.clone() };
        let offers = reasons.entry(reason).or_default();
        if !offers.contains(&item.offer.as_str()) {
            offers.push(&item.offer);
        }
    }
    let mut lines: Vec<(String, Vec<&str>)> = reasons.into_iter().collect();
    lines.sort_by_key(|(reason, offers)| (reason != "does not fit", std::cmp::Reverse(offers.len())));
    let mut table = Table::new("Not ranked", &["reason", ">types", "for example"]);
    for (reason, offers) in lines {
        let shown: Vec<&str> = offers.iter().take(3).copied().collect();
        table.push(vec![reason, offers.len().to_string(), shown.join(", ")]);
    }
    table
}

/// Every offer that was left out, one line each.
pub fn excluded_offers(excluded: &[Excluded]) -> Table {
    let mut table = Table::new("Not ranked", &["offer", "quant", "reason"]);
    for item in excluded {
        table.push(vec![item.offer.clone(), item.quant.to_string(), item.reason.clone()]);
    }
    table
}

/// Where the run comes from.
pub fn environment(run: &Run) -> Table {
    let record = &run.record;
    let env = &record.environment;
    let mut table = Table::new("Where this comes from", &["what", "value"]);
    let mut line = |what: &str, value: String| table.push(vec![what.to_string(), value]);
    line("run", run.path.display().to_string());
    line("began", record.started_at.to_string());
    line("sizewell", format!("{} ({})", env.sizewell_version, env.git_revision));
    line("command", env.argv.join(" "));
    if let Some(model) = &record.model {
        let weights = if model.synthetic { "synthetic: seeded random weights" } else { "real weights" };
        line("model", format!("{}, {:.0} parameters, {weights}", model.name, model.parameters));
        line("model source", format!("{} {}", model.kind, model.location.clone().unwrap_or_default()));
        line("model hash", model.hash.clone());
    }
    let engine = &record.engine;
    line("engine", format!("{} {} on {}, {}", engine.name, engine.version, engine.device, engine.kernels));
    line("computes in", engine.compute_type.clone());
    let pinned = env.cpu.pinned_to.as_ref().map_or(String::new(), |cpus| format!(", pinned to {cpus}"));
    line("threads", format!("{}{pinned}", env.cpu.engine_threads));
    let cpu = &env.cpu;
    line("CPU", format!("{} ({}), {} cores, {} threads", cpu.model, cpu.signature, cpu.cores, cpu.threads));
    line("instruction sets", cpu.features.join(" "));
    line("memory", env.memory_bytes.human());
    line("host", format!("{}, {}", env.hostname, env.os));
    let instance = &env.instance;
    let named = instance.provider.clone().zip(instance.instance_type.clone());
    line("instance", named.map_or(instance.known_from.clone(), |(p, t)| format!("{p}:{t} ({})", instance.known_from)));
    line("seed", record.seed.to_string());
    line("requests arrive", record.arrival.clone());
    line("definitions", record.metric_definitions.clone());
    let power = &record.power;
    line("power", power.reason.clone().unwrap_or_else(|| format!("{}: {}", power.source, power.zones.join(", "))));
    if let Some(overhead) = record.overhead {
        line(
            "cost of the measuring loop",
            format!("{} an iteration, {} a token", overhead.per_iteration_s, overhead.per_token_s),
        );
    }
    table
}

/// What a run found, in a few sentences.
pub fn summary(run: &Run) -> Vec<String> {
    let ok: Vec<&CaseRow> = run.cases.iter().filter(|row| row.outcome == Outcome::Ok).collect();
    let doubtful = ok.iter().filter(|row| !row.is_valid()).count();
    let mut lines = Vec::new();
    let name = run.record.model.as_ref().map_or("no model".to_string(), |m| m.name.clone());
    lines.push(format!(
        "{name} on {}: {} of {} cases measured{}.",
        run.record.environment.cpu.model,
        ok.len(),
        run.cases.len(),
        if doubtful > 0 { format!(", {doubtful} of them doubtful") } else { String::new() }
    ));
    let fastest = |value: fn(&CaseRow) -> Option<f64>| {
        ok.iter()
            .copied()
            .filter(|row| value(row).is_some())
            .max_by(|a, b| value(a).unwrap_or(0.0).total_cmp(&value(b).unwrap_or(0.0)))
    };
    if let Some(row) = fastest(|row| row.metrics.decode_tokens_per_s.map(|d| d.value.0)) {
        let rate = estimate(row.metrics.decode_tokens_per_s);
        lines.push(format!("Fastest decode: {rate} ({}).", row.key.case));
    }
    if let Some(row) = fastest(|row| row.metrics.prefill_tokens_per_s.map(|d| d.value.0)) {
        let rate = estimate(row.metrics.prefill_tokens_per_s);
        lines.push(format!("Fastest prefill: {rate} ({}).", row.key.case));
    }
    if let Some(read) = roof(&run.record.ceilings, CeilingKind::ReadBandwidth) {
        lines.push(format!("This machine reads memory at {}.", CeilingKind::ReadBandwidth.human(read)));
    }
    lines
}
