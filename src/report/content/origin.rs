//! Where the numbers come from: ceilings of the machine, environment, versions.

use crate::record::run::PowerRecord;
use crate::record::{Bound, Run, RunRecord};
use crate::report::table::Table;
use crate::units::Quantity;

/// Measured roofs.
pub fn ceilings(record: &RunRecord) -> Table {
    let mut table =
        Table::new("Ceilings of this machine", &["device", "ceiling", ">threads", ">best", ">median", "how"]);
    for ceiling in &record.ceilings {
        table.push(vec![
            ceiling.device.clone(),
            ceiling.kind.label().to_string(),
            ceiling.threads.to_string(),
            ceiling.human(ceiling.best),
            ceiling.human(ceiling.median),
            ceiling.how.clone(),
        ]);
    }
    table.notes.extend(record.ceilings_absent.iter().map(|why| format!("absent: {why}")));
    if record.ceilings.iter().any(|ceiling| ceiling.bound == Bound::Lower) {
        table.notes.push("at least: the device can do more, and no share of such a figure is given".to_string());
    }
    table.notes.push("Shares of a roof are shares of the best sample, as STREAM reports it".to_string());
    table
}

/// Where the power of a run was read, how well, and what it was at rest.
fn power_lines(power: &PowerRecord) -> Vec<(&'static str, String)> {
    let mut lines = vec![(
        "power",
        power.reason.clone().unwrap_or_else(|| format!("{}: {}", power.source, power.zones.join(", "))),
    )];
    if let Some(sensor) = &power.sensor {
        let error =
            sensor.error.map_or("error not stated".to_string(), |error| format!("error up to {:.0} %", error * 100.0));
        let period = format!("{}, moves every {}, {error}", sensor.method, sensor.update_period_s);
        lines.push(("power sensor", if sensor.part_time { format!("{period}, part-time") } else { period }));
    }
    if let Some(idle) = power.idle_w {
        let how = power.idle.as_ref().map_or(String::new(), |idle| {
            let state = idle.performance_state.map_or(String::new(), |state| format!(", in P{state}"));
            let open = if idle.card_open { ", with the card open" } else { "" };
            format!("{state}{open}, after {}", idle.waited_s)
        });
        lines.push(("idle power", format!("{}{how}", idle.human())));
    } else if let Some(why) = power.idle.as_ref().and_then(|idle| idle.reason.clone()) {
        lines.push(("idle power", why));
    }
    lines
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
    if !engine.settings.is_empty() {
        line("engine settings", engine.settings_in_words());
    }
    line("computes in", engine.compute_type.clone());
    let pinned = env.cpu.pinned_to.as_ref().map_or(String::new(), |cpus| format!(", pinned to {cpus}"));
    line("threads", format!("{}{pinned}", env.cpu.engine_threads));
    let cpu = &env.cpu;
    line("CPU", format!("{} ({}), {} cores, {} threads", cpu.model, cpu.signature, cpu.cores, cpu.threads));
    line("instruction sets", cpu.features.join(" "));
    line("memory", env.memory_bytes.human());
    if let Some(limits) = &env.limits {
        line("limits", limits.in_words());
    }
    line("host", format!("{}, {}", env.hostname, env.os));
    for gpu in &env.gpus {
        let memory = gpu.memory_bytes.map_or(String::new(), |memory| format!(", {}", memory.human()));
        let limit = gpu.power_limit_w.map_or(String::new(), |watts| format!(", power limit {watts}"));
        let driver = gpu.driver.as_ref().map_or(String::new(), |driver| format!(", driver {driver}"));
        line("GPU", format!("cuda:{} {}{memory}{limit}{driver}", gpu.index, gpu.name));
    }
    let instance = &env.instance;
    let named = instance.provider.clone().zip(instance.instance_type.clone());
    line("instance", named.map_or(instance.known_from.clone(), |(p, t)| format!("{p}:{t} ({})", instance.known_from)));
    line("seed", record.seed.to_string());
    line("requests arrive", run.arrivals());
    line("definitions", record.metric_definitions.clone());
    for (what, value) in power_lines(&record.power) {
        line(what, value);
    }
    if let Some(overhead) = record.overhead {
        line(
            "cost of the measuring loop",
            format!("{} an iteration, {} a token", overhead.per_iteration_s, overhead.per_token_s),
        );
    }
    table
}
