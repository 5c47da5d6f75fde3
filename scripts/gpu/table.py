#!/usr/bin/env python3
"""The table of a call of gpu-verify, of whatever is there.

    table.py FOLDER|ARCHIVE
"""

import csv
import pathlib
import sys
import tarfile
import tempfile

import goals
from evidence import Evidence

# Data sheet figures that a ceiling is held against: the column and its unit.
SHEET = {
    "read_bandwidth": ("memory_bandwidth_gb_per_s", 1e9),
    "write_bandwidth": ("memory_bandwidth_gb_per_s", 1e9),
    "copy_bandwidth": ("memory_bandwidth_gb_per_s", 1e9),
    "triad_bandwidth": ("memory_bandwidth_gb_per_s", 1e9),
    "gemv_int8": ("memory_bandwidth_gb_per_s", 1e9),
    "gemv_int4": ("memory_bandwidth_gb_per_s", 1e9),
    "fma_f32": ("fp32_tflops", 1e12),
    "tensor_f16": ("fp16_tflops", 1e12),
    "tensor_bf16": ("bf16_tflops", 1e12),
    "tensor_fp8": ("fp8_tflops", 1e12),
    "tensor_int8": ("int8_tops", 1e12),
    "tensor_int4": ("int4_tops", 1e12),
    "gemm_f16": ("fp16_tflops", 1e12),
    "gemm_bf16": ("bf16_tflops", 1e12),
}
# What PyTorch measured of the same.
PEER = {
    "read_bandwidth": "read_bandwidth",
    "copy_bandwidth": "copy_bandwidth",
    "gemm_f16": "gemm_f16",
    "gemm_bf16": "gemm_bf16",
    "tensor_f16": "gemm_f16",
    "tensor_bf16": "gemm_bf16",
    "tensor_int8": "gemm_int8",
    "tensor_fp8": "gemm_fp8",
}
TIMES = ("memory_latency", "l2_latency", "launch_time")
NEEDS_FEATURE = (
    "left out: candle's own kernels need a build with --features cuda, until the engine's own kernels serve this"
)


