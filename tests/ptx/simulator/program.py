"""A kernel made ready for blocks of one size: registers as arrays over the threads, statements as functions of lanes.

Every statement is taken apart once, into a function `run(lanes)` that holds the arrays it works on. `lanes` is
`slice(None)` for all threads of the block or an array of thread numbers; operands are indexed with it, constants too,
which are arrays like registers. So one form serves both, and no statement loops over threads.
"""

import re
import struct

import numpy as np

from .memory import SharedMemory
from .table import TABLE
from .types import NUMPY, UNSIGNED, WARP, Fault, Unknown, is_signed, size_of

ALL = slice(None)
INTEGER = re.compile(r"-?(0[xX][0-9a-fA-F]+|\d+)U?$")
MOST_SHARED = 227 << 10  # bytes of a block on the largest cards that the kernels are for (sm_90)
# What a register holds before anything is written: not zero, and NaN in every float format.
POISON = {1: True, 16: 0xFFA5, 32: 0xFFA5A5A5, 64: 0xFFFAA5A5A5A5A5A5}


class Program:
    """`kernel` for blocks of `threads` threads."""

    def __init__(self, kernel, threads):
        if threads > kernel.most_threads:
            raise Fault(f"{threads} threads in a block of a kernel that was compiled for {kernel.most_threads}")
        self.kernel, self.threads = kernel, threads
        self.ids = np.arange(threads)
        self.lane_ids = self.ids % WARP
        self.block_index = [np.zeros(threads, np.uint32) for _ in range(3)]
        self.grid_size = [np.zeros(threads, np.uint32) for _ in range(3)]
        self.parameters = {name: np.zeros(threads, NUMPY[kind]) for name, kind in kernel.parameters}
        self.memory = self.shared = None  # of the launch
        self.block = 0  # number of the block that runs
        self.resets = []  # what an instruction keeps between statements, made new for every block
        self._constants = {}
        self._make_registers()
        self.coverage = np.zeros(len(kernel.statements), bool)
        self.code = [self._bind(statement) for statement in kernel.statements]
        self._check_definitions()

    def _make_registers(self):
        """All registers of one width are rows of one bank, so that fragments of matrices are read at once."""
        kinds = {1: np.bool_, 16: np.uint16, 32: np.uint32, 64: np.uint64}
        names = {bits: [] for bits in kinds}
        for name, bits in self.kernel.registers.items():
            names[bits].append(name)
        self.banks = {bits: np.zeros((len(names[bits]), self.threads), kind) for bits, kind in kinds.items()}
        self.rows = {name: (bits, row) for bits in kinds for row, name in enumerate(names[bits])}

    def _check_definitions(self):
        """Every register that is read is written somewhere."""
        written, read = set(), {}
        for statement in self.kernel.statements:
            stores = statement.opcode in ("st", "bra", "bar", "cp", "fence")
            for at, operand in enumerate(statement.operands):
                for name in re.findall(r"%?[\w$]+", operand):
                    if name in self.rows:
                        is_result = at == 0 and not stores and not operand.startswith("[")
                        if is_result:
                            written.add(name)
                        else:
                            read.setdefault(name, statement)
            if statement.guard:
                read.setdefault(statement.guard[0], statement)
        for name in set(read) - written:
            raise Fault(f"{self.kernel.name}, line {read[name].line}: {name} is read and never written")

    def _bind(self, statement):
        builder = TABLE.get(statement.opcode)
        try:
            if builder is None:
                raise Unknown(f"the instruction {statement.opcode}")
            guard = None
            if statement.guard:
                guard = (self.source(statement.guard[0], "pred"), statement.guard[1])
            return guard, builder(self, statement)
        except Unknown as unknown:
            where = f"{self.kernel.name}, line {statement.line}: `{statement.text}`"
            raise Unknown(f"{where}: the interpreter does not know {unknown}") from None

    def start(self, memory, arguments, grid, dynamic_bytes):
        """Takes the arguments of a launch."""
        kernel = self.kernel
        if len(arguments) != len(kernel.parameters):
            raise Fault(f"{kernel.name} has {len(kernel.parameters)} parameters and got {len(arguments)} arguments")
        for (name, kind), value in zip(kernel.parameters, arguments):
            if not kind.startswith("f") and not 0 <= int(value) < 1 << 8 * size_of(kind):
                raise Fault(f"{kernel.name}: {value} as {name}, which is .{kind}")
            self.parameters[name][:] = value
        if dynamic_bytes and not kernel.dynamic:
            raise Fault(f"{kernel.name} got dynamic shared memory, which it does not use")
        if kernel.static_end + dynamic_bytes > MOST_SHARED:
            raise Fault(f"{kernel.name}: {dynamic_bytes} bytes of dynamic shared memory are more than any card has")
        self.memory = memory
        self.shared = SharedMemory(kernel.static_end + dynamic_bytes, self.threads)
        for axis in range(3):
            self.grid_size[axis][:] = grid[axis]

    def new_block(self, number, index):
        """Registers and shared memory as a new block finds them."""
        self.block = number
        for axis in range(3):
            self.block_index[axis][:] = index[axis]
        for bits, bank in self.banks.items():
            bank[:] = POISON[bits]
        self.shared.clear()
        for reset in self.resets:
            reset()

    # Operands

    def source(self, operand, kind):
        """The operand as an array over the threads, of type `kind`. A wider register gives its low part."""
        if operand in self.rows:
            return self._register(operand, kind)
        if kind == "pred":
            raise Unknown(f"the predicate {operand}")
        special = self._special(operand)
        if special is not None:
            return special.astype(NUMPY[kind]) if special.dtype.itemsize != size_of(kind) else special.view(NUMPY[kind])
        return self._constant(operand, kind)

    def _register(self, name, kind):
        bits, row = self.rows[name]
        register = self.banks[bits][row]
        if kind == "pred":
            if bits != 1:
                raise Unknown(f"{name} as a predicate")
            return register
        width = 8 * size_of(kind)
        if bits == 1 or width > bits:
            raise Unknown(f"{name}, of {bits} bits, as .{kind}")
        return register.view(NUMPY[kind])[:: bits // width]

    def _special(self, operand):
        """Special registers. Arrays that a launch or a block fills are shared, not copied."""
        axis = "xyz".find(operand[-1]) if "." in operand else -1
        name = operand.partition(".")[0]
        if axis >= 0 and name == "%ctaid":
            return self.block_index[axis]
        if axis >= 0 and name == "%nctaid":
            return self.grid_size[axis]
        if axis >= 0 and name == "%tid":
            return (self.ids if axis == 0 else 0 * self.ids).astype(np.uint32)
        if axis >= 0 and name == "%ntid":
            return np.full(self.threads, self.threads if axis == 0 else 1, np.uint32)
        if operand == "%laneid":
            return self.lane_ids.astype(np.uint32)
        return None

    def _constant(self, operand, kind):
        key = (operand, kind)
        if key not in self._constants:
            if operand.startswith("0f") and kind == "f32":
                value = np.uint32(int(operand[2:], 16)).view(np.float32)
            elif operand.startswith("0d") and kind == "f64":
                value = np.uint64(int(operand[2:], 16)).view(np.float64)
            elif operand in self.kernel.shared:
                value = NUMPY[kind](self.kernel.shared[operand])
            else:
                value = self._number(self.integer(operand), kind)
            self._constants[key] = np.full(self.threads, value)
        return self._constants[key]

    @staticmethod
    def integer(operand):
        """An integer written out."""
        if not INTEGER.match(operand):
            raise Unknown(f"the operand {operand}")
        return int(operand.rstrip("U"), 0)

    @staticmethod
    def _number(value, kind):
        size = size_of(kind)
        if kind in ("f16", "f32", "f64"):
            raise Unknown(f"the integer {value} as .{kind}")
        return np.frombuffer(struct.pack("<Q", value & (1 << 64) - 1)[:size], NUMPY[kind])[0]

    def result(self, operand, kind):
        """The register to write a `kind` to. A wider one takes the number extended by its sign or by zeros
        (PTX ISA, 9.4.1); `_` takes anything."""
        if operand == "_":
            return np.zeros(self.threads, np.bool_ if kind == "pred" else NUMPY[kind])
        if operand not in self.rows:
            raise Unknown(f"the result {operand}")
        bits, row = self.rows[operand]
        if kind == "pred" or 8 * size_of(kind) == bits:
            return self._register(operand, kind)
        if kind in ("f16", "f32", "f64") or 8 * size_of(kind) > bits:
            raise Unknown(f"{operand}, of {bits} bits, as a result of .{kind}")
        return self._register(operand, ("s" if is_signed(kind) else "u") + str(bits))

    def bank_rows(self, operands):
        """The rows of 32-bit registers in their bank."""
        if any(self.rows.get(name, (0, 0))[0] != 32 for name in operands):
            raise Unknown(f"a fragment that is not of 32-bit registers: {operands}")
        return np.array([self.rows[name][1] for name in operands])

    # Groups of threads

    def threads_of(self, lanes):
        """The numbers of the threads."""
        return self.ids[lanes]

    def whole_warps(self, lanes, what):
        """The threads, which have to be all of some warps."""
        threads = self.ids[lanes]
        if len(threads) % WARP or (len(threads) != self.threads and not self._are_whole(threads)):
            raise Fault(f"{what} by part of a warp")
        return threads

    @staticmethod
    def _are_whole(threads):
        by_warp = threads.reshape(-1, WARP)
        return (by_warp[:, 0] % WARP == 0).all() and (by_warp[:, -1] - by_warp[:, 0] == WARP - 1).all()

    @staticmethod
    def view(values, kind):
        """Bits of unsigned numbers as another type of the same size."""
        return np.ascontiguousarray(values).view(NUMPY.get(kind, UNSIGNED[4]))
