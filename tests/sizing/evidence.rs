//! Result files of other tools: what comes out of each, in the project's units and words, and what is said of broken ones.

use sizewell::evidence::{self, Evidence, Overrides};
use sizewell::record::{Basis, Run, SkippedRecord};
use sizewell::workload::Quant;
use std::path::{Path, PathBuf};

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn read_with(name: &str, text: &str, overrides: &Overrides) -> Result<Vec<Run>, String> {
    let folder = tempfile::tempdir().unwrap();
    evidence::read(&[file(folder.path(), name, text)], None, overrides).map_err(|e| e.to_string())
}

fn read(name: &str, text: &str) -> Vec<Run> {
    read_with(name, text, &Overrides::default()).unwrap()
}

fn skipped(runs: &[Run]) -> Vec<SkippedRecord> {
    runs[0].record.import.as_ref().map_or(Vec::new(), |import| import.skipped.clone())
}

fn one(runs: &[Run]) -> &Run {
    assert_eq!(runs.len(), 1, "{:?}", runs.iter().map(|run| &run.record.engine).collect::<Vec<_>>());
    assert_eq!(runs[0].record.basis, Basis::Imported);
    &runs[0]
}

const LLAMA: &str = r#"{"build_commit":"51f311e0","build_number":4000,"cpu_info":"AMD EPYC 7R13","gpu_info":"NVIDIA L4","backends":"CUDA","model_filename":"models/llama-7b.Q4_K_M.gguf","model_type":"llama 7B Q4_K - Medium","model_size":4080263168,"model_n_params":6738415616,"n_batch":2048,"n_ubatch":512,"n_threads":4,"n_gpu_layers":99,"flash_attn":true,"n_prompt":PP,"n_gen":TG,"n_depth":0,"test_time":"2026-06-18T00:39:52Z","avg_ns":1,"stddev_ns":1,"avg_ts":RATE,"stddev_ts":0.5,"samples_ns":[1,2,3],"samples_ts":[53.5,54.0,54.5],"something_new":{"a":[1]}}"#;

fn llama(prompt: usize, generated: usize, rate: f64) -> String {
    LLAMA.replace("PP", &prompt.to_string()).replace("TG", &generated.to_string()).replace("RATE", &rate.to_string())
}