def scaled(value, unit):
    """A number with a prefix of three digits."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value * 1e9:.3g} n{unit}"


def unit_of(kind):
    """Of a ceiling."""
    if kind in TIMES:
        return "s"
    return "B/s" if "bandwidth" in kind or kind.startswith(("to_", "from_", "both_", "gemv")) else "op/s"


def share(part, whole):
    """As a percentage; a dash where one of them is not known."""
    return f"{part / whole:.1%}" if part and whole else "-"


def number(row, column, unit):
    """A column of a row with its unit; a dash where it is empty."""
    return scaled(float(row[column]), unit) if row.get(column) else "-"


def percent(row, column):
    """A column of shares."""
    return f"{float(row[column]):.1%}" if row.get(column) else "-"


def columns(heads, rows):
    """Lines with aligned columns, the first and the last to the left."""
    table = [heads] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    last = len(heads) - 1

    def line(row):
        cells = [cell.ljust(widths[i]) if i in (0, last) else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        return ("  " + "  ".join(cells)).rstrip()

    return [line(row) for row in table] if rows else []


def head(e):
    """What was measured, where and when."""
    lines = [f"Call {e.call.get('call', '?')} on {e.device}, {e.name()}, {e.call.get('begun', 'at an unknown time')}"]
    if e.call.get("driver_library"):
        lines += [
            "",
            "NO CARD: SIZEWELL_CUDA names a driver's library of its own. This is a rehearsal, and no figure below "
            "means anything.",
            "",
        ]
    for gpu in e.environment.get("gpus") or []:
        facts = [
            f"driver {gpu.get('driver')}",
            f"CUDA {gpu.get('cuda')}",
            f"limit {gpu.get('power_limit_w')} W",
            f"ECC {gpu.get('ecc')}",
            f"SM clock up to {gpu.get('max_sm_clock_mhz')} MHz",
        ]
        lines.append(f"  {gpu.get('name')}: {', '.join(facts)}")
    built = [f"sizewell {e.environment.get('git_revision')}, {e.environment.get('build')}"] if e.environment else []
    sheet = f"data sheet: {e.sheet['id']}" if e.sheet else "data sheet: the catalog does not know this card"
    lines += [f"  {line}" for line in built + [sheet] + ([f"PyTorch {e.torch}"] if e.torch else [])]
    if e.call.get("ended") not in (None, "in order"):
        lines.append(f"  ENDED EARLY: {e.call['ended']}")
    return lines


def steps(e):
    """What came of each step."""
    rows = [[s["name"], s["state"], f"{s['seconds']:.0f} s", s["word"][:110]] for s in e.call.get("steps", [])]
    return columns(["step", "state", "time", ""], rows)


def roofs(e):
    """The ceilings beside the data sheet and PyTorch."""
    rows = []
    for c in e.ceilings:
        kind, best = c["kind"], c["best"]
        column, factor = SHEET.get(kind, (None, 1))
        figure = e.sheet.get(column) if column else None
        peer = e.peer(PEER.get(kind, ""))
        rows.append(
            [
                kind,
                # The chip can do more than a lower bound.
                ("at least " if c.get("bound") == "lower" else "") + scaled(best, unit_of(kind)),
                scaled(c["median"], unit_of(kind)),
                share(best, figure and figure * factor),
                share(best, peer),
                c["how"][:70],
            ]
        )
    lines = columns(["roof", "best", "median", "of data sheet", "of PyTorch", "how"], rows)
    return lines + [f"  absent: {why[:150]}" for why in e.ceilings_absent]


def peers(e):
    """PyTorch's figures."""
    rows = [
        (
            [name, scaled(p["best"], ""), scaled(p["median"], ""), p["unit"]]
            if "best" in p
            else [name, "-", "-", p["error"][:90]]
        )
        for name, p in e.peers.items()
    ]
    return columns(["PyTorch", "best", "median", "unit"], rows)


def starts(e):
    """Kernels that are compiled at the first start, and cold starts of a model."""
    lines = []
    took = [e.steps.get(name) for name in ("kernels_code", "kernels_cold", "kernels_warm")]
    if all(step and step["state"] == "ok" for step in took):
        code, cold, warm = (step["seconds"] for step in took)
        lines.append(
            f"  the ceilings' kernels: {code:.1f} s by machine code; by PTX {cold:.1f} s with the driver's cache empty, "
            f"{warm:.1f} s with it filled: {cold - warm:.1f} s of compiling"
        )
    names = ("process_s", "read_s", "load_s", "copy_s", "warm_up_s", "first_token_s", "total_s")
    rows = [
        [c["cache"], c["outcome"]] + [scaled(c[name], "s") if c.get(name) is not None else "-" for name in names]
        for c in e.coldstarts
    ]
    return lines + columns(["cold start", "outcome"] + [name[:-2] for name in names], rows)


def cases(e):
    """Every measured case with its doubts."""
    rows = []
    parts = {**e.rows, **{f"cards/{name}": of for name, of in e.cards.items()}}
    for part, of_part in parts.items():
        for r in of_part:
            doubts = "" if r["outcome"] != "ok" or r["valid"] == "true" else f"doubtful: {r['invalid_reasons']}"
            words = "; ".join(filter(None, (doubts, r["reason"], r["message"], r["notes"])))
            rows.append(
                [
                    part,
                    r["quant"],
                    r["batch"],
                    f"{r['prompt_tokens']}+{r['gen_tokens']}",
                    r["outcome"],
                    number(r, "tpot_s", "s"),
                    number(r, "ttft_s", "s"),
                    percent(r, "achieved_bandwidth_fraction"),
                    percent(r, "achieved_flops_fraction"),
                    number(r, "energy_per_token_j", "J"),
                    number(r, "power_w", "W"),
                    words[:100],
                ]
            )
    return columns(
        [
            "case",
            "quant",
            "batch",
            "tokens",
            "outcome",
            "TPOT",
            "TTFT",
            "of read",
            "of compute",
            "J/token",
            "power",
            "doubts",
        ],
        rows,
    )


