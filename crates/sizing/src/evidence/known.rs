//! Results of tools that are known and not read: what each is, and what to do instead.

use super::source::Source;

/// One kind of file.
struct UnreadableFormat {
    tool: &'static str,
    /// Texts that all stand in it.
    marks: &'static [&'static str],
    instead: &'static str,
}

const SERVE: &str = "measure the server with `vllm bench serve --save-result`, or with `sizewell load --endpoint`";
const NO_TOKENS: &str = "it knows of no tokens: measure the server with `vllm bench serve --save-result`, or with `sizewell \
                         load --endpoint`";

/// The more particular ones first.
static KNOWN: [UnreadableFormat; 25] = [
    UnreadableFormat {
        tool: "vllm bench latency's result",
        marks: &["\"avg_latency\"", "\"latencies\"", "\"percentiles\""],
        instead: "it names no model, batch or lengths, and has the time of whole batches only: run `vllm bench serve \
                  --save-result` for the times of tokens",
    },
    UnreadableFormat {
        tool: "vllm bench throughput's result",
        marks: &["\"elapsed_time\"", "\"total_num_tokens\"", "\"tokens_per_second\""],
        instead: "it names no model or lengths, and has no times of requests: run `vllm bench serve --request-rate inf \
                  --save-result`",
    },
    UnreadableFormat {
        tool: "vLLM's result in PyTorch's form (.pytorch.json)",
        marks: &["\"benchmark_values\"", "\"extra_info\"", "\"benchmark\""],
        instead: "give the file beside it, without `.pytorch`",
    },
    UnreadableFormat {
        tool: "vllm bench startup's result",
        marks: &["\"avg_cold_startup_time\""],
        instead: "the time to load is measured here with `sizewell coldstart`",
    },
    UnreadableFormat {
        tool: "the printed summary of vLLM's or SGLang's serving benchmark",
        marks: &["Serving Benchmark Result", "Successful requests:"],
        instead: "run it with --save-result (vLLM) or --output-file (SGLang), and give that file",
    },
    UnreadableFormat {
        tool: "SGLang's bench_one_batch or bench_offline_throughput",
        marks: &["\"prefill_latency\"", "\"overall_throughput\""],
        instead: "run `python -m sglang.bench_serving --output-file`",
    },
    UnreadableFormat {
        tool: "SGLang's bench_offline_throughput",
        marks: &["\"total_latency\"", "\"last_gen_throughput\""],
        instead: "run `python -m sglang.bench_serving --output-file`",
    },
    UnreadableFormat {
        tool: "gptManagerBenchmark's output",
        marks: &["[BENCHMARK] num_samples", "[BENCHMARK] total_latency(ms)"],
        instead: "it names no model and no lengths: run `trtllm-bench --model M throughput --streaming --report_json FILE`",
    },
    UnreadableFormat {
        tool: "gptManagerBenchmark's table",
        marks: &["num_samples", "seq_throughput(seq/sec)", "token_throughput(token/sec)"],
        instead: "it names no model and no lengths: run `trtllm-bench --model M throughput --streaming --report_json FILE`",
    },
    UnreadableFormat {
        tool: "the printed report of trtllm-bench",
        marks: &["PERFORMANCE OVERVIEW", "Request Throughput (req/sec):"],
        instead: "run it with --report_json FILE and --streaming, and give that file",
    },
    UnreadableFormat {
        tool: "the CSV of AIPerf or GenAI-Perf",
        marks: &["Metric,", "Time", "First Token", "(ms)"],
        instead: "it names no model and no load: give profile_export_aiperf.json (profile_export_genai_perf.json) beside it",
    },
    UnreadableFormat {
        tool: "AIPerf's record of single requests",
        marks: &["\"metadata\"", "\"benchmark_phase\"", "\"request_start_ns\""],
        instead: "give profile_export_aiperf.json beside it",
    },
    UnreadableFormat { tool: "perf_analyzer's CSV", marks: &["Inferences/Second", "Client Send"], instead: NO_TOKENS },
    UnreadableFormat {
        tool: "llm-d's benchmark report in YAML",
        marks: &["scenario:", "time_to_first_token:", "version:"],
        instead: "make JSON of it (`yq -o json FILE`)",
    },
    UnreadableFormat {
        tool: "GuideLLM's report in YAML",
        marks: &["benchmarks:", "time_per_output_token_ms:"],
        instead: "make JSON of it (`yq -o json FILE`), or run it with --output-path benchmarks.json",
    },
    UnreadableFormat {
        tool: "the ML.ENERGY leaderboard's rows",
        marks: &["\"energy_per_token_joules\"", "\"output_throughput_tokens_per_sec\""],
        instead: "they have no times to the first token: give the benchmark's own results.json of the configuration",
    },
    UnreadableFormat {
        tool: "a replay of AgentPerf",
        marks: &["recorded_tool_delay_ms", "normalized_"],
        instead: "its turns differ in length and wait for tools: measure the server with `sizewell load --endpoint --trace`, \
                  or with `vllm bench serve --save-result`",
    },
    UnreadableFormat {
        tool: "InferenceX's evaluations",
        marks: &["\"em_strict\"", "\"task\""],
        instead: "they are of quality, not of speed: give the agg_*.json files",
    },
    UnreadableFormat {
        tool: "MLPerf LoadGen's detailed log",
        marks: &[":::MLLOG"],
        instead: "give mlperf_log_summary.txt beside it",
    },
    UnreadableFormat {
        tool: "the printed table of llama-batched-bench",
        marks: &["S_PP t/s", "S_TG t/s"],
        instead: "run it with --output-format jsonl",
    },
    UnreadableFormat {
        tool: "the printed times of llama.cpp",
        marks: &["prompt eval time", "eval time", "tokens per second"],
        instead: "they are of one request: run llama-bench -o json",
    },
    UnreadableFormat { tool: "ollama's printed times", marks: &["prompt eval rate:", "eval rate:"], instead: SERVE },
    UnreadableFormat {
        tool: "hyperfine's result",
        marks: &["\"command\"", "\"exit_codes\"", "\"stddev\""],
        instead: NO_TOKENS,
    },
    UnreadableFormat { tool: "oha's result", marks: &["\"latencyPercentiles\"", "\"rps\""], instead: NO_TOKENS },
    UnreadableFormat {
        tool: "lm-evaluation-harness's result",
        marks: &["\"n-shot\"", "\"versions\""],
        instead: "it is of quality, \
        not of speed",
    },
];

/// What a file is that no importer reads, and what to do.
pub(crate) fn named(source: &Source) -> Option<String> {
    let known = KNOWN.iter().find(|known| known.marks.iter().all(|mark| source.text.contains(mark)))?;
    Some(format!("it is {}, which is not read: {}", known.tool, known.instead))
}
