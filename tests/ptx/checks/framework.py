"""What a check is, and what all of them use."""

import zlib
from typing import Callable, NamedTuple

import ml_dtypes
import numpy as np

FORMATS = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}
# What rounding a result to 16 bits costs at most, relative to it: half of its last bit; and a little for sums in f32.
ROUNDING = {"f16": 2.0**-11 * 1.02, "bf16": 2.0**-8 * 1.02}
F32_SUMS = 2e-6


class Wrong(Exception):
    """A result that is not what it should be."""


class Check(NamedTuple):
    """`run(device, numbers)` launches kernels and raises `Wrong` where a result is."""

    name: str
    run: Callable
    memory: int = 4 << 20  # bytes of the card
    reverse: bool = False  # the last block first


def numbers_for(name):
    """Random numbers of a check's own: the same in every run."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def normal(numbers, shape, dtype):
    """Normally distributed numbers."""
    return numbers.standard_normal(shape).astype(dtype)


def near(got, wanted, relative, what, typical=F32_SUMS):
    """That every number is near: within `relative` of its own size and `typical` of the typical size of all.

    One wrong number among thousands is found, where a norm of all differences would hide it.
    """
    with np.errstate(all="ignore"):
        got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    bad = ~(np.abs(got - wanted) <= relative * np.abs(wanted) + typical * np.sqrt(np.mean(wanted**2)))
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise Wrong(f"{what} at {first}: {got[first]} instead of {wanted[first]} ({bad.sum()} of {bad.size} are wrong)")


def same(got, wanted, what):
    """That numbers or bits are equal."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    bad = got != wanted
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise Wrong(f"{what} at {first}: {got[first]} instead of {wanted[first]} ({bad.sum()} of {bad.size} are wrong)")


def ceiling(a, b):
    """a / b, rounded up."""
    return -(-a // b)


def mix(words):
    """The bijection of 32-bit words that kernels and host make data with (kernels/common.cuh, ceilings/cuda/mod.rs)."""
    x = np.atleast_1d(words).astype(np.uint32)  # an array, whose products wrap in silence
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    return x ^ x >> np.uint32(16)
