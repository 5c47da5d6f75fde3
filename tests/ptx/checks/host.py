"""What the Rust host launches kernels with, read from its source.

Constants are taken from there. Where a grid or a size is an expression, the check that follows it quotes it with
`follows`: once the host says something else, the check fails until it has been made to say the same.
"""

import functools
import re

from simulator.device import ROOT

from .framework import Wrong

DECODER = "src/engine/candle/cuda/decoder.rs"
PRODUCTS = "src/engine/candle/cuda/products.rs"
CEILINGS = "src/device/ceilings/cuda"


@functools.cache
def _source(file):
    """The file's text with every run of white space as one blank."""
    path = ROOT / file
    if not path.exists():
        raise Wrong(f"{file} is no more, from which this check takes how kernels are launched")
    return " ".join(path.read_text().split())


def constant(file, name):
    """A constant of the host."""
    found = re.search(rf"\bconst {name}: \w+ = ([\d_]+);", _source(file))
    if not found:
        raise Wrong(f"{file} has no constant {name} any more, which this check launches kernels with")
    return int(found[1].replace("_", ""))


def layout(name):
    """A layout of operands out of ceilings/cuda/tensor.rs, as a dictionary of its numbers."""
    found = re.search(rf"\bconst {name}: Layout = Layout \{{(.*?)\}};", _source(f"{CEILINGS}/tensor.rs"))
    if not found:
        raise Wrong(f"{CEILINGS}/tensor.rs has no layout {name} any more")
    return {key: int(value) for key, value in re.findall(r"(\w+): (\d+)", found[1])}


def follows(file, *expressions):
    """That the host still says this."""
    for expression in expressions:
        if " ".join(expression.split()) not in _source(file):
            raise Wrong(f"{file} does not say `{expression}` any more: see what it launches, and change this check")
