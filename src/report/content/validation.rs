//! How far off projections are, as tables.

use crate::report::table::{DASH, Table};
use crate::sizing::projection::terms::{KernelClass, Phase};
use crate::sizing::validate::{CpuErrors, Errors, Validation};
use crate::units::{Fraction, Quantity, digits};

fn share(value: Option<f64>) -> String {
    value.map_or(DASH.to_string(), |value| Fraction(value).human())
}

fn factor(value: Option<f64>) -> String {
    value.map_or(DASH.to_string(), |value| format!("{value:.3}"))
}

const COLUMNS: [&str; 12] = [
    "what",
    ">decode",
    ">p90",
    ">cases",
    ">prefill",
    ">p90",
    ">cases",
    ">within 90 %",
    ">width",
    ">prefill within",
    ">width",
    ">order",
];

fn line(name: &str, errors: &Errors) -> Vec<String> {
    vec![
        name.to_string(),
        share(errors.decode_mape),
        share(errors.decode_p90),
        errors.decode_cases.to_string(),
        share(errors.prefill_mape),
        share(errors.prefill_p90),
        errors.prefill_cases.to_string(),
        share(errors.coverage),
        factor(errors.width),
        share(errors.prefill_coverage),
        factor(errors.prefill_width),
        share(errors.order),
    ]
}

/// Overall and card by card, by size, choices of instances, CPUs, and what was not used.
pub fn validation(validation: &Validation) -> Vec<Table> {
    let mut tables = vec![errors(validation), sizes(validation)];
    if !validation.regret.is_empty() {
        tables.push(regret(validation));
    }
    tables.extend(validation.cpus.as_ref().map(cpus));
    if !validation.laws.is_empty() {
        tables.push(laws(validation));
    }
    if !validation.not_used.is_empty() || !validation.refused.is_empty() {
        tables.push(not_used(validation));
    }
    tables
}

/// Overall, by engine and by card.
fn errors(validation: &Validation) -> Table {
    let title = match validation.method {
        "fixed_split" => "Errors of projections: fitted on one set, projected to another",
        _ => "Errors of projections: each card model left out of the fit in turn",
    };
    let mut errors = Table::new(title, &COLUMNS);
    errors.push(line(&format!("all of {}", validation.headline), &validation.overall));
    if validation.without_siblings.decode_cases > 0 {
        errors.push(line("the same, its siblings left out too", &validation.without_siblings));
    }
    errors.push(line("published roofline x 0.8", &validation.flat_roofline));
    for (name, engine) in validation.engines.iter().filter(|(name, _)| **name != validation.headline) {
        errors.push(line(name, engine));
    }
    for (name, device) in &validation.devices {
        errors.push(line(name, device));
    }
    errors.notes.push(
        "decode and prefill: mean of |projected / true - 1| of single sequences, prompts of about 512 tokens".into(),
    );
    errors.notes.push(
        "siblings: cards of the same chip, such as A100s; what is said of a chip that nobody measured is that".into(),
    );
    errors.notes.push(
        "within 90 %: share of true times inside of the interval; width: its upper end over its value, the median"
            .into(),
    );
    errors
}

/// By the length of prompts and answers.
fn sizes(validation: &Validation) -> Table {
    let mut sizes = Table::new("By length", &["what", ">error", ">p90", ">cases", ">within 90 %"]);
    for (name, size) in &validation.sizes {
        let decode = size.decode_mape.is_some();
        let (error, p90, cases, within) = if decode {
            (size.decode_mape, size.decode_p90, size.decode_cases, size.coverage)
        } else {
            (size.prefill_mape.or(size.other_mape), size.prefill_p90, size.prefill_cases, size.prefill_coverage)
        };
        let cases = if cases == 0 { DASH.to_string() } else { cases.to_string() };
        sizes.push(vec![name.clone(), share(error), share(p90), cases, share(within)]);
    }
    sizes
}

/// What a choice by projected cost would have cost.
fn regret(validation: &Validation) -> Table {
    let mut regret = Table::new(
        "Choosing an instance by projected cost (512 prompt and 128 generated tokens, one at a time)",
        &[
            "engine",
            "model",
            ">types",
            ">projected",
            "picked",
            "best",
            ">true cost over best",
            ">cheapest hour over best",
        ],
    );
    for model in &validation.regret {
        regret.push(vec![
            model.engine.to_string(),
            model.model.to_string(),
            model.types.to_string(),
            model.projected_types.to_string(),
            model.picked.clone(),
            model.best.clone(),
            factor(Some(model.regret)),
            factor(Some(model.cheapest_hour_regret)),
        ]);
    }
    let overall = &validation.overall;
    regret.notes.push(format!("median {}, worst {}", factor(overall.regret_median), factor(overall.regret_worst)));
    regret
}

/// Sizes of one CPU from others of it.
fn cpus(cpus: &CpuErrors) -> Table {
    let mut table =
        Table::new("CPU instances, from other instances of the same CPU model", &["what", ">median", ">p90", ">cases"]);
    table.push(vec!["decode".into(), share(cpus.decode_median), share(cpus.decode_p90), cpus.decode_cases.to_string()]);
    table.push(vec![
        "prefill".into(),
        share(cpus.prefill_median),
        share(cpus.prefill_p90),
        cpus.prefill_cases.to_string(),
    ]);
    table.notes.push(format!(
        "refused: {} whose CPU model was measured nowhere else, {} with no size near enough, {} whose machine does not \
         name its CPU",
        cpus.refused_other_model, cpus.refused_too_far, cpus.refused_unnamed
    ));
    table
}

/// The weights of the terms of the laws.
fn laws(validation: &Validation) -> Table {
    let mut table = Table::new("What the terms are worth", &["engine", "kernels", "of", ">cards", "terms"]);
    for law in &validation.laws {
        let phase = match (law.phase, law.tokens) {
            (Phase::Decode, _) => "decode".to_string(),
            (_, Some(tokens)) if law.class == KernelClass::Quantized => format!("prefill of about {tokens}"),
            _ => "prefill".to_string(),
        };
        let terms: Vec<String> = law
            .terms
            .iter()
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(name, weight)| format!("{} {name}", digits(*weight)))
            .collect();
        let (engine, kernels) = (law.engine.clone(), law.class.name().to_string());
        table.push(vec![engine, kernels, phase, law.cards.to_string(), terms.join(" + ")]);
    }
    table
}

/// What was left out, and why.
fn not_used(validation: &Validation) -> Table {
    let mut table = Table::new("Not used", &["hardware", "reason"]);
    for unused in validation.not_used.iter().filter(|unused| unused.hardware != "CPU") {
        table.push(vec![unused.hardware.clone(), unused.reason.clone()]);
    }
    for (name, why) in &validation.refused {
        table.push(vec![name.clone(), why.clone()]);
    }
    table
}
