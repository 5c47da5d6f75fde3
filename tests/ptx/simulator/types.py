"""The types of PTX as numpy knows them, and the two ways in which a run ends badly."""

import numpy as np

NUMPY = {
    "b8": np.uint8, "u8": np.uint8, "s8": np.int8,
    "b16": np.uint16, "u16": np.uint16, "s16": np.int16, "f16": np.float16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64,
    "f16x2": np.uint32, "bf16x2": np.uint32,
}  # fmt: skip
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
FLOATS = ("f16", "f32", "f64")
WARP = 32


class Fault(Exception):
    """What hardware would trip on, or leaves undefined."""


class Unknown(Exception):
    """An instruction, a modifier or an operand that the interpreter has no meaning for: a failure, never skipped."""


def size_of(type_name):
    """Bytes of a type."""
    if type_name not in NUMPY:
        raise Unknown(f"the type .{type_name}")
    return np.dtype(NUMPY[type_name]).itemsize


def is_float(type_name):
    """Whether it is a float of its own; pairs of floats are bits."""
    return type_name in FLOATS


def is_signed(type_name):
    """Whether it is a signed integer."""
    return type_name[0] == "s"
