//! HF optimum-benchmark: a report with the phases `prefill`, `decode` and `per_token`. Its energy is in kWh.

use super::observed::{Observed, estimate, finite};
use super::settings::{self, Settings};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, device, level, value};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{Bytes, Joules, Seconds, TokensPerSecond};
use crate::workload::Quant;
use serde_json::Value;

/// The format.
pub(crate) struct Optimum;

impl Importer for Optimum {
    fn name(&self) -> &'static str {
        "optimum-benchmark"
    }

    fn tool(&self) -> &'static str {
        "optimum-benchmark"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.text.contains("\"prefill\"")
            && source.text.contains("\"latency\"")
            && source.text.contains("\"throughput\"")
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |record: Value, found| {
            let version = at(&record, &["config", "environment", "optimum_benchmark_version"]).and_then(Value::as_str);
            found.tool_version = version.map(str::to_string).or(found.tool_version.take());
            found.add(observed(&record));
            Ok(())
        })?;
        Ok(found)
    }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// The latencies of a phase; p50 where it is given, else the mean.
fn times(phase: &Value) -> Result<Option<Distribution<Seconds>>, String> {
    let Some(latency) = at(phase, &["latency"]) else { return Ok(None) };
    match latency.get("unit").and_then(Value::as_str) {
        Some("s") => {}
        other => return Err(format!("whose `latency.unit` is `{}`; it must be s", other.unwrap_or("missing"))),
    }
    let number = |key: &str| finite(latency.get(key).and_then(Value::as_f64)).filter(|v| *v > 0.0).map(Seconds);
    let Some(median) = number("p50").or(number("mean")) else { return Ok(None) };
    Ok(Some(Distribution { median, lo: None, hi: None, p90: number("p90"), p99: number("p99") }))
}

/// What was run, in numbers.
struct Shapes {
    batch: usize,
    prompt: usize,
    generated: usize,
}

impl Shapes {
    fn of(config: &Value) -> Result<Self, String> {
        let whole = |path: &[&str]| at(config, path).and_then(Value::as_u64).map(|n| n as usize);
        let place = ["scenario", "benchmark"].into_iter().find(|key| at(config, &[key, "input_shapes"]).is_some());
        let place = place.ok_or("without `config.scenario.input_shapes`")?;
        Ok(Self {
            batch: whole(&[place, "input_shapes", "batch_size"]).ok_or("without `input_shapes.batch_size`")?,
            prompt: whole(&[place, "input_shapes", "sequence_length"]).unwrap_or(0),
            generated: whole(&[place, "generate_kwargs", "max_new_tokens"]).unwrap_or(0),
        })
    }

    /// Tokens a second of a phase, in which each sample has so many: releases count prefills in samples or in tokens.
    fn rate(&self, report: &Value, phase: &str, tokens: usize) -> Option<Estimate<TokensPerSecond>> {
        let throughput = at(report, &[phase, "throughput"])?;
        let value = throughput.get("value").and_then(Value::as_f64)?;
        let factor = match throughput.get("unit").and_then(Value::as_str)? {
            "tokens/s" | "token/s" => 1.0,
            "samples/s" | "sample/s" => tokens as f64,
            _ => return None,
        };
        estimate(Some(value * factor), TokensPerSecond)
    }
}

/// Joules of a phase.
fn joules(report: &Value, phase: &str) -> Result<Option<f64>, String> {
    let Some(total) = at(report, &[phase, "energy", "total"]).and_then(Value::as_f64) else { return Ok(None) };
    match at(report, &[phase, "energy", "unit"]).and_then(Value::as_str) {
        Some("kWh") => Ok(Some(total * 3.6e6)),
        Some("J") => Ok(Some(total)),
        other => Err(format!("whose `{phase}.energy.unit` is `{}`; it must be kWh", other.unwrap_or("missing"))),
    }
}

