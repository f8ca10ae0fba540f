"""What a task does with a large submission: planning, reading and claiming 20,000 chunks of 1,000,000 items.

    python -m benchmarks.claims_scale [--users 100000] [--tasks 1250] [--out FILE.json]

Users of 10 items with random lengths and no text are shared over tasks and cut into chunks by the planner as
shipped, and written as a submission writes them. A process of its own then reads chunks.jsonl as an engine
process does, claims 100 chunks with nothing done yet, and lists the claims when all but these are done. CPU
seconds, of a claim the mean. Prints a table and writes JSON.
"""

import argparse
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

from benchmarks.record import write_record
from launch.planning.chunks import plan_chunks
from launch.planning.cost import UserCost, cost_user
from launch.planning.shards import plan_shards
from launch.rundir.chunks import read_chunks, write_chunks
from launch.rundir.claims import ClaimBook, Owner, survey_claims
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.plan import IndexEntry

ROOT = Path(__file__).resolve().parent.parent
ITEMS, CLAIMS, LINE_BYTES = 10, 100, 35_000
Found = dict[str, float]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1_250)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/claims-scale.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        paths = RunPaths(Path(scratch)).submission(1)
        paths.claims.mkdir(parents=True)
        found = plan(paths, args.users, args.tasks)
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # memory of a fresh process
            found |= pool.apply(claim, (paths,))
    for name, value in found.items():
        print(f"{name:<34}{value:>12,.4g}")
    asked = {"users": args.users, "items": args.users * ITEMS, "tasks": args.tasks}
    write_record(args.out, {**asked, "found": found})


def plan(paths: SubmissionPaths, num_users: int, num_tasks: int) -> Found:
    """Writes the chunks; CPU seconds of each step."""
    chooser = random.Random(0)
    users = [user_of(number, chooser) for number in range(num_users)]
    index = [
        IndexEntry(number, "", number * ITEMS, (number * LINE_BYTES, LINE_BYTES, number), None, (), (), ())
        for number in range(num_users)
    ]
    started = time.process_time()
    shards = plan_shards(users, num_tasks)
    shared = time.process_time()
    chunks = plan_chunks(shards)
    cut = time.process_time()
    write_chunks(paths, chunks, index)
    written = time.process_time()
    return {
        "chunks": len(chunks),
        "chunks.jsonl, MiB": paths.chunks.stat().st_size / 2**20,
        "sharing users over tasks, s": shared - started,
        "cutting chunks, s": cut - shared,
        "writing chunks.jsonl, s": written - cut,
    }


def user_of(number: int, chooser: random.Random) -> UserCost:
    """A user of 10 items with prompts of 500 to 3,000 tokens."""
    tokens = [chooser.uniform(500, 3000) for _ in range(ITEMS)]
    return cost_user(number, f"{number:032x}", range(number * ITEMS, (number + 1) * ITEMS), tokens, 1280.0)


def claim(paths: SubmissionPaths) -> Found:
    """What an engine process does with chunks.jsonl and claims/, in CPU seconds and peak memory."""
    before, started = peak_mib(), time.process_time()
    chunks = read_chunks(paths)
    read = time.process_time()
    book = ClaimBook(paths, chunks, Owner(0, 0, 0, 0, None, "here", 1), lambda owner: True)
    num_claimed = sum(book.claim_next() is not None for _ in range(CLAIMS))
    claimed = time.process_time()
    for chunk in chunks[CLAIMS:]:
        paths.claim(chunk.number, 1).touch()
        paths.done(chunk.number).touch()
    made = time.process_time()
    survey_claims(paths)
    listed = time.process_time()
    return {
        "reading chunks.jsonl, s": read - started,
        "peak memory that reading adds, MiB": peak_mib() - before,
        "a claim, s": (claimed - read) / num_claimed,
        "listing all claims, s": listed - made,
    }


def peak_mib() -> float:
    """Of this process so far; ru_maxrss would tell that of the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
