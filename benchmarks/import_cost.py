"""What importing costs an engine process: transformers' AutoTokenizer, then vLLM's LLM, in four ways.

    python -m benchmarks.import_cost [--rounds 3] [--out FILE.json]

Whole processes, one after another; the ways take turns:

- plain: `from transformers import AutoTokenizer`, then `from vllm import LLM`;
- engine process: `fast_imports` around the first, then `import_vllm`, with what that imports of ours;
- plain, nothing compiled: Python finds no compiled modules and keeps none, as where packages were
  installed without them and nobody may write beside them;
- plain, compiled elsewhere: modules that an earlier process compiled into a folder (PYTHONPYCACHEPREFIX),
  which an engine process gets in such a place.

Before the first round each way that reads compiled modules has a process that is not counted: it compiles
what is missing and brings the files into memory. Processes end by os._exit, because Python's own end is none
of it. Seconds are by the clock, from the start of a process to its end; CPU seconds are its own and those of
the processes it waited for. The least of all rounds stands for what an import needs; more is what else the
machine did.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.record import table, write_record

ROOT = Path(__file__).resolve().parent.parent
OF_BYTECODE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
END = "\nimport os\nos._exit(0)\n"
PLAIN = """
from transformers import AutoTokenizer
from vllm import LLM
"""
ENGINE = """
from launch.worker.startup.imports import fast_imports
with fast_imports(hides_sklearn=True):
    from transformers import AutoTokenizer
from launch.worker.engines.vllm_calls import import_vllm
import_vllm()
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How a process imports: its lines and what its environment has beside this one's."""

    name: str
    lines: str
    variables: dict[str, str] = field(default_factory=dict)
    has_compiled: bool = True


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one process."""

    wall_s: float
    cpu_s: float


def ways(scratch: Path) -> list[Way]:
    """All four; folders for compiled modules are made in `scratch`."""
    none, elsewhere = scratch / "none", scratch / "compiled"
    without = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(none)}
    return [
        Way("plain", PLAIN),
        Way("engine process", ENGINE),
        Way("plain, nothing compiled", PLAIN, without, has_compiled=False),
        Way("plain, compiled elsewhere", PLAIN, {"PYTHONPYCACHEPREFIX": str(elsewhere)}),
    ]


def plain_environment() -> dict[str, str]:
    """This process's, without what it says of compiled modules and without the hub."""
    kept = {name: value for name, value in os.environ.items() if name not in OF_BYTECODE}
    return {**kept, "HF_HUB_OFFLINE": "1"}


def run_process(way: Way, log: Path) -> Cost:
    """One process from its start to its end; SystemExit with the end of what it said when it failed."""
    command = [sys.executable, "-c", way.lines + END]
    environment = {**plain_environment(), **way.variables}
    with log.open("wb") as said:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        sys.exit(f"{way.name}: the process ended with {process.returncode}:\n{last}")
    return Cost(round(wall_s, 3), round(used.ru_utime + used.ru_stime, 3))


def measure(rounds: int, scratch: Path) -> dict[str, list[Cost]]:
    """By way, what a process of each round needed."""
    all_ways, log = ways(scratch), scratch / "said.log"
    for way in all_ways:
        if way.has_compiled:
            run_process(way, log)
    costs: dict[str, list[Cost]] = {way.name: [] for way in all_ways}
    for number in range(1, rounds + 1):
        for way in all_ways:
            cost = run_process(way, log)
            costs[way.name].append(cost)
            print(f"{number} {way.name}: {cost.wall_s:.2f} s, CPU {cost.cpu_s:.2f} s", file=sys.stderr)
    assert not list((scratch / "none").rglob("*.pyc")), "something compiled was kept"
    assert list((scratch / "compiled").rglob("*.pyc")), "nothing compiled was kept"
    return costs


def rows_of(costs: dict[str, list[Cost]]) -> list[dict[str, Any]]:
    """A row for each way; the first one is what the others are set against."""
    least = {
        name: (min(each.wall_s for each in own), min(each.cpu_s for each in own))
        for name, own in costs.items()
    }
    plain_wall_s, plain_cpu_s = next(iter(least.values()))
    return [
        {
            "imports": name,
            "s": wall_s,
            "median s": statistics.median(each.wall_s for each in costs[name]),
            "CPU s": cpu_s,
            "s / plain": wall_s / plain_wall_s,
            "CPU / plain": cpu_s / plain_cpu_s,
        }
        for name, (wall_s, cpu_s) in least.items()
    ]


def main() -> None:
    """Measures, prints a row for each way, writes the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/import-cost.json")
    args = parser.parse_args()
    if importlib.util.find_spec("vllm") is None:
        sys.exit("vLLM is not installed for this Python: there is nothing to import.")
    load_before = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as scratch:
        costs = measure(args.rounds, Path(scratch))
    rows = rows_of(costs)
    found = {
        "rounds": args.rounds,
        "load_1_min_before": load_before,
        "rows": rows,
        "processes": [
            {"imports": name, "round": number, "s": cost.wall_s, "CPU s": cost.cpu_s}
            for name, own in costs.items()
            for number, cost in enumerate(own, 1)
        ],
    }
    write_record(args.out, found)
    print(table(rows))


if __name__ == "__main__":
    main()
