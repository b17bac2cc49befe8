"""Turn what `make bench` measured into the rows of the status page, with the machine and versions beside them."""

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
COLUMNS = ("what", "in forward passes", "median, s", "extra peak memory, MB", "rounds")
VERSIONS = ("torch", "torchvision", "timm", "captum", "grad-cam")


def rows(measured: dict) -> list[dict]:
    """One row for each benchmark, in the order in which they ran."""
    return [
        {**b["extra_info"], "median, s": f"{b['stats']['median']:.3g}", "rounds": b["stats"]["rounds"]}
        for b in measured["benchmarks"]
    ]


def provenance() -> dict:
    """Say where, when and with what the rows were measured."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

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
        **{name: importlib.metadata.version(name) for name in VERSIONS},
    }


def main() -> int:
    """Read the JSON file named on the command line."""
    measured = json.loads(Path(sys.argv[1]).read_text(encoding="utf8"))
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "benchmarks.csv").open("w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(measured))
    (RESULTS / "benchmarks.json").write_text(json.dumps(provenance(), indent=2) + "\n", encoding="utf8")
    print(f"Rows in {RESULTS / 'benchmarks.csv'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
