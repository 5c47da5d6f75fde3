//! Files of tools that are not read are named, with what to do instead.

use super::read;

#[test]
fn what_is_not_read_is_named() {
    let cases = [
        (
            "{\"avg_latency\": 1.0, \"latencies\": [1.0], \"percentiles\": {\"50\": 1.0}}",
            "vllm bench latency",
            "vllm bench serve",
        ),
        (
            "{\"elapsed_time\": 1.0, \"num_requests\": 2, \"total_num_tokens\": 3, \"requests_per_second\": 1.0, \
             \"tokens_per_second\": 1.0}",
            "vllm bench throughput",
            "--save-result",
        ),
        (
            "============ Serving Benchmark Result ============\nSuccessful requests:  10\n",
            "printed summary",
            "--save-result",
        ),
        (
            "[BENCHMARK] num_samples 500\n[BENCHMARK] total_latency(ms) 52372.21\n",
            "gptManagerBenchmark",
            "trtllm-bench",
        ),
        ("Metric,avg,min,max\nTime to First Token (ms),18.26,11,106\n", "AIPerf", "profile_export_aiperf.json"),
        ("Concurrency,Inferences/Second,Client Send,p50 latency\n1,2,3,4\n", "perf_analyzer", "vllm bench serve"),
        (
            "version: '0.2'\nscenario:\n  load: x\nresults:\n  latency:\n    time_to_first_token:\n      mean: 1\n",
            "llm-d's benchmark report in YAML",
            "yq -o json",
        ),
        (
            "[{\"model_id\": \"a\", \"energy_per_token_joules\": 1.0, \"output_throughput_tokens_per_sec\": 2.0}]",
            "ML.ENERGY",
            "results.json",
        ),
        (
            "{\"kind\": \"turn\", \"recorded_tool_delay_ms\": 1.0, \"normalization\": {\"normalized_generation_ms\": 1.0}}",
            "AgentPerf",
            "sizewell load --endpoint",
        ),
        ("|    PP |     TG |    B |   N_KV | S_PP t/s | S_TG t/s |\n", "llama-batched-bench", "--output-format jsonl"),
        (":::MLLOG {\"key\": \"a\"}\n", "MLPerf LoadGen", "mlperf_log_summary.txt"),
    ];
    for (text, tool, instead) in cases {
        let why = read("a.txt", text).unwrap_err();
        assert!(why.contains(tool) && why.contains("which is not read: ") && why.contains(instead), "{why}");
    }
    assert!(read("a.txt", "hello\n").unwrap_err().contains("not recognised"));
}
