#!/usr/bin/env python3
"""Perplexity and KL divergence of sizewell against llama.cpp's own perplexity tool: one text, the same GGUF files.

Builds llama-perplexity and llama-quantize from the source that llama-cpp-python carries (PyPI), writes models/reference
as GGUF, quantizes it, and prints both programs' figures with their ratios as a Markdown table.

    cargo build --release
    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install gguf safetensors numpy
    /tmp/peers/bin/python benches/peers/llama-quality.py /tmp/llama-quality
"""
import json
import re
import subprocess
import sys
from pathlib import Path

import llama_source

LEVELS = ["Q8_0", "Q6_K", "Q5_K_S", "Q4_K_S", "Q4_0", "Q3_K_S", "Q2_K"]
CONTEXT = "512"
ROOT = Path(__file__).resolve().parents[2]


def run(*command, **kwargs):
    return subprocess.run([str(part) for part in command], check=True, text=True, capture_output=True, **kwargs)


def build(folder):
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
               "-DLLAMA_BUILD_SERVER=OFF", "-DBUILD_SHARED_LIBS=OFF"]
    return llama_source.build(folder, "build", options, "llama-perplexity", "llama-quantize")


def number(text, name):
    return float(re.search(rf"^.*{re.escape(name)}\s*:\s*([0-9.]+)", text, re.MULTILINE).group(1))


def theirs(binaries, folder, level):
    file = folder / f"reference-{level}.gguf"
    run(binaries / "llama-quantize", "--pure", folder / "reference-f16.gguf", file, level)
    done = run(binaries / "llama-perplexity", "-m", file, "--kl-divergence", "--kl-divergence-base", folder / "base.kld")
    text = done.stdout + done.stderr
    return {
        "perplexity": number(text, "Mean PPL(Q)"),
        "kl_divergence_mean": number(text, "Mean    KLD"),
        "top1_agreement": number(text, "Same top p") / 100,
    }


def ours(folder, level, text):
    """By the level's own file, against the same f16 file."""
    output = folder / f"run-{level}"
    subprocess.run(["rm", "-rf", str(output)], check=True)
    command = [ROOT / "target/release/sizewell", "--quiet", "quality", "--data", text, "--context", CONTEXT, "--no-speed",
               "--json", "-o", output, "--model", folder / f"reference-{level}.gguf"]
    if level != "f16":
        command += ["--reference", folder / "reference-f16.gguf"]
    record = json.loads(run(*command).stdout)
    own = record["quality"]["variants"][0 if level == "f16" else 1]["quant"]
    return {row["metric"]: row["value"] for row in record["figures"] if row["quant"] == own}


def main():
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    binaries, text = build(folder), ROOT / "models/reference/text.txt"
    reference = folder / "reference-f16.gguf"
    run(sys.executable, ROOT / "benches/peers/reference_to_gguf.py", ROOT / "models/reference", reference)
    done = run(binaries / "llama-perplexity", "-m", reference, "-f", text, "-c", CONTEXT, "--kl-divergence-base",
               folder / "base.kld")
    whole = float(re.search(r"PPL = ([0-9.]+)", done.stdout + done.stderr).group(1))
    mine = ours(folder, "f16", text)["perplexity"]
    print(f"| level | perplexity: llama.cpp | sizewell | ratio | mean KL, nats: llama.cpp | sizewell | ratio | same top: llama.cpp | sizewell |")
    print("|---|---|---|---|---|---|---|---|---|")
    print(f"| F16 | {whole:.4f} | {mine:.4f} | {mine / whole:.5f} | - | - | - | - | - |")
    for level in LEVELS:
        a, b = theirs(binaries, folder, level), ours(folder, level, text)
        cells = [level, f"{a['perplexity']:.4f}", f"{b['perplexity']:.4f}", f"{b['perplexity'] / a['perplexity']:.5f}",
                 f"{a['kl_divergence_mean']:.6f}", f"{b['kl_divergence_mean']:.6f}",
                 f"{b['kl_divergence_mean'] / a['kl_divergence_mean']:.3f}", f"{a['top1_agreement']:.4f}",
                 f"{b['top1_agreement']:.4f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stderr[-2000:]}")
