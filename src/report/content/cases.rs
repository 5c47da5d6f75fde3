//! What was measured: cases, energy, weights, and the sentences that sum them up.

use super::{distribution, estimate, quantity};
use crate::record::ceiling::roof;
use crate::record::{CaseRow, CeilingKind, Outcome, Run, RunStatus};
use crate::report::table::{DASH, Table};
use crate::units::{Quantity, digits};
use crate::workload::{Case, Task};

/// One line for each case: what was measured, or why not.
pub fn cases(run: &Run) -> Table {
    let task = task_of(run);
    let generates = task == Task::Generate;
    let results = format!(">{}", task.results());
    let mut columns = vec!["quant", ">batch"];
    match task {
        Task::Generate => columns.extend([">tokens", ">TTFT", ">TPOT", ">prefill", ">decode"]),
        Task::Embed => columns.extend([">tokens", ">time", ">tokens/s"]),
        Task::ClassifyImage => columns.extend([">image", ">time", ">patches/s"]),
    }
    columns.extend([results.as_str(), ">peak memory"]);
    if generates {
        columns.push(">of read roof");
    }
    columns.extend([">of compute roof", ">samples", "state"]);
    let mut table = Table::new(
        run.record.engine.hardware.as_ref().map_or("Cases".to_string(), |card| {
            let limit = run.record.power.limit_w.map_or(String::new(), |limit| format!(" at {limit}"));
            format!("Cases on {} ({card}{limit})", run.record.engine.device)
        }),
        &columns,
    )
    .spare(&[
        "samples",
        results.trim_start_matches('>'),
        "of compute roof",
        "prefill",
        "peak memory",
        "of read roof",
    ]);
    for row in &run.cases {
        let case = row.key.case;
        let m = &row.metrics;
        let mut cells = vec![case.quant.to_string(), case.batch.to_string(), lengths(case), distribution(m.ttft)];
        if generates {
            cells.extend([
                distribution(m.tpot),
                quantity(m.prefill_tokens_per_s.map(|e| e.value)),
                quantity(m.decode_tokens_per_s.map(|e| e.value)),
            ]);
        } else {
            cells.push(quantity(m.prefill_tokens_per_s.map(|e| e.value)));
        }
        cells.push(match generates {
            true => quantity(m.requests_per_s.map(|e| e.value)),
            false => m.requests_per_s.map_or(DASH.to_string(), |e| format!("{}/s", digits(e.value.0))),
        });
        cells.push(quantity(m.peak_device));
        if generates {
            cells.push(quantity(m.achieved_bandwidth));
        }
        cells.extend([quantity(m.achieved_flops), row.samples.to_string(), state(row)]);
        table.push(cells);
    }
    table.notes = case_notes(run);
    table
}

/// What the run's model does.
fn task_of(run: &Run) -> Task {
    run.record.model.as_ref().map_or(Task::Generate, |model| model.shape.architecture.task())
}

/// What goes in and comes out of a case, with its cache where it was chosen.
fn lengths(case: Case) -> String {
    let lengths: Vec<String> =
        case.input.lengths().iter().map(|(axis, value)| format!("{value}{}", axis.unit)).collect();
    let lengths = lengths.join("+");
    case.cache.map_or(lengths.clone(), |cache| format!("{lengths}, cache {cache}"))
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
    if let Some(why) = absent("achieved_bandwidth_fraction").filter(|_| task_of(run) == Task::Generate) {
        note(format!("of read roof: absent where {why}"));
    }
    // That nothing was measured is plain from the missing table of ceilings.
    if let Some(why) = absent("achieved_flops_fraction").filter(|_| !run.record.ceilings.is_empty()) {
        note(format!("of compute roof: absent ({why})"));
    }
    let what = match task_of(run) {
        Task::Generate => "tokens are prompt + generated; TTFT is of the whole batch",
        Task::Embed | Task::ClassifyImage => "time is of the whole batch, from the inputs to the results on the host",
    };
    note(format!("{what}; ± is half the 95 % interval of the median"));
    notes
}

/// Energy of each case, where there is any, and the memory that the meter saw.
pub fn energy(run: &Run) -> Option<Table> {
    let mut table = Table::new(
        format!("Energy and memory ({})", run.record.power.source),
        &[
            "quant",
            ">batch",
            ">prompt",
            ">energy",
            ">power",
            ">per token",
            ">net per token",
            ">tokens per joule",
            ">memory in use",
        ],
    );
    for row in run.cases.iter().filter(|row| row.metrics.energy.is_some()) {
        let (case, m) = (row.key.case, &row.metrics);
        table.push(vec![
            case.quant.to_string(),
            case.batch.to_string(),
            case.prompt_tokens().to_string(),
            estimate(m.energy),
            estimate(m.power),
            estimate(m.energy_per_token),
            estimate(m.net_energy_per_token),
            estimate(m.tokens_per_j),
            quantity(m.peak_used),
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

/// What a run found, in a few sentences.
pub fn summary(run: &Run) -> Vec<String> {
    let ok: Vec<&CaseRow> = run.cases.iter().filter(|row| row.outcome == Outcome::Ok).collect();
    let doubtful = ok.iter().filter(|row| !row.is_valid()).count();
    let mut lines = Vec::new();
    let name = run.record.model.as_ref().map_or("no model".to_string(), |m| m.name.clone());
    lines.push(format!(
        "{name} on {}: {} of {} cases measured{}.",
        run.record.engine.hardware.as_ref().unwrap_or(&run.record.environment.cpu.model),
        ok.len(),
        run.cases.len(),
        if doubtful > 0 { format!(", {doubtful} of them doubtful") } else { String::new() }
    ));
    // A file that was cut short would pass for a small run.
    let planned = run.record.workload.as_ref().map_or(0, |workload| workload.cases().len());
    if run.record.status == RunStatus::Complete && planned > run.cases.len() && run.record.import.is_none() {
        let lost = planned - run.cases.len();
        lines.push(format!("{lost} of the {planned} cases of the run have no row: its cases.csv is not whole."));
    }
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
    let most: fn(&CaseRow) -> Option<f64> = match task_of(run) {
        Task::Generate => |row| row.metrics.prefill_tokens_per_s.map(|d| d.value.0),
        Task::Embed | Task::ClassifyImage => |row| row.metrics.requests_per_s.map(|d| d.value.0),
    };
    if let Some(row) = fastest(most) {
        let rate = estimate(row.metrics.prefill_tokens_per_s);
        lines.push(match task_of(run) {
            Task::Generate => format!("Fastest prefill: {rate} ({}).", row.key.case),
            task => {
                let results = row.metrics.requests_per_s.map_or(String::new(), |e| digits(e.value.0));
                format!("Most {}: {results} a second ({}).", task.results(), row.key.case)
            }
        });
    }
    if let Some(read) = roof(&run.record.ceilings, &run.record.engine.device, CeilingKind::ReadBandwidth) {
        let device = if run.record.engine.hardware.is_some() { "This card" } else { "This machine" };
        lines.push(format!("{device} reads memory at {}.", CeilingKind::ReadBandwidth.human(read)));
    }
    lines
}