#[test]
fn llama_bench_reads_the_same_from_json_lines_and_csv() {
    let (prefill, decode) = (llama(512, 0, 2660.0), llama(0, 128, 54.0));
    let json = read("bench.json", &format!("[{prefill},{decode}]"));
    let lines = read("bench.jsonl", &format!("{prefill}\n{decode}\n"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (index, text) in [&prefill, &decode].into_iter().enumerate() {
        let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
        let object = value.as_object_mut().unwrap();
        object.retain(|_, value| !value.is_array() && !value.is_object());
        if index == 0 {
            writer.write_record(object.keys()).unwrap();
        }
        let cell = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_string);
        writer.write_record(object.values().map(cell)).unwrap();
    }
    let csv = read("bench.csv", &String::from_utf8(writer.into_inner().unwrap()).unwrap());
    for runs in [json, lines, csv] {
        let run = one(&runs);
        let record = &run.record;
        assert_eq!((record.engine.name.as_str(), record.engine.version.as_str()), ("llama.cpp", "51f311e0"));
        assert_eq!((record.engine.device.as_str(), record.engine.hardware.as_deref()), ("cuda", Some("NVIDIA L4")));
        assert_eq!((record.arrival.as_str(), record.accelerators), ("closed_batch", 1));
        assert!(record.metric_definitions.starts_with("llama-bench"));
        assert_eq!(record.model.as_ref().unwrap().shape.layers, 32, "known by its count of parameters");
        let [prefill, decode] = run.cases.as_slice() else { panic!() };
        assert_eq!((prefill.key.case.prompt_tokens(), prefill.key.case.gen_tokens()), (512, 0));
        assert!((prefill.metrics.ttft.unwrap().median.0 - 512.0 / 2660.0).abs() < 1e-12);
        assert_eq!(decode.key.case.quant, Quant::Int4);
        let tpot = decode.metrics.tpot.unwrap();
        assert!((tpot.median.0 - 1.0 / 54.0).abs() < 1e-12 && tpot.lo.unwrap() < tpot.median);
        assert!(decode.metrics.ttft.is_none() && decode.metrics.itl.is_none());
        assert_eq!(decode.metrics.weights.unwrap().0, 4_080_263_168.0);
    }
}

#[test]
fn layers_on_the_cpu_are_told_from_layers_on_the_card() {
    let device = |layers: i64, backend: &str| {
        let text = llama(0, 128, 5.0).replace("\"n_gpu_layers\":99", &format!("\"n_gpu_layers\":{layers}"));
        one(&read("a.json", &format!("[{}]", text.replace("CUDA", backend)))).record.engine.device.clone()
    };
    assert_eq!([device(99, "CUDA"), device(33, "CUDA"), device(20, "CUDA")], ["cuda", "cuda", "mixed"]);
    // Without a layer on the card, its products of long prompts still run there.
    assert_eq!([device(0, "CUDA"), device(99, "CPU")], ["mixed", "cpu"]);
}

#[test]
fn vllm_serve_keeps_its_definitions_and_how_requests_came() {
    let text = |rate: &str| {
        format!(
            r#"{{"date":"20261101","endpoint_type":"vllm","backend":"vllm","model_id":"meta-llama/Llama-3.1-8B-Instruct",
            "num_prompts":100,"request_rate":{rate},"burstiness":1.0,"max_concurrency":8,"duration":50.0,"completed":100,
            "failed":2,"total_input_tokens":51200,"total_output_tokens":12800,"request_throughput":2.0,
            "output_throughput":256.0,"total_token_throughput":1280.0,"median_ttft_ms":120.5,"p99_ttft_ms":300.0,
            "mean_ttft_ms":130.0,"median_tpot_ms":18.25,"p99_tpot_ms":25.0,"median_itl_ms":17.5,"median_e2el_ms":2438.25,
            "new_key":1}}"#
        )
    };
    let overrides = Overrides { hardware: Some("NVIDIA L4".into()), quant: Some(Quant::Bf16), ..Overrides::default() };
    let runs = read_with("serve.json", &text("\"inf\""), &overrides).unwrap();
    let run = one(&runs);
    assert_eq!((run.record.arrival.as_str(), run.record.metric_definitions.as_str()), ("closed_8", "vllm"));
    let row = &run.cases[0];
    assert_eq!((row.key.case.batch, row.key.case.prompt_tokens(), row.key.case.gen_tokens()), (8, 512, 128));
    assert_eq!(row.metrics.ttft.unwrap().median.0, 0.1205);
    assert_eq!(row.metrics.ttft.unwrap().p99.unwrap().0, 0.3);
    assert_eq!((row.metrics.tpot.unwrap().median.0, row.metrics.itl.unwrap().median.0), (0.01825, 0.0175));
    assert_eq!(row.notes, ["2 of 102 requests failed"]);
    assert_eq!(one(&read_with("a.json", &text("4.0"), &overrides).unwrap()).record.arrival, "open_poisson");
    // Nobody says in which precision: the user has to.
    let error = read_with("a.json", &text("4.0"), &Overrides::default()).unwrap_err();
    assert!(error.contains("--quant"), "{error}");
    let error = read_with("a.json", &text("4.0").replace("\"duration\"", "\"span\""), &overrides).unwrap_err();
    assert!(error.contains("missing field `duration`") && error.contains("record 1"), "{error}");
}

