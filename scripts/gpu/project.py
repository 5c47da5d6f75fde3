#!/usr/bin/env python3
"""What the program projects from a run on one card to another card, beside what was measured there.

    project.py SIZEWELL FIRST HERE CARD

FIRST is the run on the first card: an archive of gpu-verify, or a folder that holds `sweep/run.json` or `run.json`.
HERE is the run on this card, CARD its id in the catalog. The figures are those of `sizewell rank`. Prints one line
of JSON for each case that both runs have. The status is 4 where there is none.
"""

import csv
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile

# Hardware of one's own is what `rank` projects to by name; its price plays no part in its times.
OWN = """name = "this card"
accelerator = "{card}"
accelerator_count = 1
capital_usd = 1
life_years = 1
salvage_fraction = 0.0
interest_per_year = 0.0
active_w = 1
pue = 1.0
usd_per_kwh = 0.0
facility_usd_per_h = 0
staff_usd_per_month = 0
source = "none: only its times are asked for"
"""


def unpacked(first, into):
    """The folder of the first card's run."""
    path = pathlib.Path(first)
    # What an earlier call left there is another run.
    shutil.rmtree(into, ignore_errors=True)
    if path.is_file():
        with tarfile.open(path) as archive:
            wanted = [
                m for m in archive.getmembers() if m.isfile() and pathlib.PurePosixPath(m.name).parts[-2:][0] == "sweep"
            ]
            into.mkdir(parents=True, exist_ok=True)
            for member in wanted:
                # By its last part alone: no name of an archive says where on this machine a file goes.
                with archive.extractfile(member) as source, (into / pathlib.PurePosixPath(member.name).name).open(
                    "wb"
                ) as to:
                    shutil.copyfileobj(source, to)
        path = into
    for folder in (path, path / "sweep"):
        if (folder / "run.json").is_file():
            return folder
    absent(f"{first} holds no run of a sweep")


def absent(why):
    """Ends without anything to say."""
    print(f"absent: {why}", file=sys.stderr)
    sys.exit(4)


def cases(folder):
    """Measured cases by level and batch."""
    with (folder / "cases.csv").open() as file:
        return {(row["quant"], row["batch"]): row for row in csv.DictReader(file) if row["outcome"] == "ok"}


def only(run, into, quant, batch):
    """The run with one case alone: a ranking is of the batch that costs least, and each is asked for."""
    into.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "run.json", into / "run.json")
    with (run / "cases.csv").open() as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if (row["quant"], row["batch"]) == (quant, batch)]
    with (into / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, reader.fieldnames, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return into


def projected(sizewell, run, own, row):
    """The row of `rank` for this card; the reason where there is none."""
    command = [
        sizewell,
        "rank",
        run,
        "--own",
        own,
        "--only",
        "projected",
        "--quant",
        row["quant"],
        "--prompt",
        row["prompt_tokens"],
        "--gen-tokens",
        row["gen_tokens"],
        "--top",
        "100000",
        "--json",
    ]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr or f"rank ends with status {done.returncode}")
    ranking = json.loads(done.stdout)
    rows = [row for row in ranking["rows"] if row["provider"] == "own"]
    why = [e["reason"] for e in ranking["excluded"] if e["offer"].startswith("own:")]
    return (rows[0], "") if rows else (None, why[0] if why else "the ranking has no row for it")


def compared(row, then, here):
    """Predicted beside measured, for both times. Of what was doubtful here or there, whether the range holds is no
    verdict on the projection, which does not learn from a doubtful row either."""
    sound = then["valid"] == here["valid"] == "true"
    result = {
        "tier": row["ground"]["tier"],
        "nearest": row["ground"]["nearest_card"],
        "law_of": row["ground"]["law_of"],
    }
    for time in ("ttft_s", "tpot_s"):
        if not here[time]:
            continue
        measured = float(here[time])
        guess = row[time]
        result[time] = {
            "predicted": guess,
            "measured": measured,
            "error": guess["value"] / measured - 1,
            "within": guess["lo"] <= measured <= guess["hi"] if sound else None,
        }
    return result


def main():
    sizewell, first, here, card = sys.argv[1:5]
    work = pathlib.Path("from")
    run = unpacked(first, work / "first")
    here = cases(pathlib.Path(here))
    then = cases(run)
    name = json.loads((run / "run.json").read_text())["engine"]["hardware"]
    own = work / "card.toml"
    work.mkdir(exist_ok=True)
    own.write_text(OWN.format(card=card))
    both = [key for key in then if key in here]
    if not both:
        absent("no case was measured on both cards")
    refused = 0
    for quant, batch in both:
        row, why = projected(sizewell, only(run, work / f"{quant}-{batch}", quant, batch), own, then[quant, batch])
        refused += row is None
        line = compared(row, then[quant, batch], here[quant, batch]) if row else {"refused": why}
        print(json.dumps({"quant": quant, "batch": int(batch), "from": name, "to": card, **line}), flush=True)
    if refused == len(both):
        absent(f"nothing is projected: {why}")


if __name__ == "__main__":
    main()
