"""`python -m tests.chaos --kills 200 --out DIR --seed N`: a campaign in parts; exit 1 on any violation.

`--engine vllm` runs the real vLLM on a CPU instead of the stub engine.

Each part is a process of its own, with a cluster of its own, and writes DIR/part-<k>.json. Parts that are
there are not repeated, so a campaign that was cut goes on where it was.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from math import ceil
from pathlib import Path
from typing import Any

from tests.chaos.kinds import Kind
from tests.chaos.part import run_part
from tests.chaos.stub_work import STUB
from tests.chaos.vllm_work import VLLM
from tests.chaos.work import Work

WORKS = {work.engine: work for work in (STUB, VLLM)}
MAX_PARTS = 20


def main(words: list[str] | None = None) -> int:
    """Runs what is left of a campaign and shows its sum."""
    asked = _parse(words)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.part is not None:
        return _run_one(asked)
    for part in range(MAX_PARTS):
        if _left(asked).total() <= 0:
            break
        if _file(asked, part).exists():
            continue
        again = [sys.executable, "-m", "tests.chaos", "--part", str(part), "--out", str(asked.out)]
        again += ["--engine", asked.engine]
        again += ["--kills", str(asked.kills), "--seed", str(asked.seed)]
        subprocess.run([*again, "--part-seconds", str(asked.part_seconds)], check=False)
        if not _file(asked, part).exists():
            return 1  # it failed itself; violations are in its record, and the campaign goes on
    return _show(asked)


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--engine", choices=WORKS, default=STUB.engine)
    parser.add_argument("--kills", type=int, default=200, help="In all; each kind has its share.")
    parser.add_argument("--part-seconds", type=float, default=520, help="A part takes no longer.")
    parser.add_argument("--out", type=Path, required=True, help="Where part-<k>.json are written.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", type=int, help="Only this part.")
    return parser.parse_args(words)


def _file(asked: argparse.Namespace, part: int) -> Path:
    path: Path = asked.out / f"part-{part}.json"
    return path


def _records(asked: argparse.Namespace) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(asked.out.glob("part-*.json"))]


def _counts(asked: argparse.Namespace) -> Counter[Kind]:
    counts: Counter[Kind] = Counter()
    for record in _records(asked):
        counts.update({Kind(name): count for name, count in record["kills"].items()})
    return counts


def _work(asked: argparse.Namespace) -> Work:
    return WORKS[asked.engine]


def _left(asked: argparse.Namespace) -> Counter[Kind]:
    """Kills that are still to be made, by kind."""
    done, shares = _counts(asked), _work(asked).kinds
    wanted = {kind: ceil(round(asked.kills * share, 6)) for kind, share in shares.items()}
    return Counter({kind: max(0, number - done[kind]) for kind, number in wanted.items()})


def _run_one(asked: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="chaos-") as home:
        seed = f"{asked.seed}.{asked.part}"
        reference = asked.out / "reference"
        record = run_part(_work(asked), Path(home), seed, _left(asked), asked.part_seconds, reference)
    _file(asked, asked.part).write_text(json.dumps(record, indent=1) + "\n")
    for violation in record["violations"]:
        print(f"part {asked.part}: {violation}", file=sys.stderr)
    print(f"part {asked.part}: {record['num_kills']} kills in {record['duration_s']} s", flush=True)
    return 1 if record["violations"] else 0


def _show(asked: argparse.Namespace) -> int:
    counts, records = _counts(asked), _records(asked)
    runs = [run for record in records for run in record["runs"]]
    for kind in _work(asked).kinds:
        print(f"{kind.value:<20}{counts[kind]:>5}")
    print(f"{'in all':<20}{counts.total():>5} kills, {len(runs)} runs, {len(records)} parts")
    again = sum(run["num_generated_again"] for run in runs)
    print(f"generated again: {again} items of {sum(run['num_allowed_again'] for run in runs)} allowed")
    equal, items = (sum(run[name] for run in runs) for name in ("num_equal_texts", "num_items"))
    print(f"texts as of an undisturbed run: {equal} of {items} items")
    violations = [said for record in records for said in record["violations"]]
    print(f"violations: {len(violations)}")
    return 1 if violations or counts.total() < asked.kills else 0


if __name__ == "__main__":
    sys.exit(main())
