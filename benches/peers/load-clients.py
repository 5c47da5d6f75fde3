#!/usr/bin/env python3
"""`sizewell load` against two public load clients, GuideLLM and NVIDIA AIPerf: one llama-server, the same requests.

Builds llama-server from the source that llama-cpp-python carries (PyPI), installs each client in its own venv, serves
models/reference with idle layers added (layers of zero output: the text stays, a token costs milliseconds), sends
each client's constant rates in turn for several rounds, and prints the medians as a Markdown table.

    cargo build --release
    python3 benches/peers/load-clients.py --work target/peers

The prompt cache is off and every prompt differs; each request is a stream of /v1/completions with max_tokens and
ignore_eos; the first five seconds of each run are warm-up and left out. By each request's own record, TTFT is the first
streamed token's time less the time at which the request was due ("due": GuideLLM writes it down, sizewell means it) or
was sent ("sent": GuideLLM, AIPerf), and TPOT is (last token - first token) / (tokens - 1). The server's own times of
the same requests, from its log, stand beside them: they differ from run to run more than the clients do, which
also take from the server's processor what they use.

GuideLLM imports torch for its data loader alone; where torch is not in its venv, a stand-in of that loader's five
names spares the gigabytes. Its prompts are made before the load starts and its clock is not touched.
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from importlib import metadata
from pathlib import Path

import llama_source

GUIDELLM, AIPERF = "0.8.1", "0.13.0"
WARM_UP = 5  # seconds
ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "models/reference"
OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
           "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DBUILD_SHARED_LIBS=OFF"]
STAND_IN = """
import sys
class Loader:
    __class_getitem__ = classmethod(lambda kind, item: kind)
    def __init__(self, dataset=None, collate_fn=None, **options):
        self.dataset, self.collate_fn = dataset, collate_fn
    def __iter__(self):
        return (self.collate_fn([item]) for item in self.dataset)
class DataLoader(Loader): pass
class IterableDataset(Loader): pass
class Generator:
    def manual_seed(self, seed): return self
def get_worker_info(): return None
utils = data = dataset = dataloader = sys.modules[__name__]
for name in ["utils", "utils.data", "utils.data.dataset", "utils.data.dataloader"]:
    sys.modules["torch." + name] = utils
"""
DEEPEN = """
import json, sys, numpy as np
from pathlib import Path
from safetensors.numpy import load_file, save_file
source, target, layers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config, tensors = json.loads((source / "config.json").read_text()), load_file(source / "model.safetensors")
own, config["num_hidden_layers"] = config["num_hidden_layers"], layers
for name in [name for name in tensors if name.startswith("model.layers.0.")]:
    out = name.endswith(("o_proj.weight", "down_proj.weight"))
    for layer in range(own, layers):
        tensors[name.replace(".0.", f".{layer}.", 1)] = np.zeros_like(tensors[name]) if out else tensors[name].copy()