/// The times and rates of the phases.
fn metrics(report: &Value, shapes: &Shapes) -> Result<Metrics, String> {
    let prefill = at(report, &["prefill"]).ok_or("without `prefill`")?;
    // `per_token` is one decode step; `decode` is all of them.
    let further = shapes.generated.saturating_sub(1);
    let steps = further.max(1) as f64;
    let each =
        |all: Distribution<Seconds>| Distribution { median: Seconds(all.median.0 / steps), ..Distribution::default() };
    let of = |phase: &str| at(report, &[phase]).map(times).transpose().map(Option::flatten);
    let tpot = of("per_token")?.or(of("decode")?.map(each));
    let energy = joules(report, "prefill")?.zip(joules(report, "decode")?).map(|(a, b)| Joules(a + b));
    let memory = ["max_global_vram", "max_process_vram", "max_ram"]
        .into_iter()
        .find_map(|key| at(report, &["decode", "memory", key]).or(at(prefill, &["memory", key])))
        .and_then(Value::as_f64);
    Ok(Metrics {
        ttft: times(prefill)?,
        tpot,
        prefill_tokens_per_s: shapes.rate(report, "prefill", shapes.prompt),
        decode_tokens_per_s: shapes.rate(report, "decode", further),
        energy: energy.map(|value| Estimate { value, lo: None, hi: None }),
        peak_device: memory.map(|mb| Bytes(mb * 1e6)),
        ..Metrics::default()
    })
}

/// The level of the weights: by what quantizes them while loading, by the name of the model (whose files were quantized
/// before), else by the type of the numbers.
fn quant(backend: &Value, model: &str) -> Option<Quant> {
    let word = |key: &str| at(backend, &[key]).and_then(Value::as_str).filter(|word| !word.is_empty());
    let config = at(backend, &["quantization_config"]).unwrap_or(&Value::Null);
    let flag =
        |key: &str| [backend, config].iter().any(|place| at(place, &[key]).and_then(Value::as_bool) == Some(true));
    let kind = config.get("bnb_4bit_quant_type").and_then(Value::as_str).unwrap_or("nf4");
    if flag("load_in_4bit") {
        return Quant::of_file(&format!("bnb-{kind}"), None);
    }
    if flag("load_in_8bit") {
        return Quant::of_file("bnb-int8", None);
    }
    let method =
        word("quantization_scheme").or(word("quantization")).or(config.get("quant_method").and_then(Value::as_str));
    if let Some(method) = method.map(str::to_lowercase).filter(|method| method != "none") {
        let bits = config.get("bits").or(config.get("w_bit")).or(config.get("nbits")).and_then(Value::as_u64);
        return match (method.as_str(), bits) {
            // transformers refuses bitsandbytes without one of its two flags: which it was is not said.
            ("bnb" | "bitsandbytes", None) => level::within(model),
            ("bnb" | "bitsandbytes", Some(8)) => Quant::of_file("bnb-int8", None),
            ("bnb" | "bitsandbytes", Some(_)) => Quant::of_file(&format!("bnb-{kind}"), None),
            ("gptq" | "awq", None | Some(4)) => Quant::of_file(&method, None),
            (_, Some(bits)) => Quant::of_file(&format!("{method}-int{bits}"), None),
            (_, None) => Quant::of_file(config.get("quant_type").and_then(Value::as_str).unwrap_or(&method), None),
        };
    }
    let named = level::within(model).or_else(|| level::within(word("filename").or(word("model_filename"))?));
    named.or_else(|| level::within(word("torch_dtype").or(word("dtype")).or(word("precision"))?))
}

/// What tells the system from another one.
fn settings(backend: &Value, cards: usize) -> Settings {
    let mut settings = Settings::default();
    let word = |key: &str| at(backend, &[key]).and_then(Value::as_str).map(str::to_string);
    settings.put(settings::ATTENTION, word("attn_implementation"));
    let compiles = at(backend, &["torch_compile"]).and_then(Value::as_bool) == Some(true);
    settings.put(settings::COMPILER, compiles.then(|| word("torch_compile_target").unwrap_or("torch".to_string())));
    settings.put(settings::CACHE, word("cache_implementation"));
    settings.put(settings::SPLIT_MODE, word("device_map").filter(|_| cards > 1));
    settings.flag(settings::KERNELS, at(backend, &["autocast_enabled"]).and_then(Value::as_bool) == Some(true));
    settings
}

