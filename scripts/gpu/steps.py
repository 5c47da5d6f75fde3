"""What the three calls of gpu-verify run, in the order of what is worth most."""

import glob
import json
import os
import pathlib
import re
import sys
import sysconfig

from runner import ABSENT, DOUBTFUL, FAILED, OK, Absent, Step, is_there, judge_plain, last_line

HERE = pathlib.Path(__file__).resolve().parent
# What ncu reads of each kernel of a decode step.
NCU_METRICS = (
    "gpu__time_duration.sum,dram__bytes_read.sum.per_second,dram__throughput.avg.pct_of_peak_sustained_elapsed,"
    "sm__inst_executed.avg.per_cycle_active,launch__registers_per_thread,"
    "sm__warps_active.avg.pct_of_peak_sustained_active"
)


class Settings:
    """What the environment asks for, and the programs."""

    def __init__(self, environ, sizewell, decoder_tests, device, work):
        self.sizewell = sizewell
        self.decoder_tests = decoder_tests
        self.device = device
        self.work = pathlib.Path(work)
        self.model = environ.get("MODEL", "llama-3.1-8b")
        self.small_model = environ.get("SMALL_MODEL", "llama-3.2-1b")
        self.prompt = environ.get("PROMPT", "2048")
        self.gen = environ.get("GEN", "128")
        self.quants = environ.get("QUANTS", "bf16,int8,int4")
        self.batches = environ.get("BATCHES", "1,8")
        self.seconds = environ.get("MAX_TIME", "6")
        self.meter_seconds = environ.get("METER_TIME", "3")
        self.first_run = environ.get("FROM", "")
        # More arguments of the sweep's `profile`.
        self.more = environ.get("MORE", "").split()
        # For cuBLASLt alone: PyTorch brings libraries of its own, which these must not replace.
        self.libraries = {"LD_LIBRARY_PATH": library_path(environ)} if library_path(environ) else {}

    def facts(self):
        """What the table says of how it was measured."""
        # Another driver than the machine's: a rehearsal, whatever the card is called.
        return {
            "device": self.device,
            "model": self.model,
            "prompt": self.prompt,
            "gen": self.gen,
            "quants": self.quants,
            "batches": self.batches,
            "driver_library": os.environ.get("SIZEWELL_CUDA"),
        }


def library_path(environ):
    """LD_LIBRARY_PATH with the folders that have cuBLASLt behind what stands there: of this Python's packages (the same
    library as PyTorch's, so that both are compared like for like), then of a toolkit."""
    patterns = [
        f"{folder}/nvidia/*/lib/libcublasLt.so.*"
        for folder in dict.fromkeys([sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]])
    ]
    patterns += ["/usr/local/cuda*/lib64/libcublasLt.so.*", "/usr/local/cuda*/targets/*/lib/libcublasLt.so.*"]
    found = [os.path.dirname(path) for pattern in patterns for path in sorted(glob.glob(pattern), reverse=True)]
    known = [environ["LD_LIBRARY_PATH"]] if environ.get("LD_LIBRARY_PATH") else []
    return ":".join(dict.fromkeys(known + found))


def at_most(asked, most):
    """The first of the numbers that are asked for, or `most`."""
    first = asked.split(",")[0]
    return first if float(first) < most else str(most)


def profile(settings, folder, model, quants, batches, prompt, gen, seconds, *more):
    """Arguments of `sizewell profile`."""
    return [
        settings.sizewell,
        "profile",
        "--device",
        settings.device,
        "--model",
        model,
        "--quant",
        quants,
        "--batch",
        batches,
        "--prompt",
        prompt,
        "--gen-tokens",
        gen,
        "--max-time",
        seconds,
        "-o",
        folder,
        *more,
    ]


