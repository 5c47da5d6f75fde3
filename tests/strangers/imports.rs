//! Result files of tools that the project imports.

mod levels;

use sizewell::catalog::Catalog;
use sizewell::evidence::{self, Evidence, Overrides};
use sizewell::record::{Basis, CaseRow, InvalidReason, Run};
use sizewell::sizing::points::RequestedLengths;
use sizewell::sizing::{RankRequest, Ranking, rank_runs};
use sizewell::workload::{Preset, Quant};
use std::path::{Path, PathBuf};
use std::process::Command;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/imports").join(name)
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(case(name)).unwrap()
}

/// Reads one of the files as it stands.
fn file(name: &str, overrides: &Overrides) -> Evidence {
    evidence::read_files(&[case(name)], None, overrides).unwrap()
}

/// Reads a text as if it stood in a file.
fn text(text: &str, overrides: &Overrides) -> Result<Evidence, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    std::fs::write(&path, text).unwrap();
    evidence::read_files(&[path], None, overrides).map_err(|why| why.to_string())
}

fn plain() -> Overrides {
    Overrides::default()
}

fn at(quant: Quant) -> Overrides {
    Overrides { quant: Some(quant), ..Overrides::default() }
}

fn level(name: &str) -> Quant {
    name.parse().unwrap()
}

/// The only system of a reading.
fn one(reading: &Evidence) -> &Run {
    let [run] = reading.runs.as_slice() else { panic!("{} systems", reading.runs.len()) };
    run
}

/// Its only row.
fn row(reading: &Evidence) -> &CaseRow {
    let [row] = one(reading).cases.as_slice() else { panic!("not one row") };
    row
}

/// Device, hardware and number of cards of every system.
fn placed(reading: &Evidence) -> Vec<(String, Option<String>, usize)> {
    let of =
        |run: &Run| (run.record.engine.device.clone(), run.record.engine.hardware.clone(), run.record.accelerators);
    reading.runs.iter().map(of).collect()
}

fn on(device: &str, card: &str, count: usize) -> Vec<(String, Option<String>, usize)> {
    vec![(device.to_string(), Some(card.to_string()).filter(|card| !card.is_empty()), count)]
}

fn setting<'a>(run: &'a Run, name: &str) -> Option<&'a str> {
    run.record.engine.settings.get(name).map(String::as_str)
}

/// Replaces the value of a key, wherever it stands; `null` removes what it was.
fn with(json: &str, changes: &[(&str, &str)]) -> String {
    fn change(value: &mut serde_json::Value, key: &str, new: &serde_json::Value) {
        match value {
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| change(item, key, new)),
            serde_json::Value::Object(object) => {
                let record = ["model_filename", "model_id", "hw"].iter().any(|k| object.contains_key(*k));
                if record || object.contains_key(key) {
                    object.insert(key.to_string(), new.clone());
                }
                object
                    .values_mut()
                    .filter(|value| value.is_object() || value.is_array())
                    .for_each(|v| change(v, key, new));
            }
            _ => {}
        }
    }
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    for (key, new) in changes {
        change(&mut value, key, &serde_json::from_str(new).unwrap());
    }
    value.to_string()
}

#[test]
fn the_batch_of_an_open_rate_is_what_was_in_flight_in_the_mean() {
    let reading = file("vllm-open-rate-without-e2el.json", &at(Quant::Bf16));
    // 9.9337 requests a second x (1.4864 s + 0.10654 s x 119.69 further tokens).
    assert_eq!((row(&reading).key.case.batch, one(&reading).record.arrival.as_str()), (141, "open_poisson"));
    let capped = text_of("vllm-open-rate-with-cap.json");
    // 2 requests a second x 1.57 s, by the mean and not by the median (1.37 s, 2.7) or the cap (256).
    assert_eq!(row(&file("vllm-open-rate-with-cap.json", &at(Quant::Bf16))).key.case.batch, 3);
    let batch =
        |changes: &[(&str, &str)]| row(&text(&with(&capped, changes), &at(Quant::Bf16)).unwrap()).key.case.batch;
    // Overloaded: never more than were sent, or than the cap lets through.
    assert_eq!(batch(&[("mean_e2el_ms", "400000"), ("max_concurrency", "null")]), 100);
    assert_eq!(batch(&[("mean_e2el_ms", "400000"), ("max_concurrency", "64")]), 64);
    // All at once without a limit: the same law.
    assert_eq!(batch(&[("request_rate", "\"inf\""), ("max_concurrency", "null")]), 3);
    assert_eq!(batch(&[("request_rate", "\"inf\""), ("max_concurrency", "16")]), 16);
    assert_eq!(
        batch(&[("request_rate", "\"inf\""), ("max_concurrency", "500")]),
        100,
        "100 requests are no 500 in flight"
    );
    // Without a mean of whole requests: TTFT and TPOT, 2 x (0.3 + 0.01 x 127).
    assert_eq!(batch(&[("mean_e2el_ms", "null")]), 3);
    assert_eq!(batch(&[("mean_e2el_ms", "null"), ("mean_ttft_ms", "3000.0")]), 9);
}