/// Places among the host's cards of those that were given to the run; `None` where all were.
fn card_places(backend: &Value) -> Option<Vec<usize>> {
    match at(backend, &["device_ids"])? {
        Value::String(text) => Some(text.split(',').filter_map(|id| id.trim().parse().ok()).collect()),
        Value::Array(ids) => Some(ids.iter().filter_map(Value::as_u64).map(|id| id as usize).collect()),
        Value::Number(id) => id.as_u64().map(|id| vec![id as usize]),
        _ => None,
    }
    .filter(|ids: &Vec<usize>| !ids.is_empty())
}

/// The name of the card and how many of them were used: those that the run was given, or one for each process, or all that
/// it sees where the model is spread over them; else a model is on one.
fn cards(config: &Value) -> (Option<String>, usize) {
    let backend = at(config, &["backend"]).unwrap_or(&Value::Null);
    let all: Vec<String> = match at(config, &["environment", "gpu"]) {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_string).collect(),
        Some(Value::String(name)) => vec![name.clone()],
        _ => Vec::new(),
    };
    let places = card_places(backend);
    let count = |path: &[&str]| at(config, path).and_then(Value::as_u64).map(|n| n as usize).filter(|n| *n > 0);
    let processes = count(&["launcher", "nproc_per_node"]).or(count(&["launcher", "num_processes"]));
    let tensor_parallel = [["backend", "tensor_parallel_size"], ["backend", "tp_size"], ["backend", "world_size"]]
        .iter()
        .find_map(|path| count(path))
        .or(count(&["backend", "engine_args", "tensor_parallel_size"]))
        .or(count(&["backend", "llm_args", "tensor_parallel_size"]));
    let spread = at(backend, &["device_map"]).is_some();
    let seen = places.as_ref().map(Vec::len);
    let used = tensor_parallel.or(processes).or(seen).unwrap_or(if spread { all.len() } else { 1 }).max(1);
    let first = places.and_then(|places| places.first().copied()).unwrap_or(0);
    (all.get(first).or(all.first()).cloned().filter(|name| !name.is_empty()), used)
}

fn observed(record: &Value) -> Result<Observed, String> {
    let report = record.get("report").unwrap_or(record);
    let config = record.get("config").unwrap_or(&Value::Null);
    let backend = at(config, &["backend"]).unwrap_or(&Value::Null);
    let words = |path: &[&str]| at(config, path).and_then(Value::as_str).map(str::to_string);
    let shapes = Shapes::of(config)?;
    let metrics = metrics(report, &shapes)?;
    let model = words(&["backend", "model"]).ok_or("without `config.backend.model`")?;
    let (card, used) = cards(config);
    let torch = words(&["backend", "device"]).unwrap_or("cuda".to_string());
    let device =
        device::of_torch(&torch, card.as_deref()).ok_or(format!("on a device `{torch}` that is not known here"))?;
    let on_cpu = device == "cpu";
    let samples = at(report, &["prefill", "latency", "count"]).and_then(Value::as_u64).unwrap_or(0) as usize;
    Ok(Observed {
        engine: words(&["backend", "name"]).unwrap_or("unknown".to_string()),
        engine_version: words(&["backend", "version"]).unwrap_or_default(),
        device,
        hardware: card.filter(|_| !on_cpu),
        settings: settings(backend, used).into_map(),
        host: HostRecord {
            cpu: words(&["environment", "cpu"]),
            accelerators: if on_cpu { 0 } else { used },
            ..HostRecord::default()
        },
        quant: quant(backend, &model),
        model,
        batch: shapes.batch,
        prompt_tokens: shapes.prompt,
        gen_tokens: shapes.generated,
        arrival: "closed_batch".to_string(),
        definitions: "optimum-benchmark: prefill without sampling, decode steps",
        samples,
        metrics,
        ..Observed::default()
    })
}
