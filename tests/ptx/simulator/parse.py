"""Reads PTX text: the kernels of a module, and their statements, labels, registers and shared variables.

A kernel is taken apart when it is first asked for, since some modules are megabytes of which a check runs little.
"""

import bisect
import re
from typing import NamedTuple, Optional

from .types import Unknown

# Shared memory does not begin at address 0, so that an offset that was never added to a base is noticed.
SHARED_BASE = 1024

ENTRY = re.compile(r"\.visible\s+\.entry\s+(\w+)\s*\(([^)]*)\)([^{]*)\{")
SHARED = re.compile(r"(\.extern\s+)?\.shared\s+\.align\s+(\d+)\s+\.b8\s+([\w$%]+)\[(\d*)\]")
LABEL = re.compile(r"\s*([$\w]+):(?!:)")
GUARD = re.compile(r"@(!?)([%\w$]+)\s+(.*)", re.S)
ADDRESS = re.compile(r"\[\s*([%\w$.]+)\s*(?:\+\s*(-?\w+))?\s*\]$")
SILENT = (".pragma", ".loc", ".file", ".section")


class Statement(NamedTuple):
    """One instruction."""

    opcode: str
    modifiers: tuple
    operands: tuple
    guard: Optional[tuple]  # (predicate, the value at which the instruction runs)
    text: str
    line: int


def split_operands(text):
    """Operands at the top level of commas: vectors in braces and addresses in brackets stay whole."""
    operands, depth, current = [], 0, ""
    for character in text:
        depth += character in "{["
        depth -= character in "}]"
        if character == "," and depth == 0:
            operands.append(current.strip())
            current = ""
        else:
            current += character
    if current.strip():
        operands.append(current.strip())
    return tuple(operands)


def vector(operand):
    """The registers of `{a, b, ...}`, or of a single one."""
    return [part.strip() for part in operand[1:-1].split(",")] if operand.startswith("{") else [operand]


def address(operand):
    """Base and offset of `[base+offset]`."""
    found = ADDRESS.match(operand)
    if not found:
        raise Unknown(f"the address {operand}")
    return found[1], int(found[2] or "0", 0)


def statement(text, line):
    """An instruction out of its text."""
    text = " ".join(text.split())
    guard, rest = None, text
    if text.startswith("@"):
        negated, predicate, rest = GUARD.match(text).groups()
        guard = (predicate, not negated)
    name, _, operands = rest.partition(" ")
    opcode, *modifiers = name.split(".")
    # Two colons inside a modifier, as of L1::no_allocate, belong to it.
    return Statement(opcode, tuple(modifiers), split_operands(operands), guard, text, line)


class Kernel:
    """An entry: parameters, limits, statements, labels, registers and where its shared variables lie."""

    def __init__(self, name, parameters, directives, body, first_line, module_shared):
        self.name = name
        self.parameters = [(part.split()[-1], part.split()[1].lstrip(".")) for part in parameters]
        found = re.search(r"\.(?:max|req)ntid\s+(\d+)", directives)
        self.most_threads = int(found[1]) if found else 1024
        self.statements, self.labels, self.registers = [], {}, {}
        shared = dict(module_shared)
        self._read(body, first_line, shared)
        self._place(shared, body)

    def _read(self, body, line, shared):
        """Cuts `body` into statements. Scopes are not told apart: a name means the same in all of them."""
        at, size = 0, len(body)
        while True:
            skipped = re.compile(r"[\s{}]*").match(body, at)
            line += body.count("\n", at, skipped.end())
            at = skipped.end()
            if at >= size:
                return
            label = LABEL.match(body, at)
            if label:
                self.labels[label[1]] = len(self.statements)
                at = label.end()
                continue
            end = body.find(";", at)
            if end < 0:
                raise Unknown(f"{self.name}: a statement without an end: {body[at:at + 60]!r}")
            self._statement(body[at:end].strip(), line, shared)
            line += body.count("\n", at, end)
            at = end + 1

    def _statement(self, text, line, shared):
        if text.startswith(".reg"):
            self._declare(text)
        elif SHARED.match(text):
            found = SHARED.match(text)
            shared[found[3]] = (int(found[2]), int(found[4] or 0), bool(found[1]))
        elif text.startswith("."):
            if not text.startswith(SILENT):
                raise Unknown(f"{self.name}, line {line}: the directive `{text}`")
        else:
            self.statements.append(statement(text, line))

    def _declare(self, text):
        _, kind, names = text.split(None, 2)
        kind = kind.lstrip(".")
        bits = 1 if kind == "pred" else int(re.sub(r"\D", "", kind))
        for name in names.split(","):
            found = re.match(r"\s*([%\w$]+?)(?:<(\d+)>)?\s*$", name)
            members = [found[1]] if found[2] is None else [f"{found[1]}{i}" for i in range(int(found[2]))]
            for member in members:
                if self.registers.setdefault(member, bits) != bits:
                    raise Unknown(f"{self.name}: {member} is declared with two sizes")

    def _place(self, shared, body):
        """Gives shared variables that the kernel names their addresses, dynamic memory last."""
        self.shared, at, self.dynamic = {}, SHARED_BASE, False
        for name, (alignment, size, external) in sorted(shared.items(), key=lambda item: item[1][2]):
            if name in body:
                at = -(-at // alignment) * alignment
                self.shared[name] = at
                at += size
                self.dynamic |= external
        self.static_end = at


class Module:
    """A PTX file."""

    def __init__(self, text):
        self.text = text
        # Comments become blanks, so that positions and lines stay what they are.
        self.code = re.sub(r"//[^\n]*", lambda found: " " * len(found[0]), text)
        self.entries = {found[1]: found for found in ENTRY.finditer(self.code)}
        first = min((found.start() for found in self.entries.values()), default=0)
        head = self.code[:first]
        self.shared = {f[3]: (int(f[2]), int(f[4] or 0), bool(f[1])) for f in SHARED.finditer(head)}
        self.kernels = {}
        self._newlines = [found.start() for found in re.finditer("\n", text)]

    def line(self, position):
        """The line of a position, counted from 1."""
        return bisect.bisect_left(self._newlines, position) + 1

    def span(self, name):
        """Where the body of an entry begins and ends, its last brace left out."""
        start = self.entries[name].end()
        depth, end = 1, start
        for found in re.compile(r"[{}]").finditer(self.code, start):
            depth += 1 if found[0] == "{" else -1
            if depth == 0:
                end = found.start()
                break
        return start, end

    def kernel(self, name):
        """The entry `name`."""
        if name not in self.kernels:
            found = self.entries[name]
            start, end = self.span(name)
            parameters = [part for part in found[2].split(",") if part.strip()]
            line = self.line(start)
            self.kernels[name] = Kernel(name, parameters, found[3], self.code[start:end], line, self.shared)
        return self.kernels[name]