def first_call(s):
    """Does it run, are its results right, and what are the roofs, beside those that PyTorch sees."""
    ceilings = [s.sizewell, "ceilings", "--device", s.device, "--json", "--time"]
    kernel_cache = {"SIZEWELL_PTX": "1", "CUDA_CACHE_PATH": s.work / "cache-jit", "CUDA_CACHE_MAXSIZE": 1 << 30}
    short = [s.model, "bf16", "1", at_most(s.prompt, 512), s.gen, at_most(s.seconds, 2)]
    small = [s.small_model, "int4", "1", at_most(s.prompt, 64), at_most(s.gen, 32), "1"]
    return card_steps(s) + [
        Step("ceilings", 150, ceilings + [os.environ.get("CEILING_TIME", "0.5")], s.libraries),
        Step("logits", 120, decoder_tests(s), {"SIZEWELL_GPU_TESTS": "1", **s.libraries}, judge_logits),
        Step("peers", 90, [sys.executable, HERE / "peers.py", s.device, "0.3"], judge=judge_soft),
        Step("first", 120, profile(s, "first", *short, "--no-ceilings"), s.libraries),
        # The same start by the machine code that the program carries, and twice by PTX: with no kernel compiled yet, and
        # with what that has left in the driver's cache.
        Step("kernels_code", 60, ceilings + ["0.001"], s.libraries),
        Step("kernels_cold", 90, ceilings + ["0.001"], {**kernel_cache, **s.libraries}),
        Step("kernels_warm", 60, ceilings + ["0.001"], {**kernel_cache, **s.libraries}),
        Step(
            "coldstart",
            90,
            [
                s.sizewell,
                "coldstart",
                "--model",
                s.small_model,
                "--device",
                s.device,
                "--quant",
                "bf16",
                "--prompt",
                small[3],
                "--repeat",
                "2",
                "-o",
                "coldstart",
                "--json",
            ],
            s.libraries,
        ),
        Step(
            "memcheck",
            60,
            lambda: [
                is_there("compute-sanitizer"),
                "--tool",
                "memcheck",
                "--error-exitcode",
                "9",
                *decoder_tests(s)(),
                "every_level",
            ],
            {"SIZEWELL_GPU_TESTS": "1"},
            judge_memcheck,
        ),
        Step(
            "ncu",
            60,
            lambda: [
                is_there("ncu"),
                "--clock-control",
                "none",
                "--csv",
                "--launch-skip",
                "2000",
                "-c",
                "48",
                "--metrics",
                NCU_METRICS,
                *profile(s, "ncu", *small, "--no-ceilings"),
            ],
            judge=judge_ncu,
        ),
    ]


def second_call(s):
    """The sweep with energy by both meters, what the metering costs, and how the meters move."""
    prompt = [s.prompt, s.gen, s.seconds]
    return card_steps(s) + [
        Step("sweep", 430, profile(s, "sweep", s.model, s.quants, s.batches, *prompt, *s.more), s.libraries, least=60),
        Step("energy", 20, [sys.executable, HERE.parent / "check-energy", "sweep"], judge=judge_energy, least=2),
        Step(
            "unmetered",
            90,
            profile(s, "unmetered", s.model, s.quants.split(",")[0], s.batches.split(",")[0], *prompt, "--no-ceilings"),
            {"SIZEWELL_NVML": "/nonexistent", **s.libraries},
            least=40,
        ),
        Step("meters", 60, [sys.executable, HERE / "meters.py", s.device, s.meter_seconds], judge=judge_soft),
        Step("cards", 120, lambda: every_card(s), s.libraries),
    ]


def third_call(s):
    """The same model on another kind of card, and the first card's run projected to it."""
    batch = s.batches.split(",")[0]
    return card_steps(s) + [
        Step(
            "sweep",
            400,
            profile(s, "sweep", s.model, s.quants, batch, s.prompt, s.gen, s.seconds, *s.more),
            s.libraries,
            least=60,
        ),
        Step("projection", 30, lambda: projection(s), judge=judge_soft, least=2),
        Step("energy", 20, [sys.executable, HERE.parent / "check-energy", "sweep"], judge=judge_energy, least=2),
        Step("peers", 90, [sys.executable, HERE / "peers.py", s.device, "0.3"], judge=judge_soft),
    ]