def logits(e):
    """The decoder against the CPU."""
    if "logits" not in e.steps:
        return []
    worst = [f"{level} {off:.2g}" for level, off in sorted(e.logits().items())]
    return [f"  {e.state('logits')}" + (f"; largest relative difference: {', '.join(worst)}" if worst else "")]


def energy(e):
    """By both meters, what metering costs, and how the meters move."""
    lines = [
        f"  {line}" for line in e.text("energy.out").splitlines() if "window" not in line or e.state("energy") != "ok"
    ][:20]
    lines += [f"  {line}" for line in windows(e.text("energy.out"))]
    lines += [f"  {line}" for line in overhead(e)]
    for m in e.meters:
        if "period_ms" in m:
            period = f"{m['period_ms']:.1f} ms" if m["period_ms"] else "not seen to change"
            lines.append(
                f"  meter {m['meter']}: a call {m['call_ms']:.3g} ms (p99 {m['call_p99_ms']:.3g}), period {period}"
            )
        elif "counter_w" in m:
            lines.append(
                f"  load {m['load']}: counter {m['counter_w']:.1f} W, readings {m['instant_w']:.1f} W (now), "
                f"{m['usage_w']:.1f} W (usage)"
            )
        elif "after_load_s" in m:
            lines.append(f"  {m['after_load_s']} s after the load: {m['instant_w']:.1f} W at {m['sm_mhz']} MHz")
        else:
            lines.append("  meters: " + ", ".join(f"{key} {value}" for key, value in m.items()))
    return lines


def windows(text):
    """All windows in a line."""
    ratios = [float(line.rsplit("ratio ", 1)[1]) for line in text.splitlines() if "window" in line and "ratio " in line]
    if not ratios:
        return []
    return [f"{len(ratios)} windows: readings over counter {min(ratios):.4f} to {max(ratios):.4f}"]


def overhead(e):
    """The same case with the meter and without."""
    for without in e.rows["unmetered"]:
        same = ("quant", "batch", "prompt_tokens", "gen_tokens")
        metered = next((r for r in e.rows["sweep"] if all(r[k] == without[k] for k in same)), None)
        if metered is None or not metered["tpot_s"] or not without["tpot_s"]:
            continue
        if "true" != metered["valid"] or "true" != without["valid"]:
            yield "what metering costs: cannot tell, as one of both rows is doubtful"
            continue
        base = float(without["tpot_s"])
        ratio = float(metered["tpot_s"]) / base - 1
        noise = sum(float(row["tpot_s_hi"]) - float(row["tpot_s_lo"]) for row in (metered, without)) / 2 / base
        yield f"metering costs {ratio:+.2%} of a token's time, give or take {noise:.2%} (goal: below 1 %)"


def projections(e):
    """What the first card's run says of this one, and what was measured."""
    rows, remarks = [], []
    for p in e.projections:
        for time in ("ttft_s", "tpot_s"):
            if time in p:
                of = p[time]
                ends = f"{scaled(of['predicted']['lo'], 's')} to {scaled(of['predicted']['hi'], 's')}"
                rows.append(
                    [
                        f"{p['quant']} b{p['batch']} {time[:-2].upper()}",
                        scaled(of["predicted"]["value"], "s"),
                        ends,
                        scaled(of["measured"], "s"),
                        f"{of['error']:+.1%}",
                        {True: "yes", False: "no", None: "doubtful"}[of["within"]],
                        p["tier"],
                    ]
                )
        if "refused" in p:
            remarks.append(f"  {p['quant']} b{p['batch']}: nothing is projected: {p['refused']}")
    first = e.projections[0] if e.projections else None
    lines = columns(["projected", "predicted", "its range", "measured", "off by", "within", "tier"], rows)
    return ([f"  from {first['from']} to {first['to']}"] if first else []) + lines + remarks


