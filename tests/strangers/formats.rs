//! Result files of further tools: read, or recognised by name with what to do. And files that are broken, huge, or not what
//! their names say.

use serde_json::{Value, json};
use sizewell::evidence::{self, Evidence, Overrides};
use sizewell::record::CaseRow;
use sizewell::workload::Quant;
use std::path::{Path, PathBuf};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/formats").join(name)
}

fn asked() -> Overrides {
    let text = |text: &str| Some(text.to_string());
    Overrides {
        quant: Some(Quant::Bf16),
        model: text("llama-3.1-8b"),
        hardware: text("NVIDIA L4"),
        ..Overrides::default()
    }
}

fn read_bytes(name: &str, bytes: &[u8], overrides: &Overrides) -> Result<Evidence, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    evidence::read_files(&[path], None, overrides).map_err(|e| e.to_string())
}

fn read(name: &str, text: &str) -> Result<Evidence, String> {
    read_bytes(name, text.as_bytes(), &asked())
}

fn rows(reading: &Evidence) -> Vec<&CaseRow> {
    reading.runs.iter().flat_map(|run| &run.cases).collect()
}

/// Batch, prompt and generated tokens.
fn shape(row: &CaseRow) -> (usize, usize, usize) {
    (row.key.case.batch, row.key.case.prompt_tokens(), row.key.case.gen_tokens())
}

/// TTFT, TPOT and E2E in milliseconds, to a microsecond.
fn times(row: &CaseRow) -> [Option<f64>; 3] {
    let metrics = &row.metrics;
    [metrics.ttft, metrics.tpot, metrics.e2e].map(|time| time.map(|time| (time.median.0 * 1e6).round() / 1e3))
}

fn said(reading: &Evidence) -> String {
    reading.all_skipped().iter().map(|skip| format!("{} {}\n", skip.records, skip.reason)).collect()
}

fn file(name: &str) -> Result<Evidence, String> {
    evidence::read_files(&[case(name)], None, &asked()).map_err(|e| e.to_string())
}

#[test]
fn sglang_s_bench_serving_is_vllm_s_but_for_a_few_names() {
    let reading = file("sglang-bench-serving.jsonl").unwrap();
    let [run] = reading.runs.as_slice() else { panic!() };
    assert_eq!((run.record.engine.name.as_str(), run.record.arrival.as_str()), ("sglang", "closed_64"));
    let row = &run.cases[0];
    assert_eq!(shape(row), (64, 1024, 1024));
    assert_eq!(times(row), [Some(90.0), Some(5.8), Some(5990.0)]);
    assert_eq!(row.metrics.decode_tokens_per_s.unwrap().value.0, 10922.0);
    assert!(row.metrics.itl.is_none() && row.absent.iter().any(|(_, why)| why.contains("once for each of its tokens")));
    // Newer ones say what the server was.
    let text = std::fs::read_to_string(case("sglang-bench-serving.jsonl")).unwrap();
    let server = r#""server_info": {"version": "0.5.4", "model_path": "Qwen/Qwen3-8B", "tp_size": 1}, "backend""#;
    let newer = read_bytes(
        "a.jsonl",
        text.replacen("\"backend\"", server, 1).as_bytes(),
        &Overrides { quant: Some(Quant::Bf16), ..Overrides::default() },
    );
    let newer = newer.unwrap();
    assert_eq!(newer.runs[0].record.engine.version, "0.5.4");
    assert_eq!(rows(&newer)[0].key.model, "Qwen/Qwen3-8B");
    let nameless = evidence::read_files(&[case("sglang-bench-serving.jsonl")], None, &Overrides::default());
    assert!(nameless.unwrap_err().to_string().contains("1 whose model the file does not name (--model says it)"));
}

