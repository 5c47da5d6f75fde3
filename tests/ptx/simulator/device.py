"""A card as the checks see it: buffers, launches, results; and what was run on it."""

import pathlib

import numpy as np

from .block import Block
from .memory import GlobalMemory
from .parse import Module
from .program import Program
from .types import Fault

ROOT = pathlib.Path(__file__).resolve().parents[3]
PTX = ROOT / "kernels" / "ptx"

_modules, _programs = {}, {}


def module(file, text=None):
    """The module of kernels/ptx/<file>.ptx, or of `text` in its place; taken apart once per process."""
    key = (file, text)
    if key not in _modules:
        _modules[key] = Module((PTX / f"{file}.ptx").read_text() if text is None else text)
    return _modules[key]


def entries():
    """Every kernel that the program carries: (file, name)."""
    return [(path.stem, name) for path in sorted(PTX.glob("*.ptx")) for name in module(path.stem).entries]


class Device:
    """A card with its memory. `texts` are modules to use in the place of files: {file: PTX}."""

    def __init__(self, texts=None, memory=4 << 20, reverse=False):
        self.texts = texts or {}
        self.memory = GlobalMemory(memory)
        self.reverse = reverse  # the last block first: blocks have no order
        self.instructions = 0
        self.launched = {}  # (file, kernel) -> which of its statements were run

    def upload(self, array):
        """A buffer with these contents; its address."""
        array = np.ascontiguousarray(array)
        return self.memory.allocate(array.nbytes, array)

    def room(self, count, dtype):
        """A buffer for so many numbers, which nothing has written; its address."""
        return self.memory.allocate(count * np.dtype(dtype).itemsize)

    def download(self, address, shape, dtype):
        """What lies there; every byte has to have been written."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(self.memory.read(address, size), dtype).reshape(shape).copy()

    def launch(self, file, kernel, grid, threads, arguments, shared=0):
        """Runs a kernel, block by block."""
        grid = tuple(int(n) for n in grid) + (1,) * (3 - len(grid))
        program = self._program(file, kernel, threads)
        program.start(self.memory, arguments, grid, shared)
        self.memory.begin_launch()
        order = range(grid[0] * grid[1] * grid[2])
        with np.errstate(all="ignore"):
            for number in reversed(order) if self.reverse else order:
                index = (number % grid[0], number // grid[0] % grid[1], number // (grid[0] * grid[1]))
                program.new_block(number, index)
                block = Block(program)
                try:
                    block.run()
                finally:
                    self.instructions += block.instructions
        try:
            self.memory.end_launch()
        except Fault as fault:
            raise Fault(f"{kernel}: {fault}") from None
        covered = self.launched.setdefault((file, kernel), np.zeros(len(program.code), bool))
        covered |= program.coverage

    def _program(self, file, kernel, threads):
        """The program, kept for further launches where it is of a file: reading one takes longer than running it."""
        found = module(file, self.texts.get(file))
        if kernel not in found.entries:
            raise Fault(f"{file}.ptx has no kernel {kernel}")
        if file in self.texts:
            return Program(found.kernel(kernel), threads)
        key = (file, kernel, threads)
        if key not in _programs:
            _programs[key] = Program(found.kernel(kernel), threads)
        return _programs[key]
