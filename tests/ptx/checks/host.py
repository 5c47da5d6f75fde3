"""What the Rust host launches kernels with, read from its source.

Constants are taken from there. Where a grid or a size is an expression, the check that follows it quotes it with
`follows`: once the host says something else, the check fails until it has been made to say the same.
"""

import functools
import re

from simulator.device import ROOT

from .framework import Wrong

ENGINE = "crates/engine/src/engine/backend/cuda"
CEILINGS = "crates/engine/src/device/ceilings/cuda"


@functools.cache
def _source(place):
    """The text of a file, or of all files of a folder, with every run of white space as one blank. Casts are left out:
    whether a size is cast where it is computed or later changes nothing."""
    path = ROOT / place
    files = sorted(path.glob("*.rs")) if path.is_dir() else [path]
    if not files or not all(file.exists() for file in files):
        raise Wrong(f"{place} is no more, from which this check takes how kernels are launched")
    return _plain(" ".join(file.read_text() for file in files))


def _plain(text):
    return re.sub(r" as u(32|64|size)\b", "", " ".join(text.split()))


def constant(place, name):
    """A constant of the host, which has one value wherever it is defined."""
    found = set(re.findall(rf"\bconst {name}: \w+ = ([\d_]+);", _source(place)))
    if len(found) != 1:
        raise Wrong(f"{place} has {len(found)} values of a constant {name}, which this check launches kernels with")
    return int(found.pop().replace("_", ""))


def layout(name):
    """A layout of operands out of ceilings/cuda/tensor.rs, as a dictionary of its numbers."""
    found = re.search(rf"\bconst {name}: Layout = Layout \{{(.*?)\}};", _source(f"{CEILINGS}/tensor.rs"))
    if not found:
        raise Wrong(f"{CEILINGS}/tensor.rs has no layout {name} any more")
    return {key: int(value) for key, value in re.findall(r"(\w+): (\d+)", found[1])}


def follows(place, *expressions):
    """That the host still says this."""
    for expression in expressions:
        if _plain(expression) not in _source(place):
            raise Wrong(f"{place} does not say `{expression}` any more: see what it launches, and change this check")
