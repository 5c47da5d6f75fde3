"""All three calls without a card: on the driver's library that runs the kernels on the CPU, as an H100 and then as
an H200, with memory pools and two cards, and an NVML that plays a script. It shows that every step runs; figures
mean nothing."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from runner import say

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOUD = "REHEARSAL ON A FAKE DRIVER: NO CARD IS HERE, AND NO FIGURE BELOW MEANS ANYTHING"
H100 = {"FAKE_CUDA_NAME": "NVIDIA H100 80GB HBM3", "FAKE_CUDA_NOMINAL": str(81559 << 20)}
H200 = {"FAKE_CUDA_NAME": "NVIDIA H200", "FAKE_CUDA_NOMINAL": str(143771 << 20)}


def fake_driver(folder):
    """Builds the driver's library."""
    subprocess.run([ROOT / "tests/fake_cuda/build", folder], check=True)
    return folder / "libcuda.so"


def fake_cublaslt(folder):
    """Builds the library of products."""
    library = folder / "libcublasLt.so.13"
    subprocess.run(
        [
            os.environ.get("CXX", "c++"),
            "-std=c++20",
            "-O2",
            "-w",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            f"-Wl,-soname,{library.name}",
            "-o",
            library,
            ROOT / "tests/fake_cuda/cublaslt.cpp",
        ],
        check=True,
    )
    return library


def fake_nvml(folder):
    """Builds the NVML that plays scripts; nothing where there is no rustc, and then nothing measures power."""
    library = folder / "libfake-nvml.so"
    if shutil.which("rustc") is None:
        return "/nonexistent"
    subprocess.run(
        [
            "rustc",
            "--edition",
            "2024",
            "--crate-name",
            "fake_nvml",
            "--crate-type",
            "cdylib",
            "-O",
            "-o",
            library,
            ROOT / "tests/fake_nvml/library.rs",
        ],
        check=True,
    )
    return library


def programs():
    """SIZEWELL and DECODER_TESTS as they are set, else built without optimisation: that is enough here."""
    sizewell, tests = os.environ.get("SIZEWELL"), os.environ.get("DECODER_TESTS")
    if not sizewell:
        subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True)
        sizewell = ROOT / "target/debug/sizewell"
    if not tests:
        done = subprocess.run(
            ["cargo", "test", "--locked", "--test", "cuda_decoder", "--no-run", "--message-format=json"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        built = (json.loads(line).get("executable") for line in done.stdout.splitlines() if line.startswith("{"))
        tests = next(path for path in built if path and "cuda_decoder" in path)
    return os.path.abspath(sizewell), os.path.abspath(tests)


def environment(folder):
    """What all three calls share."""
    sizewell, tests = programs()
    model = ROOT / "scripts/gpu/tiny.toml"
    return {
        **os.environ,
        "SIZEWELL": sizewell,
        "DECODER_TESTS": tests,
        "SIZEWELL_CUDA": str(fake_driver(folder)),
        "SIZEWELL_NVML": str(fake_nvml(folder)),
        "FAKE_NVML_SCRIPT": "1",
        "SIZEWELL_CUBLASLT": str(fake_cublaslt(folder)),
        "FAKE_CUDA_SM": "90",
        "FAKE_CUDA_POOLS": "1",
        "FAKE_CUDA_CARDS": "2",
        "MODEL": str(model),
        "SMALL_MODEL": str(model),
        "PROMPT": "8",
        "GEN": "4",
        "BATCHES": "1,2",
        "MAX_TIME": "2",
        "CEILING_TIME": "0.001",
        "METER_TIME": "1",
    }


def rehearse(gpu_verify, out):
    """Runs the calls; returns the worst exit status."""
    out = pathlib.Path(out)
    folder = out / "fakes"
    folder.mkdir(parents=True, exist_ok=True)
    say(f"\n{LOUD}\n", sys.stdout)
    shared = environment(folder)
    worst = 0
    # The decoder's tests need more memory than the ceilings, which fill what there is, and more time than a card does.
    calls = (
        ("1", {**H100, "FAKE_CUDA_MEMORY": str(72 << 20), "BUDGET": "1800", "LIMITS": "logits=900"}),
        # Long enough for windows of energy.
        ("2", {**H100, "FAKE_CUDA_MEMORY": str(8 << 20), "BATCHES": "1", "MAX_TIME": "6"}),
        ("3", {**H200, "FAKE_CUDA_MEMORY": str(8 << 20), "FROM": str(out / "call2.tar.gz")}),
    )
    for call, card in calls:
        say(f"\n{LOUD}: CALL {call}\n", sys.stdout)
        status = subprocess.call([sys.executable, gpu_verify, call, out], env={**shared, **card})
        say(f"call {call} ends with status {status}; {LOUD}", sys.stdout)
        worst = max(worst, status)
    say(f"\narchives: {out}/call1.tar.gz, call2.tar.gz, call3.tar.gz\n{LOUD}", sys.stdout)
    return worst