#[test]
fn aiperf_names_its_units_and_its_inter_token_latency_is_tpot() {
    let metric =
        |unit: &str, p50: f64| format!(r#"{{"unit":"{unit}","avg":{p50},"p50":{p50},"p90":{p50},"p99":{p50}}}"#);
    let text = format!(
        r#"{{"schema_version":"1.4","aiperf_version":"0.5.0","input_config":{{"endpoint":{{"model_names":["Qwen/Qwen2.5-0.5B"]}},
        "loadgen":{{"concurrency":4}}}},"time_to_first_token":{},"inter_token_latency":{},"request_latency":{},
        "input_sequence_length":{{"unit":"tokens","avg":550.2}},"output_sequence_length":{{"unit":"tokens","avg":128}},
        "request_throughput":{{"unit":"requests/sec","avg":3.5}},"request_count":{{"unit":"requests","avg":200}},
        "energy_per_output_token":{{"unit":"mJ","avg":1500}},
        "telemetry_data":{{"endpoints":{{"x":{{"gpus":{{"0":{{"gpu_name":"NVIDIA L40S"}}}}}}}}}}}}"#,
        metric("ms", 45.0),
        metric("us", 9000.0),
        metric("s", 1.2),
    );
    let overrides = Overrides { quant: Some(Quant::F16), engine: Some("vllm".into()), ..Overrides::default() };
    let runs = read_with("profile_export_aiperf.json", &text, &overrides).unwrap();
    let run = one(&runs);
    assert_eq!((run.record.engine.name.as_str(), run.record.engine.hardware.as_deref()), ("vllm", Some("NVIDIA L40S")));
    assert_eq!(run.record.arrival, "closed_4");
    let row = &run.cases[0];
    let metrics = &row.metrics;
    assert!((metrics.ttft.unwrap().median.0 - 0.045).abs() < 1e-12);
    assert!((metrics.tpot.unwrap().median.0 - 0.009).abs() < 1e-12);
    assert!((metrics.e2e.unwrap().median.0 - 1.2).abs() < 1e-12);
    assert!((metrics.energy_per_token.unwrap().value.0 - 1.5).abs() < 1e-12);
    assert!(metrics.itl.is_none(), "a summary has no pooled gaps");
    let error = read_with("a.json", &text.replace("\"us\"", "\"fortnights\""), &overrides).unwrap_err();
    assert!(error.contains("1 whose `inter_token_latency` has a wrong unit: unit `fortnights`"), "{error}");
    let error = read_with("a.json", &text.replace("time_to_first_token", "ttft"), &overrides).unwrap_err();
    assert!(error.contains("without a `time_to_first_token` above 0"), "{error}");
}

#[test]
fn guidellm_s_time_per_output_token_is_not_taken_for_tpot() {
    let metric = |median: f64| {
        format!(
            r#"{{"successful":{{"mean":{median},"median":{median},"count":50,"percentiles":{{"p50":{median},"p90":{median},"p99":{median}}}}}}}"#
        )
    };
    let text = format!(
        r#"{{"metadata":{{"guidellm_version":"0.6.0"}},"config":{{}},"benchmarks":[{{"config":{{"backend":{{"model":"microsoft/phi-4"}},
        "strategy":{{"type_":"constant","rate":2.0}}}},"metrics":{{"request_latency":{},"time_to_first_token_ms":{},
        "time_per_output_token_ms":{},"inter_token_latency_ms":{},"request_concurrency":{},"prompt_token_count":{},
        "output_token_count":{},"requests_per_second":{}}}}}]}}"#,
        metric(2.5),
        metric(100.0),
        metric(19.5),
        metric(18.9),
        metric(3.2),
        metric(256.0),
        metric(128.0),
        metric(1.3),
    );
    let overrides = Overrides { hardware: Some("NVIDIA L40S".into()), quant: Some(Quant::F16), ..Overrides::default() };
    let runs = read_with("benchmarks.json", &text, &overrides).unwrap();
    let run = one(&runs);
    assert_eq!(run.record.arrival, "open_constant");
    assert!(run.record.metric_definitions.contains("its own TPOT includes TTFT"));
    let metrics = &run.cases[0].metrics;
    assert!((metrics.tpot.unwrap().median.0 - 0.0189).abs() < 1e-12, "the inter-token latency");
    assert!((metrics.e2e.unwrap().median.0 - 2.5).abs() < 1e-12 && metrics.itl.is_none());
    assert_eq!(run.cases[0].key.case.batch, 3);
    let error = read_with("a.json", &text.replace("inter_token_latency_ms", "itl"), &overrides).unwrap_err();
    assert!(error.contains("1 without `metrics.inter_token_latency_ms`"), "{error}");
}