#[test]
fn llama_bench_s_default_table_is_its_records() {
    for (name, prefill, decode) in [("llama-bench.md", 900.0, 80.0), ("llama-bench-wide.md", 21034.49, 455.12)] {
        let reading = evidence::read_files(&[case(name)], None, &Overrides::default()).unwrap();
        let [run] = reading.runs.as_slice() else { panic!("{name}") };
        assert_eq!((run.record.engine.name.as_str(), run.record.engine.device.as_str()), ("llama.cpp", "cuda"));
        let [pp, tg] = run.cases.as_slice() else { panic!("{name}") };
        assert_eq!((shape(pp), shape(tg)), ((1, 512, 0), (1, 0, 128)));
        assert_eq!(pp.metrics.prefill_tokens_per_s.unwrap().value.0, prefill);
        assert!((pp.metrics.ttft.unwrap().median.0 - 512.0 / prefill).abs() < 1e-12);
        assert_eq!(tg.metrics.decode_tokens_per_s.unwrap().value.0, decode);
        assert!((tg.metrics.tpot.unwrap().median.0 - 1.0 / decode).abs() < 1e-12);
    }
    let table = std::fs::read_to_string(case("llama-bench.md")).unwrap();
    let log = "ggml_cuda_init: found 1 CUDA devices:\n  Device 0: NVIDIA L4, compute capability 8.9, VMM: yes\n";
    let odd = "| llama 7B Q4_0 | 3.56 GiB | 6.74 B | CUDA | 99 | pp512 | oops |\n";
    let reading = read_bytes("a.txt", format!("{log}{table}{odd}").as_bytes(), &Overrides::default()).unwrap();
    assert_eq!(reading.runs[0].record.engine.hardware.as_deref(), Some("NVIDIA L4"));
    assert_eq!(reading.runs[0].record.engine.version, "a1b2c3d");
    let none = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\n";
    let on_cpu = read_bytes("a.txt", format!("{none}{table}").as_bytes(), &Overrides::default()).unwrap();
    assert_eq!(on_cpu.runs[0].record.engine.device, "cpu");
    assert_eq!(said(&reading), "1 that cannot be read: `oops` is not a rate\n");
}

const SQL: &str = "CREATE TABLE IF NOT EXISTS llama_bench (build_commit TEXT, avg_ts REAL);\n\n\
    INSERT INTO llama_bench (build_commit, build_number, cpu_info, gpu_info, backends, model_filename, model_type, \
    model_size, model_n_params, n_batch, n_ubatch, n_threads, type_k, type_v, n_gpu_layers, flash_attn, n_prompt, n_gen, \
    n_depth, avg_ts, stddev_ts) VALUES ('a1b2c3d', '7000', 'Bob''s CPU', 'NVIDIA L4', 'CUDA', 'm.gguf', 'llama 7B Q4_0', \
    '3825065984', '6738415616', '2048', '512', '4', 'f16', 'f16', '99', '0', 'PP', 'TG', '0', 'RATE', '1.0');\n";

#[test]
fn llama_bench_s_sql_is_its_records() {
    let insert = |pp: &str, tg: &str, rate: &str| SQL.replace("PP", pp).replace("TG", tg).replace("RATE", rate);
    let text =
        insert("512", "0", "900.0") + &insert("0", "128", "80.0") + "INSERT INTO llama_bench (a) VALUES ('1', '2');";
    let reading = read_bytes("a.sql", text.as_bytes(), &Overrides::default()).unwrap();
    let rows = rows(&reading);
    assert_eq!((shape(rows[0]), shape(rows[1])), ((1, 512, 0), (1, 0, 128)));
    assert_eq!(times(rows[1]), [None, Some(12.5), None]);
    assert_eq!(reading.runs[0].record.engine.hardware.as_deref(), Some("NVIDIA L4"));
    assert!(said(&reading).starts_with("1 that cannot be read: statement 3 has not a value for each name"));
}

