"""The goals of docs/open.md, held against what was measured. Each is `yes`, `no` or `cannot tell`, and
the last wherever a figure is missing, doubtful, of something else, or its interval holds the goal."""

# Shares that were set before any card was seen.
READ_BANDWIDTH = 0.90
TENSOR_BF16 = 0.85
DECODE = 0.70
PREFILL = 0.60
# The goals of whole models are of one with about 8 billion weights, and of prompts of 2,048 tokens.
PARAMETERS = (6e9, 10e9)
PROMPT = "2048"


def cannot_tell(why):
    """No verdict, and why."""
    return f"cannot tell: {why}"


def verdict(share, goal, low=None, high=None):
    """Whether a share reaches a goal, with the figure."""
    figure = f"{share:.1%}"
    low, high = (share if low is None else low), (share if high is None else high)
    if low < goal <= high:
        return cannot_tell(f"{figure}, the 95 % interval of {low:.1%} to {high:.1%} holds the goal")
    return f"{'yes' if share >= goal else 'no'}: {figure}"


def read_bandwidth(evidence):
    """Of the card's own data sheet."""
    best, sheet = evidence.best("read_bandwidth"), evidence.sheet.get("memory_bandwidth_gb_per_s")
    if best is None:
        return cannot_tell("the read bandwidth was not measured")
    if not sheet:
        return cannot_tell(f"the catalog has no bandwidth of {evidence.name()}")
    return verdict(best / (sheet * 1e9), READ_BANDWIDTH)


def tensor_bf16(evidence):
    """Of cuBLAS on the same card."""
    own, library = evidence.best("tensor_bf16"), evidence.library_product("gemm_bf16")
    if own is None:
        return cannot_tell("the tensor cores' rate was not measured")
    if library is None:
        return cannot_tell("neither cuBLASLt nor PyTorch gave a product to compare with")
    return verdict(own / library, TENSOR_BF16)


def of_8b(evidence, row):
    """Why a row is not of what the goals are of, or not to be trusted; nothing where it is."""
    parameters = ((evidence.runs["sweep"] or {}).get("model") or {}).get("parameters") or 0
    if not PARAMETERS[0] <= parameters <= PARAMETERS[1]:
        return f"the goal is of a model with 8 billion weights, this one has {parameters:.3g}"
    if row["prompt_tokens"] != PROMPT:
        return f"the goal is of prompts of {PROMPT} tokens, these have {row['prompt_tokens']}"
    if row["valid"] != "true":
        return f"the row is doubtful ({row['invalid_reasons']})"
    return None


def decode(evidence, row):
    """Of the read bandwidth that was measured."""
    share = row["achieved_bandwidth_fraction"]
    why = of_8b(evidence, row) or (None if share else "the run has no share of the read bandwidth")
    if why:
        return cannot_tell(why)
    low, high = (float(share) * float(row["tpot_s"]) / float(row[end]) for end in ("tpot_s_hi", "tpot_s_lo"))
    return verdict(float(share), DECODE, low, high)


def prefill(evidence, row):
    """Of the vendor's library, not of a slower product that stood in for it."""
    library = evidence.library_product("gemm_bf16" if row["quant"] == "bf16" else "gemm_f16")
    why = of_8b(evidence, row) or (None if library else "cuBLASLt's rate was not measured")
    if why or not row["prefill_ops"] or not row["ttft_s"]:
        return cannot_tell(why or "the run has no time to the first token")
    share, low, high = (
        float(row["prefill_ops"]) / float(row[time]) / library for time in ("ttft_s", "ttft_s_hi", "ttft_s_lo")
    )
    return verdict(share, PREFILL, low, high)


def judged(evidence):
    """Pairs of a goal and what comes of it."""
    if evidence.call.get("driver_library"):
        return [("every goal", cannot_tell("no card was measured, but a driver's library of its own"))]
    pairs = [
        (f"read bandwidth from {READ_BANDWIDTH:.0%} of the data sheet", read_bandwidth(evidence)),
        (f"bf16 tensor cores from {TENSOR_BF16:.0%} of cuBLAS", tensor_bf16(evidence)),
    ]
    rows = [row for row in evidence.rows["sweep"] if row["batch"] == "1" and row["outcome"] == "ok"]
    for row in rows:
        pairs.append(
            (f"batch-1 decode in {row['quant']} from {DECODE:.0%} of the read bandwidth", decode(evidence, row))
        )
    for row in rows:
        pairs.append((f"prefill in {row['quant']} from {PREFILL:.0%} of the GEMM rate", prefill(evidence, row)))
    if not rows:
        why = cannot_tell(f"the sweep has no case of batch 1 ({evidence.state('sweep')})")
        pairs += [
            (f"batch-1 decode from {DECODE:.0%} of the read bandwidth", why),
            (f"prefill from {PREFILL:.0%} of the GEMM rate", why),
        ]
    return pairs