#[test]
fn inferencex_is_in_seconds_and_of_one_gpu() {
    let text = r#"[{"hw":"h200","conc":16,"image":"vllm/vllm:v0.11","model":"meta-llama/Llama-3.1-70B","framework":"vllm",
        "precision":"bf16","isl":1024,"osl":1024,"tp":4,"ep":1,"tput_per_gpu":900.0,"output_tput_per_gpu":450.0,
        "input_tput_per_gpu":450.0,"median_ttft":0.35,"median_tpot":0.012,"median_itl":0.0118,"median_e2el":12.6,
        "p99_ttft":0.9,"p99_tpot":0.015,"avg_power_w":610,"joules_per_output_token":1.2,"power_valid":1},
        {"hw":"gb200","conc":1,"model":"x","framework":"dynamo","precision":"fp4","isl":1,"osl":1,"disagg":true,"tput_per_gpu":1}]"#;
    let runs = read("agg.json", text);
    let run = one(&runs);
    assert_eq!((run.record.accelerators, run.record.arrival.as_str()), (4, "closed_16"));
    let metrics = &run.cases[0].metrics;
    assert_eq!((metrics.ttft.unwrap().median.0, metrics.decode_tokens_per_s.unwrap().value.0), (0.35, 1800.0));
    assert_eq!(metrics.energy_per_token.unwrap().value.0, 1.2);
    assert!(skipped(&runs).iter().any(|s| s.reason.contains("different cards") && s.records == 1));
}

#[test]
fn optimum_benchmark_counts_in_seconds_and_kilowatt_hours() {
    let text = r#"{"config":{"backend":{"name":"pytorch","version":"2.4","model":"HuggingFaceTB/SmolLM2-135M","device":"cuda",
        "torch_dtype":"float16"},"scenario":{"input_shapes":{"batch_size":2,"sequence_length":128},
        "generate_kwargs":{"max_new_tokens":32}},"environment":{"cpu":"AMD EPYC","gpu":["NVIDIA A100-SXM4-80GB"],
        "optimum_benchmark_version":"0.5.0"}},"report":{"prefill":{"latency":{"unit":"s","values":[0.02],"count":10,"mean":0.021,
        "p50":0.02,"p90":0.03,"p99":0.04},"throughput":{"unit":"tokens/s","value":12800},"energy":{"unit":"kWh","total":1e-6},
        "memory":{"unit":"MB","max_global_vram":2000}},"decode":{"latency":{"unit":"s","mean":0.31,"p50":0.31},
        "throughput":{"unit":"tokens/s","value":200},"energy":{"unit":"kWh","total":2e-6}},
        "per_token":{"latency":{"unit":"s","p50":0.01}}}}"#;
    let runs = read("benchmark.json", text);
    let run = one(&runs);
    let (row, record) = (&run.cases[0], &run.record);
    assert_eq!((record.engine.name.as_str(), row.key.case.quant, row.key.case.batch), ("pytorch", Quant::F16, 2));
    assert_eq!((row.metrics.ttft.unwrap().median.0, row.metrics.tpot.unwrap().median.0), (0.02, 0.01));
    assert!((row.metrics.energy.unwrap().value.0 - 10.8).abs() < 1e-9);
    let broken = text.replace(r#""latency":{"unit":"s","values""#, r#""latency":{"unit":"ms","values""#);
    assert!(read_with("a.json", &broken, &Overrides::default()).unwrap_err().contains("`latency.unit` is `ms`"));
}

#[test]
fn mlperf_is_in_nanoseconds_and_needs_to_be_told_what_it_measured() {
    let text = "================================================\nMLPerf Results Summary\n\
        ================================================\nSUT name : LWIS_Server\nScenario : Server\nMode     : PerformanceOnly\n\
        Completed samples per second    : 95.50\nCompleted tokens per second: 12224.00\nResult is : VALID\n  Min duration satisfied : Yes\n\
        50.00 percentile latency (ns)   : 2500000000\n90.00 percentile latency (ns)   : 4000000000\n\
        50.00 percentile first token latency (ns) : 120000000\n99.00 percentile first token latency (ns) : 900000000\n\
        50.00 percentile time to output token (ns) : 18000000\n";
    let overrides = Overrides {
        hardware: Some("NVIDIA H200".into()),
        quant: Some(Quant::F16),
        model: Some("llama-3.1-8b".into()),
        engine: Some("tensorrt-llm".into()),
        accelerators: Some(8),
        ..Overrides::default()
    };
    let runs = read_with("mlperf_log_summary.txt", text, &overrides).unwrap();
    let run = one(&runs);
    assert_eq!((run.record.arrival.as_str(), run.record.accelerators), ("open_poisson", 8));
    assert_eq!(run.record.model.as_ref().unwrap().shape.layers, 32);
    let metrics = &run.cases[0].metrics;
    assert!((metrics.ttft.unwrap().median.0 - 0.12).abs() < 1e-12);
    assert!((metrics.tpot.unwrap().median.0 - 0.018).abs() < 1e-12);
    assert_eq!(metrics.requests_per_s.unwrap().value.0, 95.5);
    let accuracy = text.replace("PerformanceOnly", "AccuracyOnly");
    assert!(read_with("a.txt", &accuracy, &overrides).unwrap_err().contains("does not measure speed"));
    assert!(read_with("a.txt", &text.replace("Result is", "Result"), &overrides).unwrap_err().contains("`Result is`"));
}

