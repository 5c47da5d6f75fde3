"""Runs the steps of a call one after the other, each within a limit of its own and all within the call's time, and
keeps everything in one archive that is whole after every step."""

import ctypes
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time

# What a step may still do between being asked to end and being ended.
GRACE = 5.0
# What is left of a call's time for the last archive and the table.
RESERVE = 5.0
# A larger file stays out of the archive: what comes back is limited.
LARGEST_FILE = 8 << 20
# Folders of the work folder that nobody needs back.
NOT_KEPT = ("cache", "from", "cut")

OK, DOUBTFUL, FAILED, ABSENT, CUT, LEFT_OUT = "ok", "doubtful", "FAILED", "absent", "cut short", "left out"


class Absent(Exception):
    """What a step needs is not on this machine, and why."""


class Interrupted(Exception):
    """A signal asked the whole call to end."""


class Step:
    """One command: its name, the most seconds it may take, and how to make it (a list of arguments)."""

    def __init__(self, name, limit, command, env=None, judge=None, least=10.0):
        self.name = name
        self.limit = limit
        # Arguments, or a function that gives them or raises Absent.
        self.command = command
        self.env = env or {}
        # From status, stdout and stderr to state and a word on it.
        self.judge = judge or judge_plain
        # It is not begun with less than this left of the call.
        self.least = least


def last_line(text):
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def judge_plain(status, _out, err):
    """As the program's exit status says: 5 is a measurement that is not to be trusted."""
    if status == 0:
        return OK, ""
    if status == 5:
        return DOUBTFUL, "what it measured is marked so"
    return FAILED, last_line(err) or f"status {status}"


def say(text, stream=None):
    """Writes a line, and goes on where nobody listens."""
    stream = stream or sys.stderr
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        pass


def _own_group():
    """In the child: a group of its own, that ends with its parent."""
    os.setpgid(0, 0)
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    except (AttributeError, OSError):
        pass


def _signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def end(process):
    """Ends a step and all that it started."""
    _signal_group(process, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    _signal_group(process, signal.SIGKILL)
    process.wait()


class Runner:
    """A call: its folder of work, its archive and what came of each step."""

    def __init__(self, call, out, work, budget, facts, table):
        self.call = call
        self.out = pathlib.Path(out)
        self.work = pathlib.Path(work)
        self.begin = time.monotonic()
        self.budget = budget
        # From the work folder to the text of the table.
        self.table = table
        self.trouble = None
        self.record = dict(facts, call=call, begun=_now(), steps=[], ended=None)
        self.out.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)

    @property
    def archive(self):
        """Where everything is."""
        return self.out / f"call{self.call}.tar.gz"

    def left(self):
        """Seconds of the call that a step may still use."""
        return self.budget - RESERVE - (time.monotonic() - self.begin)

    def run(self, step):
        """Runs one step and keeps what came of it."""
        begin = time.monotonic()
        try:
            state, word = self._state_of(step)
        except Interrupted as signal_name:
            self._note(step, CUT, f"{signal_name} ended the call", time.monotonic() - begin)
            raise
        self._note(step, state, word, time.monotonic() - begin)

    def _state_of(self, step):
        if self.left() < min(step.least, step.limit):
            return LEFT_OUT, f"{max(self.left(), 0):.0f} s of the call are left"
        try:
            command = step.command() if callable(step.command) else step.command
        except Absent as why:
            return ABSENT, str(why)
        limit = min(step.limit, self.left())
        out, err = self.work / f"{step.name}.out", self.work / f"{step.name}.log"
        try:
            status = self._wait(command, step.env, limit, out, err)
        except OSError as error:
            return FAILED, f"{command[0]} does not start: {error.strerror}"
        if status is None and limit < step.limit:
            return CUT, f"the call's time was up after {limit:.0f} s of it"
        if status is None:
            return FAILED, f"stopped at its limit of {limit:g} s"
        return step.judge(status, _text(out), _text(err))

    def _wait(self, command, env, limit, out, err):
        """The exit status; nothing where the limit ended it."""
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.work,
                env={**os.environ, **{name: str(value) for name, value in env.items()}},
                preexec_fn=_own_group,
            )
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                # What it started ends with it, and so does it where a signal came in between.
                end(process)

    def _note(self, step, state, word, seconds):
        self.record["steps"].append({"name": step.name, "state": state, "seconds": round(seconds, 1), "word": word})
        say(f"{step.name:14} {state:9} {seconds:5.0f} s  {word[:150]}")
        self.keep()

    def finish(self, ended):
        """The last archive; returns the table."""
        self.record["ended"] = ended
        return self.keep()

    def keep(self):
        """Writes the table and the archive anew, each at once or not at all."""
        text = ""
        self.trouble = None
        try:
            (self.work / "call.json").write_text(json.dumps(self.record, indent=1))
            text = self.table(self.work)
            (self.work / "table.txt").write_text(text)
        except OSError as error:
            self.trouble = f"{error}"
        self._at_once(self.archive, self._pack)
        self._at_once(self.out / f"call{self.call}.txt", lambda path: path.write_text(text))
        return text

    def _at_once(self, path, write):
        part = path.with_name(path.name + ".part")
        try:
            write(part)
            os.replace(part, path)
        except (OSError, tarfile.TarError) as error:
            self.trouble = f"{path} could not be written and is as old as the step before: {error}"
            say(self.trouble)
            try:
                part.unlink()
            except OSError:
                pass

    def _pack(self, path):
        with tarfile.open(path, "w:gz", compresslevel=3) as archive:
            for entry in sorted(self.work.rglob("*")):
                inside = entry.relative_to(self.work)
                if entry.is_file() and inside.parts[0] not in NOT_KEPT and entry.stat().st_size <= LARGEST_FILE:
                    archive.add(entry, pathlib.Path(f"call{self.call}") / inside, recursive=False)


def _text(path):
    return path.read_text(errors="replace")


def _now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def on_signals():
    """From here on a signal ends the call in order: what it started ends, and what there is is kept."""

    def stop(number, _frame):
        # A second one does not interrupt the ending.
        for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)


def is_there(program):
    """The program's path, or Absent."""
    path = shutil.which(program)
    if path is None:
        raise Absent(f"{program} is not here")
    return path
