//! What fits where: weights and cache against the memory of cards.

use super::Section;
use crate::report::Report;
use crate::report::plot::Plot;
use crate::report::plot::chart::{Axis, Chart, Dot, Line, Scale};
use crate::report::plot::curves::{lines, measured};
use crate::report::table::Table;
use crate::sizing::fit::{GPU_RESERVE, needed};
use crate::units::interval::Interval;
use crate::units::{Bytes, Quantity};
use crate::workload::{Case, ModelShape, Quant};

const GIB: f64 = (1u64 << 30) as f64;

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("memory", "Memory");
    let run = report.run();
    let Some(model) = &run.record.model else {
        section.missing = Some("No model was measured: `sizewell profile --model M` does.".to_string());
        return section;
    };
    section.plots.extend(measured_memory(report));
    section.plots.extend(needed_memory(report, &model.shape));
    section.tables.push(table(report, &model.shape));
    section
}

fn measured_memory(report: &Report<'_>) -> Option<Plot> {
    let lines = lines(
        report.run(),
        |row| row.key.case.batch as f64,
        |row| row.metrics.peak_device.map(|peak| Interval::exact(peak.0 / GIB)),
    );
    let on_card = report.run().record.engine.device != "cpu";
    let what = if on_card { "of the engine's buffers on the card" } else { "resident set of the process" };
    let chart = Chart {
        name: "memory-measured".to_string(),
        title: "Peak memory against batch size".to_string(),
        description: format!("Highest memory while a case ran ({what}), over batch sizes."),
        note: format!("One observation a case: {what}."),
        x: Axis::new("batch (sequences that run together)", Scale::Each),
        y: Axis::new("peak memory, GiB", Scale::Linear),
        lines,
        places: Vec::new(),
    };
    chart.plot()
}

/// The lengths that the ranking is of, or the longest measured.
fn longest(report: &Report<'_>) -> Option<(usize, usize)> {
    measured(report.run())
        .map(|row| (row.key.case.prompt_tokens(), row.key.case.gen_tokens()))
        .max_by_key(|(prompt, generated)| prompt + generated)
}

fn quants(report: &Report<'_>) -> Vec<Quant> {
    let mut quants: Vec<Quant> = report.run().cases.iter().map(|row| row.key.case.quant).collect();
    quants.sort();
    quants.dedup();
    quants
}

/// What caches are counted in, in words.
fn cache_bits(quants: &[Quant]) -> &'static str {
    if quants.contains(&Quant::F32) { "16 bits (32 beside weights in 32)" } else { "16 bits" }
}

/// Weights, cache and reserve on a card, by batch sizes up to 256.
fn needed_memory(report: &Report<'_>, shape: &ModelShape) -> Option<Plot> {
    let (prompt_tokens, gen_tokens) = longest(report)?;
    let line = |quant: Quant| Line {
        name: quant.name().to_string(),
        dots: (0..9)
            .map(|power| 1usize << power)
            .map(|batch| {
                let case = Case::new(quant, batch, prompt_tokens, gen_tokens);
                Dot::exact(batch as f64, needed(shape, &case, GPU_RESERVE).0 / GIB)
            })
            .collect(),
        joined: true,
    };
    let chart = Chart {
        name: "memory-needed".to_string(),
        title: "Memory that a card needs, against batch size".to_string(),
        description: format!(
            "Weights, cache of {prompt_tokens} + {gen_tokens} tokens a sequence in {}, and a reserve of {}.",
            cache_bits(&quants(report)),
            GPU_RESERVE.human()
        ),
        note: "Computed from the sizes of the model, not measured.".to_string(),
        x: Axis::new("batch (sequences that run together)", Scale::Each),
        y: Axis::new("memory, GiB", Scale::Linear),
        lines: quants(report).into_iter().map(line).collect(),
        places: Vec::new(),
    };
    chart.plot()
}

/// For each size of card, the greatest batch that fits at each level.
fn table(report: &Report<'_>, shape: &ModelShape) -> Table {
    let quants = quants(report);
    let titles: Vec<String> = quants.iter().map(|quant| format!(">{quant}")).collect();
    let mut columns = vec![">memory", "cards"];
    columns.extend(titles.iter().map(String::as_str));
    let (prompt_tokens, gen_tokens) = longest(report).unwrap_or((512, 128));
    let title = format!("The greatest batch of {prompt_tokens} + {gen_tokens} tokens that fits a card");
    let mut table = Table::new(title, &columns);
    let mut sizes: Vec<(f64, Vec<&str>)> = Vec::new();
    for card in report.catalog.accelerators.values() {
        let Some(memory) = card.memory() else { continue };
        match sizes.iter_mut().find(|(bytes, _)| *bytes == memory.0) {
            Some((_, names)) => names.push(&card.name),
            None => sizes.push((memory.0, vec![&card.name])),
        }
    }
    sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (memory, names) in sizes {
        let fits = |quant: Quant, batch: usize| {
            let case = Case::new(quant, batch, prompt_tokens, gen_tokens);
            needed(shape, &case, GPU_RESERVE).0 <= memory
        };
        let greatest =
            |quant: Quant| (0..16).map(|power| 1usize << power).take_while(|batch| fits(quant, *batch)).last();
        let mut row = vec![Bytes(memory).human(), shortened(&names)];
        row.extend(
            quants.iter().map(|quant| greatest(*quant).map_or("does not fit".to_string(), |batch| batch.to_string())),
        );
        table.push(row);
    }
    table.notes.push(format!(
        "powers of two up to 32768; weights as the level has them, the cache in {}, {} for the framework; one card, one copy",
        cache_bits(&quants),
        GPU_RESERVE.human()
    ));
    table
}

fn shortened(names: &[&str]) -> String {
    let more = names.len().saturating_sub(4);
    let shown = names.iter().take(4).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
