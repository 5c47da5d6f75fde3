//! What differs in where two runs come from: read before any number.

use crate::record::RunRecord;
use crate::record::run::OWN_ENGINE;
use crate::units::Quantity;
use serde::Serialize;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is.
    pub what: &'static str,
    /// In the run before.
    pub before: String,
    /// In the run after.
    pub after: String,
}

/// Everything that differs between two records, but for when they were made.
pub fn differences(before: &RunRecord, after: &RunRecord) -> Vec<Difference> {
    facts(before)
        .into_iter()
        .zip(facts(after))
        .filter(|((_, one), (_, other))| one != other)
        .map(|((what, before), (_, after))| Difference { what, before, after })
        .collect()
}

fn facts(record: &RunRecord) -> Vec<(&'static str, String)> {
    let (env, cpu, engine) = (&record.environment, &record.environment.cpu, &record.engine);
    let or_none = |text: Option<String>| text.unwrap_or("-".to_string());
    let instance = env.instance.provider.clone().zip(env.instance.instance_type.clone());
    // Records of another age call it otherwise, and its version is the program's.
    let of_engine = match engine.identity() {
        OWN_ENGINE => format!("{OWN_ENGINE} {}", env.sizewell_version),
        other => format!("{other} {}", engine.version),
    };
    let mut facts = vec![
        ("sizewell", format!("{} ({})", env.sizewell_version, env.git_revision)),
        ("model", or_none(record.model.as_ref().map(|model| model.name.clone()))),
        ("model hash", or_none(record.model.as_ref().map(|model| model.hash.clone()))),
        ("engine", of_engine),
        ("device", format!("{} {}", engine.device, engine.hardware.as_deref().unwrap_or(&cpu.model))),
        ("kernels", engine.kernels.clone()),
        ("computes in", engine.compute_type.clone()),
        ("engine settings", engine.settings_in_words()),
        ("host", env.hostname.clone()),
        ("machine", or_none(env.machine.clone())),
        ("instance", or_none(instance.map(|(provider, name)| format!("{provider}:{name}")))),
        ("system", env.os.clone()),
        ("CPU", format!("{} ({})", cpu.model, cpu.signature)),
        ("CPU threads", format!("{} of {}", cpu.engine_threads, cpu.threads)),
        ("pinned to", or_none(cpu.pinned_to.clone())),
        ("governor", or_none(cpu.governor.clone())),
        ("hypervisor", or_none(cpu.hypervisor.clone())),
        ("memory", env.memory_bytes.human()),
        ("limits", or_none(env.limits.as_ref().map(|limits| limits.lasting().in_words()))),
        ("power limit", or_none(record.power.limit_w.map(Quantity::human))),
        ("seed", record.seed.to_string()),
        ("requests arrive", record.arrival.clone()),
        ("definitions", definitions(record)),
    ];
    let of_card = |what: fn(&crate::record::environment::GpuRecord) -> Option<String>| {
        env.gpus.iter().filter_map(what).collect::<Vec<_>>().join(", ")
    };
    facts.extend([
        ("cards", of_card(|gpu| Some(gpu.name.clone()))),
        ("identity of cards", of_card(|gpu| gpu.uuid.clone())),
        ("driver", of_card(|gpu| gpu.driver.clone())),
        ("power limits of cards", of_card(|gpu| gpu.power_limit_w.map(Quantity::human))),
        ("error correction", of_card(|gpu| gpu.ecc.map(|on| on.to_string()))),
    ]);
    facts
}

/// Whose definitions the times follow, without the document that has them: that is another file in later versions.
fn definitions(record: &RunRecord) -> String {
    let text = record.metric_definitions.as_str();
    text.strip_suffix(".md)").and_then(|head| head.rsplit_once(" (")).map_or(text, |(head, _)| head).to_string()
}

/// Whether both were made on one and the same machine and device.
pub fn same_machine(before: &RunRecord, after: &RunRecord) -> bool {
    let of = |record: &RunRecord| {
        let env = &record.environment;
        let cards: Vec<_> = env.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        let device = (record.engine.device.clone(), record.engine.hardware.clone());
        (env.hostname.clone(), env.machine.clone(), env.cpu.signature.clone(), env.cpu.model.clone(), cards, device)
    };
    of(before) == of(after)
}