#[test]
fn batches_of_llama_batched_bench_are_batches() {
    let line = |pl: usize, shared: usize| {
        json!({"n_kv_max": 8192, "n_batch": 2048, "n_ubatch": 512, "flash_attn": 1, "is_pp_shared": shared,
            "n_gpu_layers": 99, "n_threads": 4, "n_threads_batch": 4, "pp": 128, "tg": 64, "pl": pl, "n_kv": 192 * pl,
            "t_pp": 0.5, "speed_pp": 1.0, "t_tg": 3.2, "speed_tg": 1.0, "t": 3.7, "speed": 1.0})
    };
    let text = format!("main: n_kv_max = 8192\n{}\n{}\n{}\n", line(1, 0), line(8, 0), line(8, 1));
    let reading = read("a.jsonl", &text).unwrap();
    let rows = rows(&reading);
    assert_eq!(rows.iter().map(|row| shape(row)).collect::<Vec<_>>(), [(1, 128, 64), (8, 128, 64)]);
    assert_eq!(times(rows[1]), [Some(500.0), Some(50.0), Some(3700.0)]);
    assert_eq!(rows[1].metrics.prefill_tokens_per_s.unwrap().value.0, 2048.0);
    assert_eq!(rows[1].metrics.decode_tokens_per_s.unwrap().value.0, 160.0);
    assert!(
        said(&reading).contains("1 whose sequences share one prompt")
            && said(&reading).contains("1 lines that are not")
    );
    let without = read_bytes("a.jsonl", text.as_bytes(), &Overrides { hardware: None, ..asked() }).unwrap_err();
    assert!(without.contains("2 whose device the file does not name (--hardware says it"), "{without}");
}

/// A report of TensorRT-LLM.
fn trtllm() -> Value {
    let percentiles =
        |p50: f64| json!({"p50": p50, "p90": 2.0 * p50, "p99": 3.0 * p50, "average": 1.1 * p50, "minimum": 1.0});
    json!({
        "engine": {"model": "meta-llama/Llama-3.1-8B-Instruct", "version": "1.0.0", "backend": "Pytorch",
            "dtype": "bfloat16", "kv_cache_dtype": null, "quantization": null},
        "machine": {"name": "NVIDIA H100 80GB HBM3"},
        "world_info": {"tp_size": 2, "pp_size": 1, "ep_size": null, "world_size": 2, "max_batch_size": 64},
        "request_info": {"num_requests": 500, "avg_num_concurrent_requests": 120.0, "avg_input_length": 128.0,
            "avg_output_length": 256.0},
        "performance": {"request_throughput_req_s": 20.0, "system_output_throughput_tok_s": 5120.0,
            "request_latency_percentiles_ms": percentiles(3000.0)},
        "streaming_metrics": {"ttft_percentiles": percentiles(400.0), "tpot_percentiles": percentiles(10.0)}
    })
}