#[test]
fn what_was_imported_is_an_ordinary_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("imported");
    let other = llama(0, 128, 95.0).replace("NVIDIA L4", "NVIDIA A10G");
    let runs = read("bench.json", &format!("[{},{},{other}]", llama(512, 0, 2660.0), llama(0, 128, 54.0)));
    assert_eq!(runs.len(), 2);
    let reading = Evidence { runs, ..Evidence::default() };
    evidence::write(&place, &reading, vec!["sizewell".into(), "import".into()], jiff::Timestamp::now()).unwrap();
    let whole = Run::read(&place).unwrap();
    assert_eq!((whole.cases.len(), whole.record.basis), (3, Basis::Imported));
    let again = Run::read_systems(&place).unwrap();
    assert_eq!(again.len(), 2);
    for (was, is) in reading.runs.iter().zip(&again) {
        assert_eq!(
            (&was.record.engine, &was.record.model, &was.record.arrival),
            (&is.record.engine, &is.record.model, &is.record.arrival)
        );
        assert_eq!(was.cases, is.cases);
    }
    let schema: serde_json::Value = serde_json::from_str(&sizewell::record::schema::json_schema()).unwrap();
    let text = std::fs::read_to_string(place.join("run.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&value));
    assert!(value["import"]["files"][0]["blake3"].as_str().unwrap().len() == 64);
}

#[test]
fn hostile_files_are_errors_and_never_panics() {
    let good = format!("[{}]", llama(512, 0, 2660.0));
    let texts = [
        String::new(),
        "{".into(),
        "[]".into(),
        "[1,2,3]".into(),
        "null".into(),
        "\u{0}\u{1}".into(),
        "a,b\n1\n".into(),
        good.replace("2660", "-1"),
        good.replace("2660", "1e999"),
        good.replace("\"n_prompt\":512", "\"n_prompt\":-5"),
        good.replace("\"n_prompt\":512", "\"n_prompt\":\"many\""),
        good.replace("6738415616", "0"),
        good[..good.len() / 2].to_string(),
        "vendor,instance,gpu_model,tokens_per_s,test\nx,y,z,1,pp\n".into(),
        r#"{"benchmarks":[{"metrics":{}}],"time_per_output_token_ms":1}"#.to_string(),
        "SUT name\nScenario\nMode".into(),
        "[".repeat(100_000),
    ];
    for text in texts {
        let result = read_with("hostile.json", &text, &Overrides { quant: Some(Quant::F16), ..Overrides::default() });
        if let Err(message) = result {
            assert!(message.contains("hostile.json"), "{message}");
        } else {
            assert!(text.contains("6738415616") || text.contains("model_n_params"), "{text}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("a.csv.gz");
    std::fs::write(&broken, b"\x1f\x8b\x08\x00garbage").unwrap();
    assert!(evidence::read(&[broken], None, &Overrides::default()).unwrap_err().to_string().contains("decompressed"));
}

#[test]
fn impossible_lengths_are_left_out_and_never_overflow() {
    let header = "vendor,instance,mode,gpu,n_gpu,tp,model,dtype,prompt_tokens,output_tokens,max_num_seqs,strategy,\
                  concurrency,vllm,e2el_p50,itl_p50,output_throughput,request_throughput,ttft_p50";
    let read_lengths = |prompt: &str, generated: &str, concurrency: &str| {
        let row = format!(
            "aws,g6.xlarge,gpu,NVIDIA L4,1,1,org/m,bfloat16,{prompt},{generated},8,constant,{concurrency},0.22.1,2900,22,\
             167,1.3,103"
        );
        read_with("vllm.csv", &format!("{header}\n{row}\n"), &Overrides::default())
    };
    assert_eq!(read_lengths("256", "128", "4").unwrap().len(), 1);
    for wrong in ["1e300", "inf", "nan", "-5", "0", "18446744073709551615"] {
        for refused in [read_lengths(wrong, "128", "4"), read_lengths("256", wrong, "4")] {
            assert!(refused.unwrap_err().contains("lengths that cannot be"), "{wrong}");
        }
    }
    assert!(read_lengths("256", "128", "1e300").unwrap_err().contains("a batch and lengths"));
    // How many were in flight is not guessed.
    for unknown in ["nan", "-1"] {
        let refused = read_lengths("256", "128", unknown).unwrap_err();
        assert!(refused.contains("1 whose requests in flight cannot be told"), "{refused}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    use sizewell::record::comparable::obstacle;
    let mut here = read("a.json", &format!("[{}]", llama(0, 128, 54.0)))[0].record.clone();
    (here.arrival, here.metric_definitions) = ("closed_batch".into(), "vLLM and MLPerf: TPOT".into());
    let with = |arrival: &str, definitions: &str| {
        let mut other = here.clone();
        (other.arrival, other.metric_definitions) = (arrival.into(), definitions.into());
        obstacle(&here, &other)
    };
    assert_eq!(with("closed_8", "mlperf: percentiles are order statistics"), None);
    assert!(with("open_poisson", "vllm").unwrap().contains("closed loop"));
    assert!(with("closed_8", "guidellm: TPOT").unwrap().contains("guidellm"));
}

#[test]
fn a_prefill_behind_other_tokens_is_not_taken_for_a_longer_prompt() {
    let deep = |prompt, generated| llama(prompt, generated, 2000.0).replace("\"n_depth\":0", "\"n_depth\":4096");
    let runs = read("a.json", &format!("[{},{}]", deep(512, 0), deep(0, 128)));
    let run = one(&runs);
    assert_eq!(
        (run.cases.len(), run.cases[0].key.case.prompt_tokens(), run.cases[0].key.case.gen_tokens()),
        (1, 4096, 128)
    );
    assert!(skipped(&runs)[0].reason.contains("behind other tokens"));
}

#[test]
fn naming_the_hardware_does_not_change_how_many_there_were() {
    let text = r#"[{"hw":"h200","conc":16,"model":"meta-llama/Llama-3.1-70B","framework":"vllm","precision":"bf16","isl":1024,
        "osl":1024,"tp":8,"tput_per_gpu":900.0,"median_ttft":0.35,"median_tpot":0.012},
        {"hw":"h200","conc":16,"model":"x","framework":"vllm","precision":"bf16","isl":1,"osl":1,"tput_per_gpu":9.0,"decode_tp":8}]"#;
    let overrides = Overrides { hardware: Some("NVIDIA H200".into()), ..Overrides::default() };
    let runs = read_with("agg.json", text, &overrides).unwrap();
    assert_eq!((one(&runs).record.accelerators, runs[0].record.engine.hardware.as_deref()), (8, Some("NVIDIA H200")));
}

#[test]
fn files_of_several_tools_keep_theirs_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let llama = file(folder.path(), "a.json", &format!("[{}]", llama(0, 128, 54.0)));
    let other = file(
        folder.path(),
        "b.json",
        r#"[{"hw":"h200","conc":1,"model":"phi-4","framework":"vllm","precision":"bf16","isl":9,"osl":9,"tput_per_gpu":9.0}]"#,
    );
    let runs = evidence::read(&[llama, other], None, &Overrides::default()).unwrap();
    let place = folder.path().join("imported");
    let reading = Evidence { runs, ..Evidence::default() };
    evidence::write(&place, &reading, Vec::new(), jiff::Timestamp::now()).unwrap();
    let tools: Vec<String> = Run::read_systems(&place)
        .unwrap()
        .into_iter()
        .map(|run| format!("{:?}", run.record.import.map(|import| (import.format, import.tool_version))))
        .collect();
    assert_eq!(tools, [r#"Some(("llama-bench", Some("51f311e0")))"#, r#"Some(("inferencex", None))"#]);
}