def kernels(e):
    """What ncu read."""
    lines = e.text("ncu.out").splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if begin is None:
        return []
    found = {}
    for row in csv.DictReader(lines[begin:]):
        if row.get("Metric Name") == "dram__throughput.avg.pct_of_peak_sustained_elapsed":
            try:
                found.setdefault(row["Kernel Name"][:40], []).append(float(row["Metric Value"].replace(",", "")))
            except ValueError:
                continue
    rows = [[name, len(of), f"{max(of):.1f} %"] for name, of in found.items()]
    return columns(["kernel by ncu", "launches", "of peak memory"], rows)


def verdicts(e):
    """The goals."""
    return [f"  {goal}: {what}" for goal, what in goals.judged(e)]


def unseen(e):
    """The list of docs/open.md of what was not seen on a GPU, row by row."""
    trace = e.text("sweep/power.csv").splitlines()
    foreign = {row.get("foreign_processes") for row in csv.DictReader(trace)} - {"", None}
    library = e.best("gemm_bf16", "cuBLASLt")
    why = next((line for line in e.ceilings_absent if "cuBLASLt" in line), e.state("ceilings"))
    graph = "a_recorded_step_says_what_single_steps_say ... ok" in e.text("logits.out")
    pairs = [
        ("power limits and their guard", "left out: the card's settings stay as they are"),
        ("every device alone", e.state("cards")),
        ("copy of the weights in coldstart", e.state("coldstart")),
        ("candle's own kernels", NEEDS_FEATURE),
        (
            "processes as NVML sees them",
            (
                f"foreign ones, as counted beside the readings: {', '.join(sorted(foreign))}"
                if foreign
                else e.state("sweep")
            ),
        ),
        ("NVML", f"devices {e.state('devices')}; energy {e.state('energy')}"),
        ("kernels, memory, launches", f"ceilings {e.state('ceilings')}; memcheck {e.state('memcheck')}"),
        ("ceilings, decoder", "the goals above"),
        ("logits of the decoder", e.state("logits")),
        ("decode steps as a graph", "the test of it passed" if graph else f"not seen: logits {e.state('logits')}"),
        ("cuBLASLt", f"{scaled(library, 'op/s')} in bf16" if library else f"not seen: {why[:150]}"),
        ("traffic on a card", NEEDS_FEATURE),
        ("quality on a card", NEEDS_FEATURE),
        ("projections", e.state("projection")),
    ]
    return columns(["row of docs/open.md", "what was seen"], [(row, seen[:130]) for row, seen in pairs])


PARTS = (
    ("Steps", steps),
    ("Roofs", roofs),
    ("PyTorch on the same card", peers),
    ("Logits", logits),
    ("Starts", starts),
    ("Cases", cases),
    ("Energy", energy),
    ("Kernels", kernels),
    ("Projection to this card", projections),
    ("Goals", verdicts),
    ("The list", unseen),
)


def render(folder):
    """The whole text. A part that cannot be made says so and costs no other."""
    evidence = Evidence(folder)
    lines = head(evidence)
    for title, part in PARTS:
        try:
            body = part(evidence)
        except Exception as error:  # A cut file must not cost the rest of the table.
            body = [f"  this part cannot be read: {type(error).__name__}: {error}"]
        lines += ["", title, *(body or ["  no figures"])]
    return "\n".join(lines) + "\n"


def main():
    path = pathlib.Path(sys.argv[1])
    if path.is_dir():
        sys.stdout.write(render(path))
        return
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        for member in archive.getmembers():
            parts = pathlib.PurePosixPath(member.name).parts
            if member.isfile() and ".." not in parts and not member.name.startswith("/"):
                archive.extract(member, folder)
        inside = [entry for entry in pathlib.Path(folder).iterdir() if entry.is_dir()]
        sys.stdout.write(render(inside[0] if inside else folder))


if __name__ == "__main__":
    main()
