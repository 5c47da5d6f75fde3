#!/usr/bin/env python3
"""What PyTorch and cuBLAS do on the same card: what the project's own figures are held against.

    peers.py [DEVICE [SECONDS]]

Measures each for SECONDS (0.3). Prints one line of JSON for each: `peer`, and `best` and `median` in `unit`, or
`error`. The status is 4 where PyTorch is not here or sees no card. Changes nothing of the card.
"""

import json
import sys
import time

# Least time of a sample: the clock of events is far finer.
SAMPLE_S = 0.002
GIB = 1 << 30
SIDE = 8192
# Llama 3.1 8B.
LAYERS, HIDDEN, WIDTH, KEY_VALUE, VOCABULARY = 32, 4096, 14336, 1024, 128256
HEADS, KV_HEADS, HEAD = 32, 8, 128


class Peers:
    """PyTorch on one card."""

    def __init__(self, torch, device, seconds):
        self.torch = torch
        self.device = device
        self.seconds = seconds

    def rate(self, name, unit, work, make):
        """Prints the rate of `work` units by the functions that `make` gives, which take turns."""
        try:
            times = self._times(make())
            line = {"best": work / min(times), "median": work / sorted(times)[len(times) // 2], "unit": unit}
        except Exception as error:  # Whatever one of them lacks must not cost the others.
            line = {"error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps({"peer": name, **line}), flush=True)
        self.torch.cuda.empty_cache()

    def _times(self, turns):
        """Seconds of one turn, of samples that last long enough."""
        for turn in turns:
            turn()
        self.torch.cuda.synchronize()
        once = self._sample(turns, len(turns)) / len(turns)
        rounds = max(1, int(SAMPLE_S / max(once, 1e-7)) + 1)
        times, begin = [], time.monotonic()
        while len(times) < 5 or time.monotonic() - begin < self.seconds:
            times.append(self._sample(turns, rounds) / rounds)
        return times

    def _sample(self, turns, rounds):
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for index in range(rounds):
            turns[index % len(turns)]()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def normal(self, *shape, dtype=None):
        """Random numbers: products of zeros draw less power, and so run faster."""
        return self.torch.randn(*shape, device=self.device, dtype=dtype or self.torch.bfloat16)

    def integers(self, low, high, shape, dtype):
        """Random integers."""
        return self.torch.randint(low, high, shape, dtype=dtype, device=self.device)

    # What is measured. Two arrays take turns, so that none is found in the cache.

    def copies(self):
        """Copies within the card's memory."""
        sources = [self.integers(0, 1 << 30, (GIB // 4,), self.torch.int32) for _ in range(2)]
        target = self.torch.empty_like(sources[0])
        return [lambda source=source: target.copy_(source) for source in sources]

    def reads(self):
        """Sums, which read and write next to nothing."""
        return [lambda array=array: array.sum() for array in (self.normal(GIB) for _ in range(2))]

    def product(self, dtype):
        """A matrix product by cuBLAS."""

        def make():
            a, b = (self.normal(SIDE, SIDE).to(dtype) for _ in range(2))
            c = self.torch.empty(SIDE, SIDE, device=self.device, dtype=dtype)
            return [lambda: self.torch.mm(a, b.t(), out=c)]

        return make

    def product_int8(self):
        """Of 8-bit integers."""
        a, b = (self.integers(-8, 8, (SIDE, SIDE), self.torch.int8) for _ in range(2))
        return [lambda: self.torch._int_mm(a, b.t())]

    def product_fp8(self):
        """Of 8-bit floats."""
        a, b = (self.normal(SIDE, SIDE).to(self.torch.float8_e4m3fn) for _ in range(2))
        one = self.torch.ones((), device=self.device)
        return [lambda: self.torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=self.torch.bfloat16)]

    def decode_products(self, batch):
        """The products of a decode step of Llama 3.1 8B by cuBLAS in one graph, each layer with weights of its own."""

        def make():
            shapes = ((HIDDEN + 2 * KEY_VALUE, HIDDEN), (HIDDEN, HIDDEN), (2 * WIDTH, HIDDEN), (HIDDEN, WIDTH))
            layers = [[self.normal(n, k) * k**-0.5 for n, k in shapes] for _ in range(LAYERS)]
            head = self.normal(VOCABULARY, HIDDEN)
            hidden, wide = self.normal(batch, HIDDEN), self.normal(batch, WIDTH)

            def step():
                for qkv, output, up, down in layers:
                    for matrix, rows in ((qkv, hidden), (output, hidden), (up, hidden), (down, wide)):
                        rows @ matrix.t()
                hidden @ head.t()

            aside = self.torch.cuda.Stream()
            aside.wait_stream(self.torch.cuda.current_stream())
            with self.torch.cuda.stream(aside):
                step()
            self.torch.cuda.current_stream().wait_stream(aside)
            graph = self.torch.cuda.CUDAGraph()
            with self.torch.cuda.graph(graph):
                step()
            return [graph.replay]

        return make

    def attention(self, batch, queries, positions, causal):
        """Attention of one layer of Llama 3.1 8B."""

        def make():
            q = self.normal(batch, HEADS, queries, HEAD)
            k, v = (self.normal(batch, KV_HEADS, positions, HEAD) for _ in range(2))
            attend = self.torch.nn.functional.scaled_dot_product_attention
            return [lambda: attend(q, k, v, is_causal=causal, enable_gqa=True)]

        return make


def measure(peers):
    """Everything."""
    torch = peers.torch
    product = 2 * SIDE**3
    peers.rate("copy_bandwidth", "B/s", 2 * GIB, peers.copies)
    peers.rate("read_bandwidth", "B/s", 2 * GIB, peers.reads)
    peers.rate("gemm_bf16", "op/s", product, peers.product(torch.bfloat16))
    peers.rate("gemm_f16", "op/s", product, peers.product(torch.float16))
    peers.rate("gemm_int8", "op/s", product, peers.product_int8)
    peers.rate("gemm_fp8", "op/s", product, peers.product_fp8)
    layer = (HIDDEN + 2 * KEY_VALUE) * HIDDEN + HIDDEN * HIDDEN + 3 * WIDTH * HIDDEN
    weights = 2 * (LAYERS * layer + VOCABULARY * HIDDEN)
    for batch in (1, 8):
        peers.rate(f"decode_8b_bf16_b{batch}", "B/s of weights", weights, peers.decode_products(batch))
    # A causal half of 2,048 times 2,048, and 8 sequences that read a cache of 2,048 positions.
    peers.rate("attention_prefill", "op/s", 4 * HEADS * HEAD * 2048 * 2048 / 2, peers.attention(1, 2048, 2048, True))
    cache = 8 * KV_HEADS * 2048 * HEAD * 2 * 2
    peers.rate("attention_decode", "B/s of cache", cache, peers.attention(8, 1, 2048, False))


def absent(why):
    """Ends without having measured."""
    print(f"absent: {why}", file=sys.stderr)
    sys.exit(4)


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda:0"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.3
    try:
        import torch
    except Exception as error:  # A broken installation is as good as none.
        absent(f"no torch: {error}")
    try:
        torch.cuda.set_device(torch.device(device))
        torch.manual_seed(1)
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        print(json.dumps({"torch": torch.__version__, "card": torch.cuda.get_device_name(device)}), flush=True)
    except Exception as error:
        absent(f"torch {torch.__version__} cannot use {device}: {error}")
    measure(Peers(torch, torch.device(device), seconds))


if __name__ == "__main__":
    main()