#[test]
fn trtllm_bench_s_report_is_in_milliseconds() {
    let reading = read_bytes("report.json", trtllm().to_string().as_bytes(), &Overrides::default()).unwrap();
    let [run] = reading.runs.as_slice() else { panic!() };
    assert_eq!(run.record.engine.hardware.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert_eq!((run.record.accelerators, run.record.arrival.as_str()), (2, "offline"));
    let row = &run.cases[0];
    assert_eq!(shape(row), (64, 128, 256), "no more run together than the runtime takes");
    assert_eq!(row.key.case.quant, Quant::Bf16);
    assert_eq!(times(row), [Some(400.0), Some(10.0), Some(3000.0)]);
    assert_eq!(row.metrics.ttft.unwrap().p99.unwrap().0, 1.2);
    let mut batch = trtllm();
    batch.as_object_mut().unwrap().remove("streaming_metrics");
    assert!(read("report.json", &batch.to_string()).unwrap_err().contains("takes --streaming"));
}

#[test]
fn llmperf_s_inter_token_latency_is_not_taken_for_tpot() {
    let summary = json!({
        "model": "meta-llama/Llama-3.1-8B-Instruct", "mean_input_tokens": 550, "mean_output_tokens": 150,
        "num_concurrent_requests": 4, "results_inter_token_latency_s_quantiles_p50": 0.02,
        "results_inter_token_latency_s_mean": 0.02, "results_ttft_s_quantiles_p50": 0.4, "results_ttft_s_quantiles_p90": 0.5,
        "results_ttft_s_mean": 0.5, "results_end_to_end_latency_s_quantiles_p50": 3.0,
        "results_end_to_end_latency_s_mean": 3.0, "results_number_input_tokens_mean": 551.2,
        "results_number_output_tokens_mean": 151.0, "results_mean_output_throughput_token_per_s": 180.0,
        "results_num_completed_requests": 40, "results_num_completed_requests_per_min": 72.0, "results_number_errors": 2
    });
    let reading = read("summary.json", &summary.to_string()).unwrap();
    let row = rows(&reading)[0];
    assert_eq!(shape(row), (4, 551, 151));
    // (3.0 - 0.5) / 150; its own 20 ms hold the first token's wait.
    assert_eq!(times(row), [Some(400.0), Some(16.667), Some(3000.0)]);
    assert_eq!(row.metrics.requests_per_s.unwrap().value.0, 1.2);
    assert_eq!(row.notes[0], "2 of 42 requests failed");
    assert!(reading.runs[0].record.metric_definitions.starts_with("llmperf"));
}

fn inference_perf(load: Value) -> Value {
    let times = |median: f64| json!({"mean": 1.1 * median, "median": median, "p90": 2.0 * median, "p99": 3.0 * median});
    json!({
        "load_summary": load,
        "successes": {
            "count": 480, "prompt_len": {"mean": 512.0}, "output_len": {"mean": 128.0},
            "latency": {"request_latency": times(2.0), "normalized_time_per_output_token": times(0.02),
                "time_per_output_token": times(0.015), "time_to_first_token": times(0.1),
                "inter_token_latency": times(0.014)},
            "throughput": {"requests_per_sec": 8.0, "output_tokens_per_sec": 1024.0}
        },
        "failures": {"count": 0}
    })
}

#[test]
fn a_stage_of_inference_perf_is_a_load_and_its_summary_is_none() {
    let stage = inference_perf(json!({"count": 480, "requested_rate": 8.0, "achieved_rate": 8.0}));
    let reading = read("stage_0_lifecycle_metrics.json", &stage.to_string()).unwrap();
    let row = rows(&reading)[0];
    assert_eq!(shape(row), (18, 512, 128), "8 requests/s of 2.2 s in the mean");
    assert_eq!(times(row), [Some(100.0), Some(15.0), Some(2000.0)]);
    let summary = inference_perf(json!({"count": 480}));
    let why = read("summary_lifecycle_metrics.json", &summary.to_string()).unwrap_err();
    assert!(why.contains("all stages into one (give stage_0_lifecycle_metrics.json"), "{why}");
}

#[test]
fn genai_bench_s_times_are_in_the_unit_that_it_names() {
    let stat = |mean: f64| json!({"mean": mean, "p50": mean, "p90": 2.0 * mean, "p99": 3.0 * mean});
    let report = |unit: &str, factor: f64| {
        json!({"_time_unit": unit, "aggregated_metrics": {
            "scenario": "D(100,100)", "num_concurrency": 4, "iteration_type": "num_concurrency", "run_duration": 60.0,
            "mean_output_throughput_tokens_per_s": 200.0, "requests_per_second": 2.0, "num_completed_requests": 120,
            "num_error_requests": 0, "stats": {"ttft": stat(0.1 * factor), "tpot": stat(0.019 * factor),
                "e2e_latency": stat(2.0 * factor), "num_input_tokens": stat(101.0), "num_output_tokens": stat(100.0)}}})
    };
    let name = "D100_100_text-to-text_meta-llama_Llama-3.1-8B-Instruct_num_concurrency_4_time_60s.json";
    for (unit, factor) in [("s", 1.0), ("ms", 1e3)] {
        let overrides = Overrides { model: None, ..asked() };
        let reading = read_bytes(name, report(unit, factor).to_string().as_bytes(), &overrides).unwrap();
        let row = rows(&reading)[0];
        assert_eq!((shape(row), row.key.model.as_str()), ((4, 101, 100), "meta-llama/Llama-3.1-8B-Instruct"));
        assert_eq!(times(row), [Some(100.0), Some(19.0), Some(2000.0)], "{unit}");
    }
    assert!(read(name, &report("h", 1.0).to_string()).unwrap_err().contains("in `h`, which is not known"));
}

#[test]
fn inference_benchmarker_has_steps_of_users_and_of_rates() {
    let all = |p50: f64| json!({"p50": p50, "p60": p50, "p70": p50, "p80": p50, "p90": p50, "p95": p50, "p99": p50, "avg": p50});
    let step = |id: &str, config: Value| {
        json!({"id": id, "executor_type": "x", "config": config, "total_requests": 100, "total_tokens": 12800,
            "token_throughput_secs": 256.0, "duration_ms": 50000, "time_to_first_token_ms": all(120.0),
            "inter_token_latency_ms": all(15.0), "e2e_latency_ms": all(2000.0), "failed_requests": 0,
            "successful_requests": 100, "request_rate": 2.0, "total_tokens_sent": 51200})
    };
    let report = json!({"config": {"tokenizer": "meta-llama/Llama-3.1-8B-Instruct"}, "results": [
        step("warmup", json!({"max_vus": 1, "duration_secs": 30.0, "rate": null})),
        step("throughput", json!({"max_vus": 128, "duration_secs": 30.0, "rate": null})),
        step("constant@2.00req/s", json!({"max_vus": 128, "duration_secs": 30.0, "rate": 2.0}))
    ], "start_time": "x", "end_time": "y", "system": {}});
    let reading = read("results.json", &report.to_string()).unwrap();
    let mut shapes: Vec<_> = rows(&reading).iter().map(|row| shape(row)).collect();
    shapes.sort_unstable();
    assert_eq!(shapes, [(4, 512, 128), (100, 512, 128)], "by Little's law, and no more than were sent");
    assert_eq!(times(rows(&reading)[0]), [Some(120.0), Some(15.0), Some(2000.0)]);
    assert!(said(&reading).contains("1 of a warm-up"));
}

#[test]
fn llm_d_s_report_is_of_one_server_or_left_out() {
    let stat = |mean: f64, units: &str| json!({"units": units, "mean": mean, "p50": mean, "p90": mean, "p99": mean});
    let aggregate = json!({
        "requests": {"total": 102, "failures": 2, "input_length": {"mean": 512.0}, "output_length": {"mean": 128.0}},
        "latency": {"time_to_first_token": stat(100.0, "ms"), "time_per_output_token": stat(0.015, "s/token"),
            "request_latency": stat(2.0, "s")},
        "throughput": {"output_token_rate": stat(1024.0, "tokens/s"), "request_rate": stat(8.0, "queries/s")}
    });
    let server = json!({"standardized": {"kind": "inference_engine", "role": "replica", "replicas": 1, "tool": "vLLM",
        "tool_version": "0.11", "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "accelerator": {"model": "NVIDIA H100 80GB HBM3", "count": 1}}});
    let report = |servers: Vec<&Value>| {
        json!({"version": "0.2", "scenario": {"stack": servers, "load": {"standardized": {"rate_qps": 8.0}}},
            "results": {"request_performance": {"aggregate": aggregate}}})
    };
    let overrides = Overrides { quant: Some(Quant::Bf16), ..Overrides::default() };
    let read = |report: &Value| read_bytes("benchmark_report.json", report.to_string().as_bytes(), &overrides);
    let reading = read(&report(vec![&server])).unwrap();
    let row = rows(&reading)[0];
    assert_eq!(shape(row), (16, 512, 128));
    assert_eq!(times(row), [Some(100.0), Some(15.0), Some(2000.0)]);
    assert_eq!(reading.runs[0].record.engine.hardware.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert_eq!(row.notes[0], "2 of 102 requests failed");
    assert!(read(&report(vec![&server, &server])).unwrap_err().contains("1 of several servers"));
}

#[test]
fn ml_energy_s_requests_make_its_times() {
    let request = |ttft: f64, latency: f64, tokens: usize, success: bool| {
        json!({"ttft": ttft, "latency": latency, "input_len": 100, "output_len": tokens, "itl": [0.01], "energy": 5.0,
            "success": success, "error": ""})
    };
    let results = json!([
        request(0.1, 1.1, 101, true),
        request(0.2, 2.2, 101, true),
        request(0.3, 3.3, 101, true),
        request(9.0, 9.0, 0, false)
    ]);
    let run = json!({"model_id": "meta-llama/Llama-3.1-8B-Instruct", "gpu_model": "H100", "num_gpus": 1, "max_num_seqs": 2,
        "num_prompts": 4, "completed": 3, "duration": 3.0, "steady_state_duration": 2.0, "steady_state_energy": 100.0,
        "steady_state_energy_per_token": 0.5, "output_throughput": 101.0, "total_output_tokens": 303, "request_rate": null,
        "burstiness": null, "max_concurrency": null, "results": results, "steady_state_measurement": {}});
    let overrides = Overrides { quant: Some(Quant::Bf16), ..Overrides::default() };
    let reading = read_bytes("results.json", run.to_string().as_bytes(), &overrides).unwrap();
    let row = rows(&reading)[0];
    assert_eq!(shape(row), (2, 100, 101), "1 request/s of 2.2 s, and two sequences at most");
    assert_eq!(times(row), [Some(200.0), Some(20.0), Some(2200.0)]);
    assert_eq!(row.metrics.energy_per_token.unwrap().value.0, 0.5);
    assert_eq!((row.samples, row.notes[0].as_str()), (3, "1 of 4 requests failed"));
}

#[test]
fn rows_of_inferencex_s_api_are_its_files_rows() {
    let row = |disagg: bool| {
        json!({"hardware": "h200", "framework": "vllm", "model": "llama70b", "precision": "bf16", "spec_method": "none",
            "disagg": disagg, "is_multinode": false, "prefill_tp": 4, "prefill_ep": 1, "prefill_dp_attention": false,
            "prefill_num_workers": 0, "decode_tp": 4, "decode_ep": 1, "decode_dp_attention": false, "decode_num_workers": 0,
            "num_prefill_gpu": 4, "num_decode_gpu": 4, "isl": 1024, "osl": 1024, "conc": 16, "image": "vllm:0.11",
            "metrics": {"tput_per_gpu": 500.0, "output_tput_per_gpu": 250.0, "median_ttft": 0.2, "median_tpot": 0.015,
                "median_e2el": 15.5}, "date": "2026-01-01", "run_url": null})
    };
    let text = json!([row(false), row(true)]).to_string();
    let reading = read_bytes("benchmarks.json", text.as_bytes(), &Overrides::default()).unwrap();
    let [run] = reading.runs.as_slice() else { panic!() };
    assert_eq!((run.record.accelerators, run.record.arrival.as_str()), (4, "closed_16"));
    assert_eq!(shape(&run.cases[0]), (16, 1024, 1024));
    assert_eq!(times(&run.cases[0]), [Some(200.0), Some(15.0), Some(15500.0)]);
    assert_eq!(run.cases[0].metrics.decode_tokens_per_s.unwrap().value.0, 1000.0);
    assert!(said(&reading).contains("1 with prefill and decoding on different cards"), "{}", said(&reading));
}

mod broken;
mod known;
