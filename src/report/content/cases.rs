//! What was measured: cases, energy, weights, and the sentences that sum them up.

use super::{distribution, estimate, quantity};
use crate::record::ceiling::roof;
use crate::record::{CaseRow, CeilingKind, Outcome, Run, RunStatus};
use crate::report::table::{DASH, Table};
use crate::units::{Quantity, digits};
use crate::workload::{Case, Task, TaskInfo};

/// A column of the table of cases: its title, with `>` before what stands at the right, and what a row has in it.
type Column = (String, fn(&CaseRow) -> String);

/// The columns that cases of a task have.
fn columns(task: Task) -> Vec<Column> {
    let TaskInfo { titles, generates, .. } = task.info();
    let mut columns: Vec<Column> = Vec::new();
    let mut column = |title: &str, cell: fn(&CaseRow) -> String| columns.push((title.to_string(), cell));
    column("quant", |row| row.key.case.quant.to_string());
    column(">batch", |row| row.key.case.batch.to_string());
    column(&format!(">{}", titles.lengths), |row| lengths(row.key.case));
    column(&format!(">{}", titles.first), |row| distribution(row.metrics.ttft));
    if *generates {
        column(">TPOT", |row| distribution(row.metrics.tpot));
    }
    column(&format!(">{}", titles.intake), |row| quantity(row.metrics.prefill_tokens_per_s.map(|e| e.value)));
    if *generates {
        column(">decode", |row| quantity(row.metrics.decode_tokens_per_s.map(|e| e.value)));
    }
    let results = format!(">{}", task.results());
    if *generates {
        column(&results, |row| quantity(row.metrics.requests_per_s.map(|e| e.value)))
    } else {
        column(&results, |row| {
            row.metrics.requests_per_s.map_or(DASH.to_string(), |e| format!("{}/s", digits(e.value.0)))
        })
    }
    column(">peak memory", |row| quantity(row.metrics.peak_device));
    if *generates {
        column(">of read roof", |row| quantity(row.metrics.achieved_bandwidth));
    }
    column(">of compute roof", |row| quantity(row.metrics.achieved_flops));
    column(">samples", |row| row.samples.to_string());
    column("state", state);
    columns
}

/// One line for each case: what was measured, or why not.
pub fn cases(run: &Run) -> Table {
    let task = run.record.task();
    let columns = columns(task);
    let titles: Vec<&str> = columns.iter().map(|(title, _)| title.as_str()).collect();
    let mut table = Table::new(
        run.record.engine.hardware.as_ref().map_or("Cases".to_string(), |card| {
            let limit = run.record.power.limit_w.map_or(String::new(), |limit| format!(" at {limit}"));
            format!("Cases on {} ({card}{limit})", run.record.engine.device)
        }),
        &titles,
    )
    .spare(&["samples", task.results(), "of compute roof", "prefill", "peak memory", "of read roof"]);
    for row in &run.cases {
        table.push(columns.iter().map(|(_, cell)| cell(row)).collect());
    }
    table.notes = case_notes(run);
    table
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
    let task = run.record.task().info();
    if let Some(why) = absent("achieved_bandwidth_fraction").filter(|_| task.generates) {
        note(format!("of read roof: absent where {why}"));
    }
    // That nothing was measured is plain from the missing table of ceilings.
    if let Some(why) = absent("achieved_flops_fraction").filter(|_| !run.record.ceilings.is_empty()) {
        note(format!("of compute roof: absent ({why})"));
    }
    note(format!("{}; ± is half the 95 % interval of the median", task.note));
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
    let task = run.record.task();
    let most: fn(&CaseRow) -> Option<f64> = if task.generates() {
        |row| row.metrics.prefill_tokens_per_s.map(|d| d.value.0)
    } else {
        |row| row.metrics.requests_per_s.map(|d| d.value.0)
    };
    if let Some(row) = fastest(most) {
        lines.push(if task.generates() {
            format!("Fastest prefill: {} ({}).", estimate(row.metrics.prefill_tokens_per_s), row.key.case)
        } else {
            let results = row.metrics.requests_per_s.map_or(String::new(), |e| digits(e.value.0));
            format!("Most {}: {results} a second ({}).", task.results(), row.key.case)
        });
    }
    if let Some(read) = roof(&run.record.ceilings, &run.record.engine.device, CeilingKind::ReadBandwidth) {
        let device = if run.record.engine.hardware.is_some() { "This card" } else { "This machine" };
        lines.push(format!("{device} reads memory at {}.", CeilingKind::ReadBandwidth.human(read)));
    }
    lines
}
