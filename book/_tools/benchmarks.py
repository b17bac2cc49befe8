"""Turn what `make bench` measured into the rows of the status page, with the machine and versions beside them.

A row takes the place of the earlier one that says the same in its first column; the others stay, each with what made
it. With --all, as after `make bench` without TESTS, rows that were not measured anew go.
"""

import csv
import datetime as dt
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from build import ROOT

RESULTS = ROOT / "book" / "results"
COLUMNS = {
    "benchmarks": ("what", "in forward passes", "median, s", "extra peak memory, MB", "rounds"),
    "benchmarks_experiments": (
        "what", "images per second", "times the plain loop", "times float32", "resident after 100 images, MB",
        "growth from there to the end, %", "median, s", "rounds"),
    "benchmarks_transformers": ("what", "in passes forward and backward", "median, s", "rounds"),
}
VERSIONS = ("torch", "torchvision", "timm", "captum", "grad-cam")


def rows(measured: dict, table: str) -> list[dict]:
    """One row for each benchmark of a table, in the order in which they ran."""
    return [
        {**b["extra_info"], "median, s": f"{b['stats']['median']:.3g}", "rounds": b["stats"]["rounds"]}
        for b in measured["benchmarks"] if table_of(b) == table
    ]


def table_of(benchmark: dict) -> str:
    """Experiments, and what is counted in passes forward and backward, have tables of their own."""
    for name in ("experiments", "transformers"):
        if f"/bench_{name}.py::" in benchmark["fullname"]:
            return f"benchmarks_{name}"
    return "benchmarks"


def provenance() -> dict:
    """Say where, when and with what the rows were measured."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
                if line.startswith("model name")), platform.processor())
    return {
        "command": "make bench",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": git("rev-parse", "--short", "HEAD"),
        "changed since that commit": bool(git("status", "--porcelain", "contrastlib", "tests/benchmarks")),
        "processor": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
    }


def stored(path: Path, columns: tuple[str, ...]) -> list[dict]:
    """The rows that are there already."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf8") as file:
        return [{name: row.get(name, "") for name in columns} for row in csv.DictReader(file)]


def merged(old: list[dict], new: list[dict]) -> list[dict]:
    """New rows in the places of the old ones of the same name, further ones behind them."""
    waiting = {row["what"]: row for row in new}
    return [*[waiting.pop(row["what"], row) for row in old], *waiting.values()]


def merged_runs(path: Path, old: list[dict], new: list[dict], about: dict) -> list[dict]:
    """What made each row, newest last."""
    content = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {"runs": []}
    runs = content.get("runs", [{**content, "rows": [row["what"] for row in old]}])
    measured, there = [row["what"] for row in new], {row["what"] for row in old}
    left = [{**run, "rows": [what for what in run["rows"] if what in there and what not in measured]} for run in runs]
    same = [what for run in left if {**run, "rows": None} == {**about, "rows": None} for what in run["rows"]]
    left = [run for run in left if run["rows"] and {**run, "rows": None} != {**about, "rows": None}]
    return [*left, {**about, "rows": [*same, *measured]}]


def write(table: str, new: list[dict], *, everything: bool) -> Path:
    """Put rows into a table."""
    path, columns = RESULTS / f"{table}.csv", COLUMNS[table]
    old = [] if everything else stored(path, columns)
    runs = merged_runs(path.with_suffix(".json"), old, new, provenance())
    rows = merged(old, new)
    filled = [name for name in columns if any(row.get(name) not in (None, "") for row in rows)]
    with path.open("w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, filled, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".json").write_text(json.dumps({"runs": runs}, indent=2) + "\n", encoding="utf8")
    return path


def main() -> int:
    """Read the JSON file named on the command line."""
    everything = "--all" in sys.argv[1:]
    (source,) = [word for word in sys.argv[1:] if word != "--all"]
    measured = json.loads(Path(source).read_text(encoding="utf8"))
    RESULTS.mkdir(exist_ok=True)
    for table in COLUMNS:
        new = rows(measured, table)
        if new:
            print(f"Rows in {write(table, new, everything=everything)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
