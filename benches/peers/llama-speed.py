#!/usr/bin/env python3
"""Speed of sizewell against llama.cpp's own llama-bench: the same GGUF files, machine and thread count, in alternation.

Builds llama-bench from the source that llama-cpp-python carries (PyPI), writes a preset with random weights at each level,
and prints prefill of 128 tokens and decoding behind 128 tokens of both with their ratios as a Markdown table, each one's
share of the read bandwidth while decoding (of the roof that is measured in the same round), how many times faster a batch of
16 decodes than one sequence, and what loading takes. Speed does not depend on the weights' values.

    cargo build --release
    python3 benches/peers/llama-speed.py --work target/peers [--model tinyllama-1.1b --threads 2 --rounds 3]
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_source

LEVELS = {"F16": "f16", "Q8_0": "int8", "Q4_K_M": "int4", "Q4_0": "q4_0"}
PROMPT, GENERATED = 128, 64
ROOT = Path(__file__).resolve().parents[2]
SIZEWELL = ROOT / "target/release/sizewell"
OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
           "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DBUILD_SHARED_LIBS=OFF"]


def run(*command, **kwargs):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **kwargs)
    if done.returncode not in (0, 5):  # 5: sizewell doubts its figures, which the spread over rounds shows too
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def build(work):
    return llama_source.build(work, "build-server", OPTIONS, "llama-bench") / "llama-bench"


def theirs(binary, file, threads):
    def rate(*lengths):
        lines = run(binary, "-m", file, *lengths, "-r", 3, "-t", threads, "-o", "jsonl").splitlines()
        return json.loads(lines[-1])["avg_ts"]
    return rate("-p", PROMPT, "-n", 0), rate("-p", 0, "-n", GENERATED, "-d", PROMPT)


def ours(file, level, threads):
    with tempfile.TemporaryDirectory() as folder:
        run(SIZEWELL, "profile", "--quiet", "--no-ceilings", "--model", file, "--quant", level, "--batch", "1,16",
            "--prompt", PROMPT, "--gen-tokens", GENERATED + 1, "--threads", threads, "--max-time", 6, "-o", f"{folder}/run")
        one, many = csv.DictReader(open(f"{folder}/run/cases.csv"))
    number = lambda row, name: float(row[name])
    # What a step reads of the file, for each byte of it.
    share = number(one, "decode_read_bytes") / number(one, "weight_bytes")
    extra = {"decode_bytes": number(one, "decode_read_bytes"), "file_bytes": os.path.getsize(file) * share,
             "batch16": number(many, "decode_tokens_per_s") / number(one, "decode_tokens_per_s"),
             "load": number(one, "load_s"), "peak": number(one, "peak_device_bytes") / os.path.getsize(file)}
    return number(one, "prefill_tokens_per_s"), number(one, "decode_tokens_per_s"), extra


def roof(threads):
    """Bytes a second that the machine reads right now."""
    records = json.loads(run(SIZEWELL, "ceilings", "--quiet", "--json", "--time", 0.5, "--threads", threads))
    return max(record["best"] for record in records if record["kind"] == "read_bandwidth" and record["threads"] == threads)


def cell(values):
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "target/peers")
    parser.add_argument("--model", default="tinyllama-1.1b")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    binary = build(work)
    files = work / f"speed-{args.model}"
    files.mkdir(exist_ok=True)
    rates, extras = {}, {}
    for name, level in LEVELS.items():
        file = files / f"{level}.gguf"
        if not file.exists():
            run(SIZEWELL, "models", "synth", "--quiet", "--model", args.model, "--quant", level, "-o", file)
        roofs = extras.setdefault(name, [])
        for index in range(args.rounds):
            roofs.append(roof(args.threads))
            for who in (["llama.cpp", "sizewell"] if index % 2 == 0 else ["sizewell", "llama.cpp"]):
                measured = theirs(binary, file, args.threads) if who == "llama.cpp" else ours(file, level, args.threads)
                rates.setdefault((name, who), []).append(measured)
                print(name, index, who, measured, file=sys.stderr)
    print("| level | prefill 128: llama.cpp | sizewell | ratio | decode at 128: llama.cpp | sizewell | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in LEVELS:
        cells = [name]
        for part in (0, 1):
            peer, own = ([rate[part] for rate in rates[name, who]] for who in ("llama.cpp", "sizewell"))
            cells += [cell(peer), cell(own), cell([b / a for a, b in zip(peer, own)])]
        print("| " + " | ".join(cells) + " |")
    print("\n| level | share of the read bandwidth: llama.cpp | sizewell | batch 16 against 1 | load, s "
          "| peak memory over the file |")
    print("|---|---|---|---|---|---|")
    for name in LEVELS:
        roofs = extras[name]
        own = [rate[2] for rate in rates[name, "sizewell"]]
        theirs_rates = [rate[1] for rate in rates[name, "llama.cpp"]]
        cells = [name, cell([rate * each["file_bytes"] / top for rate, each, top in zip(theirs_rates, own, roofs)]),
                 cell([rate[1] * rate[2]["decode_bytes"] / top for rate, top in zip(rates[name, "sizewell"], roofs)]),
                 cell([each["batch16"] for each in own]), cell([each["load"] for each in own]),
                 cell([each["peak"] for each in own])]
        print("| " + " | ".join(cells) + " |")
    print(f"\n{args.model}, random weights, {args.threads} threads; llama.cpp of llama-cpp-python {llama_source.VERSION}; tokens/s, "
          f"{args.rounds} rounds in turn: median (lowest to highest).")


if __name__ == "__main__":
    main()