target.mkdir(exist_ok=True)
(target / "config.json").write_text(json.dumps(config))
(target / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
save_file(tensors, target / "model.safetensors")
"""


def run(*command, **kwargs):
    return subprocess.run([str(part) for part in command], check=True, text=True, capture_output=True, **kwargs).stdout


def venv(folder, *packages):
    python = folder / "bin/python"
    if not python.exists():
        run(sys.executable, "-m", "venv", folder)
    if packages:
        run(python, "-m", "pip", "install", "--quiet", *packages)
    return python


def build(work):
    return llama_source.build(work, "build-server", OPTIONS, "llama-server") / "llama-server"


def model(work, writer, layers):
    """The reference with idle layers, as GGUF."""
    file = work / f"reference-{layers}.gguf"
    if not file.exists():
        run(writer, "-c", DEEPEN, REFERENCE, work / f"reference-{layers}", layers)
        run(writer, ROOT / "benches/peers/reference_to_gguf.py", work / f"reference-{layers}", file)
    return file


def tokenizer(work):
    """A folder that transformers reads without a hub."""
    folder = work / "tokenizer"
    folder.mkdir(exist_ok=True)
    shutil.copy(REFERENCE / "tokenizer.json", folder)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def install_guidellm(work):
    if not (work / "guidellm/ready").exists():
        python = venv(work / "guidellm", "--no-deps", f"guidellm=={GUIDELLM}")
        site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        wanted = metadata.Distribution.at(next(site.glob("guidellm-*.dist-info"))).requires
        # jinja2 comes with torch.
        venv(work / "guidellm", *(name for name in wanted if "extra ==" not in name and name != "torch"), "jinja2")
        if not (site / "torch").exists():
            (site / "torch.py").write_text(STAND_IN)
        (work / "guidellm/ready").touch()
    return work / "guidellm/bin/guidellm"


def install_aiperf(work):
    if not (work / "aiperf/bin/aiperf").exists():
        venv(work / "aiperf", f"aiperf=={AIPERF}")
    return work / "aiperf/bin/aiperf"


def serve(binary, gguf, args):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary, "-m", gguf, "--host", "127.0.0.1", "--port", port, "--parallel", args.slots,
               "-c", args.slots * 512, "-t", args.threads, "-tb", args.threads, "--no-ui", "--no-cache-prompt",
               "--cache-ram", 0, "--offline"]
    log = open(args.work / "server.log", "w")
    server = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
            return server, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.5)
    server.kill()
    sys.exit(f"llama-server does not answer: {args.work}/server.log")


def own_times(log, start, args):
    """What the server itself took over the run's prompts and tokens, medians in seconds."""
    text = log.read_bytes()[start:].decode()
    patterns = {"prefill": r"prompt eval time = +([0-9.]+) ms", "server": r"\| +eval time = .*\( *([0-9.]+) ms per"}
    return {name: statistics.median(float(ms) / 1e3 for ms in re.findall(pattern, text)[-args.requests:])
            for name, pattern in patterns.items()}


def check(name, requests, args):
    """Every request of the one shape, and as many as asked for."""
    shapes = {(prompt, tokens, cached or 0) for *_, prompt, tokens, cached in requests}
    if shapes != {(args.prompt, args.gen_tokens, 0)} or len(requests) != args.requests:
        sys.exit(f"{name}: {len(requests)} requests of (prompt, output, cached) tokens {shapes}")


def guidellm(program, url, rate, seed, folder, args):
    warm_up = round(WARM_UP * float(rate))
    count = args.requests + warm_up
    run(program, "run", "--backend", f"kind=openai_http,target={url},model=reference,request_format=/v1/completions",
        "--profile", f"kind=constant,rate={rate}", "--constraint", f"kind=max_requests,count={count}",
        "--tokenizer", f"kind=huggingface_auto,model={args.work / 'tokenizer'}",
        "--data", f"kind=synthetic_text,prompt_tokens={args.prompt},output_tokens={args.gen_tokens}",
        "--data-loader", f"kind=pytorch,samples={count}", "--seed", f"kind=static,value={seed}",
        "--output", f"kind=json,path={folder / 'guidellm.json'}", "--disable-console-interactive",
        cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1", "USE_TORCH": "NO"})
    done = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]["requests"]["successful"]
    done = sorted(done, key=lambda request: request["info"]["timings"]["targeted_start"])[warm_up:]
    rows = []
    for request in done:
        at, tokens = request["info"]["timings"], request["output_tokens"]
        first, last = at["first_token_iteration"], at["last_token_iteration"]
        rows.append((first - at["targeted_start"], first - at["request_start"], (last - first) / (tokens - 1),
                     request["prompt_tokens"], tokens, request["cached_tokens"]))
    check("guidellm", rows, args)
    due, sent, tpot = (statistics.median(row[column] for row in rows) for column in range(3))
    return {"due": due, "sent": sent, "tpot": tpot}


def aiperf(program, url, rate, seed, folder, args):
    count, warm_up = args.requests, round(WARM_UP * float(rate))
    run(program, "profile", "-m", "reference", "--url", url, "--endpoint-type", "completions", "--streaming",
        "--use-legacy-max-tokens", "--use-server-token-count", "--request-rate", rate, "--arrival-pattern", "constant",
        "--request-count", count, "--warmup-request-count", warm_up, "--num-dataset-entries", count + warm_up,
        "--isl", args.prompt, "--isl-stddev", 0, "--osl", args.gen_tokens, "--osl-stddev", 0,
        "--extra-inputs", "ignore_eos:true", "--tokenizer", args.work / "tokenizer", "--random-seed", seed,
        "--no-server-metrics", "--no-gpu-telemetry", "--ui", "none", "--export-level", "records",
        "--artifact-dir", folder / "aiperf", cwd=folder)
    rows = []
    for line in (folder / "aiperf/profile_export.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["metadata"]["benchmark_phase"] == "profiling":
            value = {name: metric["value"] for name, metric in record["metrics"].items()}
            tokens = value["usage_completion_tokens"]
            rows.append((value["time_to_first_token"] / 1e3,
                         (value["request_latency"] - value["time_to_first_token"]) / 1e3 / (tokens - 1),
                         value["usage_prompt_tokens"], tokens, value.get("usage_prompt_cache_read_tokens")))
    check("aiperf", rows, args)
    sent, tpot = (statistics.median(row[column] for row in rows) for column in range(2))
    return {"sent": sent, "tpot": tpot}


def sizewell(program, url, rate, seed, folder, args):
    # The server puts a token before the prompt; both other clients count it in.
    command = [program, "load", "--endpoint", url, "--api", "completions", "--rate", rate, "--arrivals", "constant",
               "--requests", args.requests, "--prompt", args.prompt - 1, "--gen-tokens", args.gen_tokens, "--warm-up",
               f"{WARM_UP}s", "--tokenizer", REFERENCE / "tokenizer.json", "--seed", seed, "--json",
               "-o", folder / "run"]
    try:
        report = run(*command)
    except subprocess.CalledProcessError as error:
        if error.returncode != 5:
            raise
        report = error.stdout
        print("sizewell calls this run invalid:", error.stderr.splitlines()[-1], file=sys.stderr)
    step = json.loads(report)["steps"][0]
    check("sizewell", [(step["prompt_tokens"], step["output_tokens"], 0)] * step["outcomes"]["ok"], args)
    return {"due": step["ttft_s"]["p50"]["value"], "tpot": step["tpot_s"]["p50"]["value"]}


def cell(values, digits=2):
    if not values:
        return "-"
    low, middle, high = (f"{at(values):.{digits}f}" for at in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def table(results):
    print("| rate, 1/s | client, TTFT from | TTFT p50, ms: client | sizewell | ratio "
          "| beyond the server's prefill, ms: client | sizewell "
          "| TPOT p50, ms: client | sizewell | ratio | by the server's own: client | sizewell |")
    print("|---" * 12 + "|")
    for rate, clients in results.items():
        own = clients.get("sizewell", [])
        for client, origin in [("guidellm", "due"), ("guidellm", "sent"), ("aiperf", "sent")]:
            cells, theirs = [rate, f"{client}, {origin}"], clients[client]
            for name, mine in [(origin, "due"), ("tpot", "tpot")]:
                cells += [cell([run[name] * 1e3 for run in theirs]), cell([run[mine] * 1e3 for run in own]),
                          cell([a[mine] / b[name] for a, b in zip(own, theirs)], 3)]
                for runs, key in [(theirs, name), (own, mine)]:
                    cells.append(cell([run[key] / run["server"] for run in runs], 3) if name == "tpot" else
                                 cell([(run[key] - run["prefill"]) * 1e3 for run in runs]))
            print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "target/peers")
    parser.add_argument("--sizewell", type=Path, default=ROOT / "target/release/sizewell")
    parser.add_argument("--public-only", action="store_true")
    parser.add_argument("--rates", default="1,2,4")
    numbers = {"rounds": 3, "requests": 40, "prompt": 128, "gen-tokens": 32, "layers": 32, "slots": 8}
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=1, help="of the server: the clients need a core of their own")
    args = parser.parse_args()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    writer = venv(args.work / "writer", "gguf", "safetensors", "numpy")
    binary, gguf = build(args.work), model(args.work, writer, args.layers)
    tokenizer(args.work)
    clients = [(guidellm, install_guidellm(args.work)), (aiperf, install_aiperf(args.work))]
    if not args.public_only:
        clients.append((sizewell, args.sizewell.resolve()))
    rates = args.rates.split(",")
    results = {rate: {client.__name__: [] for client, _ in clients} for rate in rates}
    server, url = serve(binary, gguf, args)
    try:
        for turn in range(args.rounds):
            for rate in rates:
                shift = turn % len(clients)
                for client, program in clients[shift:] + clients[:shift]:
                    folder = args.work / f"runs/{turn}-{rate}-{client.__name__}"
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(parents=True)
                    start = (args.work / "server.log").stat().st_size
                    figures = client(program, url, rate, turn + 1, folder, args)
                    figures |= own_times(args.work / "server.log", start, args)
                    results[rate][client.__name__].append(figures)
                    print(turn, rate, client.__name__, figures, file=sys.stderr, flush=True)
    finally:
        server.terminate()
        server.wait()
    table(results)
    version = subprocess.run([binary, "--version"], text=True, capture_output=True)
    built = next(line.removeprefix("version: ") for line in (version.stdout + version.stderr).splitlines()
                 if line.startswith("version"))
    own = run(args.sizewell, "--version").strip()
    print(f"\nllama-server of llama-cpp-python {llama_source.VERSION} ({built}), {args.threads} threads, {args.slots} slots; guidellm "
          f"{GUIDELLM}; aiperf {AIPERF}; {own}; {args.layers} layers, {args.prompt} + {args.gen_tokens} tokens, "
          f"{args.requests} requests a run, {args.rounds} rounds: median (lowest-highest).")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{(error.stdout or '')[-1000:]}\n{(error.stderr or '')[-2000:]}")