#[test]
fn aiperf_s_schema_of_phases_is_read_and_its_rates_are_open() {
    let overrides = Overrides { prompt_tokens: Some(512), ..at(Quant::Bf16) };
    let reading = file("aiperf-schema-1.3.json", &overrides);
    let read = row(&reading);
    assert_eq!((one(&reading).record.arrival.as_str(), read.key.model.as_str()), ("closed_128", "Qwen/Qwen3-4B"));
    assert!((read.metrics.ttft.unwrap().median.0 - 0.0857).abs() < 1e-12);
    assert!((read.metrics.tpot.unwrap().median.0 - 0.02579).abs() < 1e-12);
    assert_eq!((read.key.case.batch, read.key.case.prompt_tokens(), read.key.case.gen_tokens()), (128, 512, 267));
    // The file has no lengths of prompts: that is said where nobody gives them.
    let unsaid = file("aiperf-schema-1.3.json", &at(Quant::Bf16));
    assert!(row(&unsaid).notes[0].contains("how long the prompts were"), "{:?}", row(&unsaid).notes);
    let base = text_of("aiperf-schema-1.3.json");
    let phase = |phase: &str| text(&with(&base, &[("phases", phase)]), &overrides).unwrap();
    // 18 requests a second x 6.965 s in the mean: the cap does not hold back as many.
    let open = phase(
        r#"[{"name":"warmup","type":"concurrency","concurrency":4},{"name":"profiling","type":"poisson","rate":18,"concurrency":500}]"#,
    );
    assert_eq!((one(&open).record.arrival.as_str(), row(&open).key.case.batch), ("open_poisson", 125));
    let failed = with(
        &base,
        &[("input_config", &serde_json::from_str::<serde_json::Value>(&base).unwrap()["input_config"].to_string())],
    );
    let failed = failed.replacen('{', r#"{"error_request_count":{"unit":"requests","avg":571.0},"error_summary":[{"error_details":{"code":503},"count":571}],"#, 1);
    let failed = text(&failed, &overrides).unwrap();
    assert_eq!(row(&failed).invalid, [InvalidReason::FailedRequests]);
    assert!(row(&failed).notes.contains(&"571 of 6000 requests failed".to_string()), "{:?}", row(&failed).notes);
}

#[test]
fn guidellm_of_all_releases_names_its_model_and_strategy() {
    let reading = file("guidellm-0.3.1.json", &at(Quant::Bf16));
    assert_eq!(row(&reading).key.model, "meta-llama/Llama-3.1-8B-Instruct");
    assert_eq!((one(&reading).record.arrival.as_str(), row(&reading).key.case.batch), ("open_constant", 16));
    let sweep = file("guidellm-default-sweep.json", &at(Quant::Bf16));
    let batches: Vec<usize> = one(&sweep).cases.iter().map(|row| row.key.case.batch).collect();
    assert_eq!(batches, [1, 200, 3, 8, 20], "as counted over time");
    let totals = |totals: &str| {
        let base = text_of("guidellm-0.3.1.json");
        let stats = format!(r#"{{"requests_made":{totals}}}"#);
        text(&with(&base, &[("run_stats", &stats)]), &at(Quant::Bf16)).unwrap()
    };
    let errors = totals(r#"{"successful":100,"errored":300,"incomplete":16,"total":416}"#);
    assert_eq!(row(&errors).invalid, [InvalidReason::FailedRequests]);
    assert!(row(&errors).notes.contains(&"300 of 400 requests failed".to_string()), "{:?}", row(&errors).notes);
    // Those that the end of the time cut off are as many as were in flight: no failure.
    let cut = totals(r#"{"successful":100,"errored":0,"incomplete":16,"total":116}"#);
    assert!(row(&cut).invalid.is_empty());
    assert_eq!(row(&cut).notes, ["16 requests were cut off by the end of the time"]);
    let most = totals(r#"{"successful":100,"errored":0,"incomplete":400,"total":500}"#);
    assert_eq!(row(&most).invalid, [InvalidReason::FailedRequests], "the quick ones alone were counted");
}

#[test]
fn llama_bench_s_devices_are_those_that_computed() {
    assert_eq!(placed(&file("llama-bench-2023.json", &plain())), on("cuda", "NVIDIA GeForce RTX 3090 Ti", 1));
    assert_eq!(placed(&file("llama-bench-metal-mtl.json", &plain())), on("metal", "Apple M4 Max", 1));
    assert_eq!(placed(&file("llama-bench-cuda-without-card.json", &plain())), on("cpu", "", 0));
    assert_eq!(placed(&file("llama-bench-dev-none.json", &plain())), on("cpu", "", 0));
    assert_eq!(placed(&file("llama-bench-split-none.json", &plain())), on("cuda", "NVIDIA L4", 1));
    let vulkan = "AMD Radeon RX 7900 XTX (RADV NAVI31)";
    assert_eq!(placed(&file("lb-vulkan.json", &plain())), on("vulkan", vulkan, 1));
    let base = text_of("llama-bench-split-none.json");
    let of = |changes: &[(&str, &str)]| placed(&text(&with(&base, changes), &plain()).unwrap());
    let (layer, two) = (("split_mode", "\"layer\""), ("gpu_info", "\"NVIDIA L4, NVIDIA L40S\""));
    assert_eq!(of(&[layer]), on("cuda", "NVIDIA L4", 4));
    assert_eq!(of(&[layer, two]), on("cuda", "1x NVIDIA L4 + 1x NVIDIA L40S", 2), "two kinds are not two of the first");
    assert_eq!(of(&[two, ("main_gpu", "1")]), on("cuda", "NVIDIA L40S", 1));
    assert_eq!(of(&[layer, ("tensor_split", "\"0.50/0.50/0.00/0.00\"")]), on("cuda", "NVIDIA L4", 2));
    assert_eq!(of(&[layer, ("devices", "\"CUDA0/CUDA1\"")]), on("cuda", "NVIDIA L4", 2));
    assert_eq!(of(&[layer, ("n_cpu_moe", "12")]), on("mixed", "NVIDIA L4", 4));
    assert_eq!(of(&[layer, ("n_gpu_layers", "20")]), on("mixed", "NVIDIA L4", 4));
    assert_eq!(of(&[layer, ("no_kv_offload", "true")]), on("mixed", "NVIDIA L4", 4));
    for (backends, card, device) in [
        ("ROCm", "AMD Instinct MI300X", "rocm"),
        ("HIP", "AMD Radeon RX 7900 XTX", "rocm"),
        ("SYCL", "Intel(R) Arc(TM) A770 Graphics", "sycl"),
        ("MUSA", "MTT S4000", "musa"),
        ("CANN", "Ascend910B3", "cann"),
        ("OpenCL", "QUALCOMM Adreno(TM)", "opencl"),
        ("CUDA,RPC", "NVIDIA L4", "cuda"),
    ] {
        let changes = [("backends", format!("\"{backends}\"")), ("gpu_info", format!("\"{card}\""))];
        let changes = changes.each_ref().map(|(key, value)| (*key, value.as_str()));
        assert_eq!(of(&changes), on(device, card, 1), "{backends}");
    }
    let remote = [("backends", "\"RPC\""), ("gpu_info", "\"10.0.0.2:50052\"")];
    assert!(text(&with(&base, &remote), &plain()).unwrap_err().contains("other machines (RPC)"));
}

#[test]
fn copies_of_a_model_stand_on_the_cards_that_it_needs() {
    let ranked = |name: &str| -> Ranking {
        let instance = Some(("aws".to_string(), "g6.12xlarge".to_string()));
        let reading = file(name, &Overrides { instance, ..plain() });
        let mut request = RankRequest::on(jiff::civil::date(2026, 11, 27));
        request.wanted =
            RequestedLengths { prompt_tokens: Some(512), gen_tokens: Some(128), ..RequestedLengths::default() };
        request.only = Some(Basis::Imported);
        rank_runs(&reading.runs.iter().collect::<Vec<_>>(), &Catalog::embedded().unwrap(), &request).unwrap()
    };
    // 4.60 USD an hour: one copy on the CPU at 0.212 requests a second, four on the cards at 0.396 each.
    let cpu = ranked("llama-bench-cuda-without-card.json");
    assert_eq!((cpu.rows.len(), cpu.rows[0].hardware.as_ref()), (1, "AMD EPYC"));
    assert!((cpu.rows[0].requests_per_s.value - 0.212).abs() < 5e-4, "{:?}", cpu.rows[0].requests_per_s);
    let cards = ranked("llama-bench-split-none.json");
    assert_eq!(cards.rows[0].hardware.as_ref(), "4x NVIDIA L4");
    assert!((cards.rows[0].requests_per_s.value - 1.58).abs() < 1e-2, "{:?}", cards.rows[0].requests_per_s);
}

#[test]
fn systems_differ_by_what_tells_them_apart() {
    let backends = file("llama-bench-two-backends.json", &plain());
    let told: Vec<_> =
        backends.runs.iter().map(|run| (run.record.engine.device.as_str(), setting(run, "backend"))).collect();
    assert_eq!(told, [("cuda", Some("CUDA")), ("vulkan", Some("Vulkan"))]);
    let tpot = |run: &Run| run.cases.iter().find_map(|row| row.metrics.tpot).unwrap().median.0;
    assert_eq!([tpot(&backends.runs[0]), tpot(&backends.runs[1])], [1.0 / 60.0, 1.0 / 30.0]);
    let caches = file("llama-bench-two-cache-types.json", &plain());
    let told: Vec<_> = caches.runs.iter().map(|run| (setting(run, "cache_k"), setting(run, "cache_v"))).collect();
    assert_eq!(told, [(None, None), (Some("q8_0"), Some("q8_0"))]);
    let base = text_of("llama-bench-split-none.json");
    let settings =
        |changes: &[(&str, &str)]| one(&text(&with(&base, changes), &plain()).unwrap()).record.engine.settings.clone();
    assert_eq!(settings(&[("n_ubatch", "2048")])["prompt_chunk"], "2048");
    assert_eq!(settings(&[("n_cpu_moe", "12")])["cpu_moe"], "12");
    assert_eq!(settings(&[("no_kv_offload", "true")])["cache_on_host"], "yes");
    assert_eq!(settings(&[("split_mode", "\"row\"")])["split_mode"], "row");
    assert_eq!(settings(&[]).len(), 1, "what is usual is not said: {:?}", settings(&[]));
}

#[test]
fn ways_to_spread_a_model_tell_inferencex_s_rows_apart() {
    let rows: serde_json::Value = serde_json::from_str(&text_of("inferencex-precisions.json")).unwrap();
    let base = rows[1].to_string();
    let of = |changes: &[(&str, &str)]| {
        let reading = text(&format!("[{base},{}]", with(&base, changes)), &plain()).unwrap();
        (reading.runs.len(), reading.runs.last().unwrap().record.clone())
    };
    for (key, value, name, told) in [
        ("spec_decoding", "\"mtp\"", "speculation", "mtp"),
        ("dp_attention", "\"true\"", "dp_attention", "yes"),
        ("dcp_size", "4", "decode_context_parallel", "4"),
        ("pcp_size", "2", "prefill_context_parallel", "2"),
        ("ep", "8", "expert_parallel", "8"),
        ("is_multinode", "true", "multinode", "yes"),
    ] {
        let (systems, record) = of(&[(key, value)]);
        assert_eq!((systems, record.engine.settings.get(name).map(String::as_str)), (2, Some(told)), "{key}");
    }
    assert_eq!(of(&[]).0, 1, "a repeat is the same system");
    assert_eq!(of(&[("tp", "4"), ("pp", "2")]).1.accelerators, 8);
    let (systems, other) = of(&[("image", "\"lmsysorg/sglang:v0.6\"")]);
    assert_eq!((systems, other.engine.version.as_str()), (2, "lmsysorg/sglang:v0.6"));
    let amd = text(&with(&base, &[("hw", "\"mi355x-amd\"")]), &plain()).unwrap();
    assert_eq!(placed(&amd), on("rocm", "mi355x", 1));
    assert!(text(&with(&base, &[("disagg", "true")]), &plain()).unwrap_err().contains("different cards"));
}

#[test]
fn the_user_s_word_against_the_file_s_is_said() {
    let named = file("vllm-fp8-model.json", &plain());
    assert_eq!(row(&named).key.case.quant, level("fp8"));
    assert!(one(&named).record.model.is_some(), "the level in its name hides no shape");
    assert!(evidence::contradictions(&named.runs).is_empty());
    let said = |name: &str, overrides: Overrides| {
        let reading = file(name, &overrides);
        let said = evidence::contradictions(&reading.runs);
        assert!(said.iter().all(|note| reading.runs[0].cases[0].notes.contains(note)), "it is in the record too");
        said
    };
    assert_eq!(said("vllm-fp8-model.json", at(Quant::Bf16)), ["--quant bf16 outweighs fp8, which the file names"]);
    let hardware = |name: &str| Overrides { hardware: Some(name.to_string()), ..plain() };
    assert_eq!(
        said("llama-bench-split-none.json", hardware("NVIDIA H100 80GB HBM3")),
        ["--hardware NVIDIA H100 80GB HBM3 outweighs NVIDIA L4, which the file names"]
    );
    assert!(said("llama-bench-split-none.json", hardware("L4")).is_empty(), "another name of the same card");
    assert_eq!(
        said("llama-bench-dev-none.json", hardware("NVIDIA L4")),
        ["--hardware NVIDIA L4 outweighs cpu, which the file names"]
    );
    let model = |name: &str| Overrides { model: Some(name.to_string()), ..plain() };
    assert_eq!(
        said("llama-bench-split-none.json", model("phi-4")),
        ["--model phi-4 (14.66 billion parameters) outweighs the 6.74 billion that the file counts"]
    );
    assert_eq!(
        said("vllm-fp8-model.json", model("phi-4")),
        ["--model phi-4 outweighs example/Llama-3.1-8B-Instruct-FP8, which the file names"]
    );
    let folder = tempfile::tempdir().unwrap();
    let import = Command::new(env!("CARGO_BIN_EXE_sizewell"))
        .args(["import", "auto"])
        .arg(case("vllm-fp8-model.json"))
        .args(["--quant", "bf16", "-o"])
        .arg(folder.path().join("run"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(import.stderr).unwrap();
    assert!(import.status.success() && stderr.contains("--quant bf16 outweighs fp8, which the file names"), "{stderr}");
}

#[test]
fn cards_of_other_makers_are_not_cuda_s() {
    let device = |hardware: &str| {
        let overrides = Overrides { hardware: Some(hardware.to_string()), ..at(Quant::Bf16) };
        one(&file("vllm-good.json", &overrides)).record.engine.device.clone()
    };
    let told = ["NVIDIA H100 80GB HBM3", "AMD Instinct MI300X", "Apple M4 Max", "Gaudi3", "TPU v5e", "cpu"].map(device);
    assert_eq!(told, ["cuda", "rocm", "metal", "hpu", "tpu", "cpu"]);
    // What was measured elsewhere says nothing of CUDA's kernels.
    let reading = file("lb-vulkan.json", &plain());
    let (observations, why) = sizewell::sizing::projection::observation::observations(
        &reading.runs.iter().collect::<Vec<_>>(),
        &Catalog::embedded().unwrap(),
    );
    assert!(observations.is_empty() && why[0].reason.contains("vulkan"), "{why:?}");
}

#[test]
fn failed_requests_are_counted_and_one_bad_record_stops_nothing() {
    let failed = file("vllm-mostly-failed.json", &at(Quant::Int4));
    assert_eq!(row(&failed).invalid, [InvalidReason::FailedRequests]);
    assert!(row(&failed).notes.contains(&"98 of 100 requests failed".to_string()), "{:?}", row(&failed).notes);
    // Early releases do not count failures: those that are missing failed.
    let base = text_of("vllm-good.json");
    let missing = text(&with(&base, &[("failed", "null"), ("num_prompts", "1000")]), &at(Quant::Bf16)).unwrap();
    assert!(row(&missing).notes.contains(&"900 of 1000 requests failed".to_string()), "{:?}", row(&missing).notes);
    let (good, bad) = (text_of("vllm-good.json"), text_of("vllm-all-failed.json"));
    let no_lengths = with(&good, &[("total_input_tokens", "null")]);
    let broken = with(&good, &[("completed", "\"many\"")]);
    let not_streamed = text_of("vllm-ttft0.json");
    let mixed = text(&format!("[{good},{bad},{no_lengths},{broken},{not_streamed},{bad}]"), &at(Quant::Bf16)).unwrap();
    assert_eq!(one(&mixed).cases.len(), 1);
    let reasons: Vec<(usize, &str)> = mixed.skipped.iter().map(|skip| (skip.records, skip.reason.as_str())).collect();
    assert!(reasons.contains(&(2, "in which no request was completed")), "{reasons:?}");
    assert!(reasons.contains(&(1, "whose lengths are not given")), "{reasons:?}");
    assert!(reasons.contains(&(1, "in which nothing was generated")), "{reasons:?}");
    assert!(
        reasons.iter().any(|(records, why)| *records == 1 && why.contains("invalid type: string \"many\"")),
        "{reasons:?}"
    );
    let files = [case("vllm-good.json"), case("vllm-all-failed.json")];
    let both = evidence::read_files(&files, None, &at(Quant::Bf16)).unwrap();
    assert_eq!((both.runs.len(), both.left_out.len()), (1, 1));
}

#[test]
fn percentiles_below_the_median_are_left_out_and_the_record_stays() {
    let odd = with(&text_of("vllm-good.json"), &[("p99_tpot_ms", "8.0"), ("p99_e2el_ms", "3000.0")]);
    let reading = text(&odd, &at(Quant::Bf16)).unwrap();
    let metrics = &row(&reading).metrics;
    assert_eq!((metrics.tpot.unwrap().median.0, metrics.tpot.unwrap().p99), (0.01, None));
    assert_eq!(metrics.e2e.unwrap().p99.unwrap().0, 3.0);
    assert_eq!(row(&reading).notes, ["TPOT: its p99 lies below what it should lie above, and is left out"]);
}

#[test]
fn one_token_is_a_prefill_and_chunks_are_said() {
    let short = file("vllm-short.json", &at(Quant::Bf16));
    let row_ = row(&short);
    assert_eq!((row_.key.case.gen_tokens(), row_.metrics.tpot, row_.metrics.itl), (1, None, None));
    assert_eq!(row_.metrics.ttft.unwrap().median.0, 0.05);
    let guessing = file("vllm-spec.json", &at(Quant::Bf16));
    assert_eq!(row(&guessing).notes, ["about 3.0 tokens came at once: the gaps are between chunks"]);
    let counted =
        with(&text_of("vllm-good.json"), &[("spec_decode_acceptance_rate", "71.5"), ("tensor_parallel_size", "\"4\"")]);
    let reading = text(&counted, &at(Quant::Bf16)).unwrap();
    assert_eq!((setting(one(&reading), "speculation"), one(&reading).record.accelerators), (Some("yes"), 4));
}

#[test]
fn optimum_benchmark_s_units_levels_and_cards_are_those_of_the_run() {
    let base = text_of("optimum-prefill-samples.json");
    let reading = file("optimum-prefill-samples.json", &plain());
    // 186.05 prompts a second of 64 tokens.
    let rate = row(&reading).metrics.prefill_tokens_per_s.unwrap().value.0;
    assert!((rate - 11_906.976_744_186).abs() < 1e-6, "{rate}");
    assert_eq!(row(&reading).metrics.decode_tokens_per_s.unwrap().value.0, 400.0);
    assert_eq!(row(&reading).key.case.quant, Quant::Bf16);
    let backend = |more: &str, gpus: &str| {
        let changed = base.replace("\"device_ids\": \"0\",", &format!("{more},")).replace("\"NVIDIA A10G\"", gpus);
        let reading = text(&changed, &plain()).unwrap();
        let quant = row(&reading).key.case.quant.name();
        (quant, placed(&reading).remove(0))
    };
    let a10 = "\"NVIDIA A10G\"";
    let quant = |more: &str| backend(more, a10).0;
    let scheme = |scheme: &str, config: &str| {
        quant(&format!(r#""quantization_scheme": "{scheme}", "quantization_config": {config}"#))
    };
    assert_eq!(scheme("bnb", r#"{"load_in_4bit": true}"#), "bnb-nf4");
    assert_eq!(scheme("bnb", r#"{"load_in_4bit": true, "bnb_4bit_quant_type": "fp4"}"#), "bnb-fp4");
    assert_eq!(scheme("bnb", r#"{"load_in_8bit": true}"#), "bnb-int8");
    assert_eq!(scheme("gptq", r#"{"bits": 4}"#), "gptq");
    assert_eq!(scheme("gptq", r#"{"bits": 8}"#), "w8a16");
    assert_eq!(scheme("awq", r#"{"bits": 4, "version": "gemm"}"#), "awq");
    assert_eq!(quant(r#""load_in_4bit": true"#), "bnb-nf4", "as early releases have it");
    assert_eq!(quant(r#""quantization_scheme": null"#), "bf16");
    let four = [a10; 4].join(",");
    let cards = |more: &str| backend(more, &four).1.2;
    assert_eq!(cards(r#""device_ids": "0""#), 1);
    assert_eq!(cards(r#""device_ids": "0,1""#), 2);
    assert_eq!(cards(r#""device_ids": [0, 1, 2]"#), 3);
    assert_eq!(cards(r#""device_ids": null"#), 1, "a model is on one card unless it is spread");
    assert_eq!(cards(r#""device_ids": null, "device_map": "auto""#), 4);
    let launched = base.replace("\"NVIDIA A10G\"", &four).replace("\"device_ids\": \"0\",", "").replacen(
        "\"name\": \"x\",",
        r#""name": "x", "launcher": {"name": "torchrun", "nproc_per_node": 2},"#,
        1,
    );
    assert_eq!(placed(&text(&launched, &plain()).unwrap())[0].2, 2);
    let device = |torch: &str, card: &str| {
        let changed =
            base.replace("\"device\": \"cuda\"", &format!("\"device\": \"{torch}\"")).replace("NVIDIA A10G", card);
        placed(&text(&changed, &plain()).unwrap()).remove(0).0
    };
    assert_eq!(device("cuda", "AMD Instinct MI300X"), "rocm");
    assert_eq!(
        [device("mps", "x"), device("xpu", "x"), device("hpu", "x"), device("npu", "x")],
        ["metal", "xpu", "hpu", "cann"]
    );
}

#[test]
fn mlperf_ranks_where_the_user_says_how_long_the_prompts_were() {
    let server = "MLPerf Results Summary\nSUT name : SUT\nScenario : Server\nMode     : PerformanceOnly\n\
        Completed samples per second    : 95.50\nCompleted tokens per second: 12224.00\nResult is : VALID\n\
        50.00 percentile latency (ns)   : 2500000000\nMean latency (ns) : 2600000000\n\
        50.00 percentile first token latency (ns) : 120000000\n50.00 percentile time to output token (ns) : 18000000\n";
    let model = Preset::named("llama-3.1-8b").unwrap().shape;
    let overrides = |prompt: Option<usize>| Overrides {
        shape: Some(model.clone()),
        hardware: Some("NVIDIA H200".into()),
        accelerators: Some(8),
        prompt_tokens: prompt,
        ..at(level("fp8"))
    };
    let ranked = |server: &str, prompt: Option<usize>| {
        let reading = text(server, &overrides(prompt)).unwrap();
        let mut request = RankRequest::on(jiff::civil::date(2026, 11, 27));
        request.only = Some(Basis::Imported);
        rank_runs(&[one(&reading)], &Catalog::embedded().unwrap(), &request)
    };
    let reading = text(server, &overrides(Some(294))).unwrap();
    let case = row(&reading).key.case;
    // 95.5 samples a second x 2.6 s; 12,224 tokens a second are 128 a sample.
    assert_eq!((case.batch, case.prompt_tokens(), case.gen_tokens()), (248, 294, 128));
    let ranking = ranked(server, Some(294)).unwrap();
    assert!((ranking.rows[0].requests_per_s.value - 95.5).abs() < 1e-9, "{:?}", ranking.rows[0].requests_per_s);
    assert!(ranked(server, None).unwrap_err().contains("sizewell import --prompt N"));
    let offline = server.replace("Server", "Offline").replace("first token", "x").replace("time to output token", "y");
    assert!(ranked(&offline, Some(294)).unwrap_err().contains("timed neither first tokens nor further ones"));
}
