"""What a merge costs at 10,000, 100,000 and 1,000,000 items of five samples, against plainly writing as much.

    python -m benchmarks.merge_scale [--items 10000 100000 1000000] [--rounds 3] [--scratch DIR] [--out FILE]

A finished run is made through the code of the package (large_run.py): a result file for every 1,000 items.
Then, each in a process of its own, in turn: the merge to the published directory; and plainly what has to be
done for the same bytes, with nothing proven: each published file read, each record in it parsed with orjson,
serialised and written to one file. The merge's fsync is in its time; that of the plain file is shown apart
and is not in the ratio. Beside them what `status`, `verify RUN` and `verify DIR` take.

Shown are wall seconds, CPU seconds and the largest resident memory; of several rounds the one with the best
ratio, and the JSON has all. Before each, the disk is left to come to rest. A million items need 20 GB of it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from benchmarks.large_run import NUM_SAMPLES, make_large_run
from benchmarks.record import hardware, versions, write_record
from launch.collect.merge import merge
from launch.collect.status import status
from launch.collect.verify import verify_published
from launch.collect.verify_run import verify_run
from launch.rundir.layout import RunPaths

ROOT = Path(__file__).resolve().parent.parent
ITEMS_PER_FILE = 1_000
HEADER = (
    "items",
    "files",
    "result MB",
    "published MB",
    "merge s",
    "cpu s",
    "MiB",
    "plain s",
    "cpu s",
    "fsync s",
    "ratio",
)
LOOKS = ("status", "verify_run", "verify_dir")


def main() -> None:
    """Measures every size and prints a row for each; as its own child it does one thing and tells of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="where the runs are made; a temporary directory")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/merge-scale.json")
    parser.add_argument("--do", choices=sorted(DOING), help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="place", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.do:
        print(json.dumps(watched(DOING[args.do], args.place, args.items[0])))
        return
    rows = earlier_rows(args.out)
    print(" ".join(f"{name:>12}" for name in (*HEADER, *(f"{name} s" for name in LOOKS))), flush=True)
    for num_items in args.items:
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            row = measure(Path(scratch) / "at", num_items, args.rounds)
        rows[num_items] = row | {"hardware": hardware(), "versions": versions()}
        print(describe(row), flush=True)
        found = {"samples_per_item": NUM_SAMPLES, "rows": [rows[each] for each in sorted(rows)]}
        write_record(args.out, found)


def earlier_rows(path: Path) -> dict[int, dict[str, Any]]:
    """What is in the file already, by number of items: sizes that are not measured now keep their rows."""
    if not path.exists():
        return {}
    return {row["items"]: row for row in json.loads(path.read_text())["rows"]}


def measure(place: Path, num_items: int, rounds: int) -> dict[str, Any]:
    """All figures of one size."""
    child("make", place, num_items)
    run, published = RunPaths(place / "runs" / "run"), place / "published"
    pairs = []
    for _ in range(rounds):
        shutil.rmtree(published, ignore_errors=True)
        pairs.append({name: child(name, place, num_items) for name in ("merge", "plain", "fsync")})
        (place / "plain").unlink()
    looks = {name: child(name, place, num_items) for name in LOOKS}
    results = list(run.tasks.rglob("*.results.jsonl"))
    return {
        "items": num_items,
        "result_files": len(results),
        "result_bytes": sum(path.stat().st_size for path in results),
        "published_bytes": {
            path.name: path.stat().st_size for path in sorted(published.iterdir()) if path.is_file()
        },
        "user_files": sum(1 for _ in published.glob("users/*")),
        "rounds": pairs,
        **looks,
    }


def describe(row: dict[str, Any]) -> str:
    """One row of the table."""
    best = min(row["rounds"], key=lambda each: each["merge"]["wall_s"] / each["plain"]["wall_s"])
    ours, plain = best["merge"], best["plain"]
    values = [
        f"{row['items']:,}",
        f"{row['result_files']:,}",
        f"{row['result_bytes'] / 1e6:,.0f}",
        f"{plain['said'] / 1e6:,.0f}",
        *(f"{ours[name]:.1f}" for name in ("wall_s", "cpu_s")),
        f"{ours['peak_mib']:,.0f}",
        *(f"{plain[name]:.1f}" for name in ("wall_s", "cpu_s")),
        f"{best['fsync']['wall_s']:.1f}",
        f"{ours['wall_s'] / plain['wall_s']:.2f}",
        *(f"{row[name]['wall_s']:.1f}" for name in LOOKS),
    ]
    return " ".join(f"{value:>12}" for value in values)


def child(what: str, place: Path, num_items: int) -> dict[str, Any]:
    """Does one thing in a process of its own; what it took and what it said."""
    command = [sys.executable, str(Path(__file__).resolve()), "--do", what, "--in", str(place)]
    command += ["--items", str(num_items)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if what != "fsync":
        os.sync()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def watched(do: Callable[[Path, int], Any], place: Path, num_items: int) -> dict[str, Any]:
    """Wall and CPU seconds of it, and the largest resident memory of this process so far (Linux)."""
    began, cpu = time.monotonic(), time.process_time()
    said = do(place, num_items)
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    text = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kib = int(text.split("VmHWM:")[1].split()[0])
    return {
        "wall_s": round(wall_s, 3),
        "cpu_s": round(cpu_s, 3),
        "peak_mib": round(peak_kib / 1024, 1),
        "said": said,
    }


def do_make(place: Path, num_items: int) -> int:
    """A finished run."""
    make_large_run(place, num_items, max(1, num_items // ITEMS_PER_FILE))
    return num_items


def do_merge(place: Path, _: int) -> int:
    """As `vllm-launch merge` does it; items done."""
    return merge(RunPaths(place / "runs" / "run")).manifest.num_done


def do_plain(place: Path, _: int) -> int:
    """Parses, serialises and writes every published record; the bytes written."""
    with (place / "plain").open("wb", buffering=1 << 20) as file:
        for record in published_records(place / "published"):
            file.write(orjson.dumps(orjson.loads(record)))
            file.write(b"\n")
        return file.tell()


def do_fsync(place: Path, _: int) -> int:
    """Makes the plain file durable."""
    with (place / "plain").open("rb+") as file:
        os.fsync(file.fileno())
    return 0


def published_records(published: Path) -> Iterator[bytes]:
    """Each JSON text of the published files: of a list and of lines each element, else the whole file."""
    for path in sorted(path for path in published.rglob("*") if path.is_file()):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    yield archive.read(member)
        elif path.suffix == ".jsonl" or path.name == "test_leaderboard.json":
            with path.open("rb", buffering=1 << 20) as file:
                for line in file:
                    if len(line) > 2:
                        yield line.removesuffix(b",\n")
        else:
            yield path.read_bytes()


def do_status(place: Path, _: int) -> int:
    """As `vllm-launch status` without a queue; items done."""
    return status(RunPaths(place / "runs" / "run")).num_done


def do_verify_run(place: Path, _: int) -> int:
    """As `vllm-launch verify RUN`; problems."""
    return len(verify_run(RunPaths(place / "runs" / "run")).problems)


def do_verify_dir(place: Path, _: int) -> int:
    """As `vllm-launch verify DIR`; problems."""
    return len(verify_published(place / "published").problems)


DOING: dict[str, Callable[[Path, int], Any]] = {
    "make": do_make,
    "merge": do_merge,
    "plain": do_plain,
    "fsync": do_fsync,
    "status": do_status,
    "verify_run": do_verify_run,
    "verify_dir": do_verify_dir,
}


if __name__ == "__main__":
    main()