CALLS = {"1": first_call, "2": second_call, "3": third_call}


def card_steps(s):
    """What the card is, by the driver's tool and by the program."""
    return [
        Step("card", 30, lambda: [is_there("nvidia-smi"), "-q"], least=2),
        Step("devices", 60, [s.sizewell, "devices", "--json"], least=2),
    ]


def decoder_tests(s):
    """The decoder's logits against the CPU's, or Absent."""

    def command():
        if not s.decoder_tests:
            raise Absent("the test program is not here: DECODER_TESTS names it")
        return [s.decoder_tests, "--nocapture", "--test-threads", "1"]

    return command


def devices(work):
    """What the program says of this machine; nothing where it was not asked."""
    try:
        return json.loads((pathlib.Path(work) / "devices.out").read_text())
    except (OSError, ValueError):
        return {}


def every_card(s):
    """Each card alone, in one run, where there are several."""
    usable = [d for d in devices(s.work).get("devices", []) if d["id"].startswith("cuda:") and d["usable"]]
    if len(usable) < 2:
        raise Absent(f"{len(usable)} usable cards: there is nothing to measure side by side")
    command = profile(s, "cards", s.small_model, "bf16", "1", s.prompt, s.gen, "1", "--no-ceilings")
    command[command.index("--device") + 1] = "cuda"
    return command


def projection(s):
    """The first card's run, projected to this one."""
    if not s.first_run:
        raise Absent("FROM names the archive of the second call on the first card, or its folder")
    sheet = devices(s.work).get("data_sheets", {}).get(s.device)
    if sheet is None:
        raise Absent(f"the catalog does not know what card {s.device} is")
    return [sys.executable, HERE / "project.py", s.sizewell, os.path.abspath(s.first_run), "sweep", sheet["id"]]


def judge_logits(status, out, err):
    """A test that passes because it ran nothing has shown nothing."""
    passed = re.search(r"test result: ok\. (\d+) passed", out)
    if status == 0 and passed and int(passed.group(1)) > 0:
        return OK, f"{passed.group(1)} tests"
    failed = re.findall(r"^test (?!result)(\S+) .*FAILED", out, re.MULTILINE)
    return FAILED, ("failed: " + ", ".join(failed)) if failed else last_line(err) or f"status {status}"


def judge_soft(status, out, err):
    """Of a script that says itself what it lacks, by status 4."""
    if status == 4:
        return ABSENT, last_line(err).replace("absent: ", "", 1)
    return judge_plain(status, out, err)


def judge_energy(status, out, err):
    """Where nothing measures power there is nothing to compare."""
    lacking = any(word in err for word in ("no meter", "has both a counter"))
    return (ABSENT, last_line(err)) if status == 1 and lacking else judge_plain(status, out, err)


def judge_memcheck(status, out, err):
    """The tool counts errors where it could watch at all; in some sandboxes it cannot."""
    count = re.search(r"ERROR SUMMARY: (\d+) error", out + err)
    if count is None or "not supported" in out + err:
        return ABSENT, f"compute-sanitizer could not watch: {last_line(out) or last_line(err)}"
    if int(count.group(1)) > 0:
        return FAILED, f"{count.group(1)} errors"
    return (OK, "0 errors") if status == 0 else (DOUBTFUL, f"0 errors, and the tests ended with status {status}")


def judge_ncu(status, out, err):
    """Reading counters needs rights that a container may not have."""
    rows = sum("dram__throughput" in line and line.startswith('"') for line in out.splitlines())
    if rows == 0:
        said = next((line for line in (out + err).splitlines() if "ERR" in line or "rror" in line), "")
        return ABSENT, f"ncu read nothing: {said.strip('= ') or f'status {status}'}"
    return OK, f"{rows} kernels"
