"""What a call of gpu-verify left in its folder, read as far as it goes: every part may be missing or cut off."""

import csv
import io
import json
import pathlib
import re

import runner


class Evidence:
    """The folder of a call."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.call = self._json("call.json") or {}
        devices = self._json("devices.out") or {}
        self.environment = devices.get("environment") or {}
        self.devices = devices.get("devices") or []
        self.device = self.call.get("device", "cuda:0")
        # The catalog's row of this card; empty where it has none.
        self.sheet = (devices.get("data_sheets") or {}).get(self.device) or {}
        self.steps = {step["name"]: step for step in self.call.get("steps", [])}
        peers = self._lines("peers.out")
        self.peers = {line["peer"]: line for line in peers if "peer" in line}
        self.torch = next((line["torch"] for line in peers if "torch" in line), None)
        self.meters = self._lines("meters.out")
        self.projections = self._lines("projection.out")
        self.coldstarts = self._json("coldstart.out") or []
        self.runs = {name: self._json(f"{name}/run.json") for name in ("first", "sweep", "unmetered")}
        self.rows = {name: self._rows(name) for name in self.runs}
        self.cards = {
            path.parent.name: self._rows(f"cards/{path.parent.name}")
            for path in sorted(self.folder.glob("cards/*/cases.csv"))
        }
        own = self._json("ceilings.out") or []
        sweep = (self.runs["sweep"] or {}).get("ceilings") or []
        self.ceilings = [c for c in own + sweep if c.get("device", self.device) == self.device]
        self.ceilings_absent = self._warnings("ceilings.log") or self._warnings("sweep.log")

    def text(self, name):
        """A file's text; empty where it is not there."""
        try:
            return (self.folder / name).read_text(errors="replace")
        except OSError:
            return ""

    def _json(self, name):
        try:
            return json.loads(self.text(name))
        except ValueError:
            return None

    def _lines(self, name):
        found = []
        for line in self.text(name).splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    def _rows(self, folder):
        try:
            with (self.folder / folder / "cases.csv").open(newline="") as file:
                text = file.read()
            # A row that a killed step has cut off, in the middle of a number perhaps, is none.
            whole = text[: text.rfind("\n") + 1]
            return [row for row in csv.DictReader(io.StringIO(whole)) if None not in row.values()]
        except (OSError, csv.Error):
            return []

    def _warnings(self, name):
        lines = (line for line in self.text(name).splitlines() if line.startswith("warning: "))
        return list(dict.fromkeys(line[len("warning: ") :] for line in lines))

    def name(self):
        """The card."""
        return next((d["name"] for d in self.devices if d["id"] == self.device), "unknown card")

    def state(self, step):
        """What came of a step, in words; that it was not among those of this call where it was not."""
        known = self.steps.get(step)
        if known is None:
            return "not in this call"
        return known["state"] + (f": {known['word']}" if known["word"] else "")

    def went_well(self, step):
        """Whether a step did all that it should."""
        return self.steps.get(step, {}).get("state") == runner.OK

    def best(self, kind, how=""):
        """The highest rate among the ceilings of a kind whose method has `how` in it; nothing where there is none."""
        return max((c["best"] for c in self.ceilings if c["kind"] == kind and how in c["how"]), default=None)

    def peer(self, name):
        """PyTorch's best rate."""
        return self.peers.get(name, {}).get("best")

    def library_product(self, kind):
        """The best rate of a product by the vendor's library, ours or PyTorch's call of it."""
        return max(filter(None, (self.best(kind, "cuBLASLt"), self.peer(kind))), default=None)

    def logits(self):
        """The largest relative difference to the CPU for each level, of those that the test program printed."""
        worst = {}
        for level, off in re.findall(
            r"^\S+ (\S+) b\d+ p\d+ step \d+: ([0-9.eE+-]+)$", self.text("logits.log"), re.MULTILINE
        ):
            worst[level] = max(worst.get(level, 0.0), float(off))
        return worst
