"""What a task does with a large submission: planning, reading and claiming 20,000 chunks of 1,000,000 items.

    python -m benchmarks.claims_scale [--users 100000] [--tasks 1250] [--out FILE.json]

Users of 10 items with random lengths and no text are shared over tasks and cut into chunks by the planner as
shipped, and written as a submission writes them. A process of its own then reads chunks.jsonl as an engine
process does and claims 100 chunks with nothing done yet. Then every other chunk is claimed, and of each task
all but four are done, as near the end of a run. A task that has nothing left looks twice for work while all
holders run, by Slurm's shared answer. CPU seconds, of a claim the mean; and how many files and directories
are opened. Prints a table and writes JSON.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from benchmarks.record import write_record
from launch.planning.chunks import plan_chunks
from launch.planning.cost import UserCost, cost_user
from launch.planning.shards import plan_shards
from launch.rundir.attempts import filesystem_now
from launch.rundir.chunks import ChunkLine, read_chunks, write_chunks
from launch.rundir.claim_files import Owner, survey_claims
from launch.rundir.claims import ClaimBook
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.plan import IndexEntry
from launch.slurm.liveness import LOOK_AGAIN_S, Life, Lives
from launch.slurm.shared_queue import JobRow, QueueAnswer, save_answer

ROOT = Path(__file__).resolve().parent.parent
ITEMS, CLAIMS, HELD, LINE_BYTES = 10, 100, 4, 35_000
ARRAY, CLUSTER = "12", "big"
OPENINGS = ("open", "os.listdir", "os.scandir")
Found = dict[str, float]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1_250)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/claims-scale.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = RunPaths(Path(scratch))
        run.submission(1).claims.mkdir(parents=True)
        found = plan(run.submission(1), args.users, args.tasks)
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # memory of a fresh process
            found |= pool.apply(claim, (run,))
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


def claim(run: RunPaths) -> Found:
    """What an engine process does with chunks.jsonl and claims/, in CPU seconds and peak memory."""
    paths = run.submission(1)
    before, started = peak_mib(), time.process_time()
    chunks = read_chunks(paths)
    read = time.process_time()
    book = ClaimBook(paths, chunks, owner_of(0), lambda owner: True)
    num_claimed = sum(book.claim_next() is not None for _ in range(CLAIMS))
    claimed = time.process_time()
    memory = peak_mib() - before
    return {
        "reading chunks.jsonl, s": read - started,
        "peak memory that reading adds, MiB": memory,
        "a claim, s": (claimed - read) / num_claimed,
        "chunks held at the end": hold(run, chunks),
        **look(run, chunks),
    }


def owner_of(task: int) -> Owner:
    """The engine of a task."""
    return Owner(task, 0, 0, 0, f"{ARRAY}_{task}", f"node{task}", 1)


def hold(run: RunPaths, chunks: Sequence[ChunkLine]) -> int:
    """Every task lives and holds its last chunks, beside those claimed before; how many are not done."""
    paths = run.submission(1)
    claimed = survey_claims(paths).highest
    shards: dict[int, list[int]] = {}
    for chunk in chunks:
        shards.setdefault(chunk.shard, []).append(chunk.number)
    for task, numbers in shards.items():
        begin_attempt(run, task)
        for number in numbers:
            if number not in claimed:
                paths.claim(number, 1).write_bytes(orjson.dumps(asdict(owner_of(task))))
        for number in numbers[:-HELD]:
            paths.done(number).touch()
    rows = tuple(JobRow(ARRAY, task, "RUNNING", None) for task in shards)
    who = {"host": "here", "user": os.getuid(), "cluster": CLUSTER, "jobs": (ARRAY,), "error": None}
    save_answer(paths, QueueAnswer(number=1, asked=filesystem_now(paths.root), rows=rows, **who))
    return len(chunks) - len(survey_claims(paths).done)


def begin_attempt(run: RunPaths, task: int) -> None:
    """What a supervisor writes of an attempt that lives on a node of its own."""
    attempt = run.attempt(1, task, 0)
    attempt.root.mkdir(parents=True)
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME")
    slurm = dict(zip(names, (ARRAY, str(task), CLUSTER), strict=True))
    attempt.attempt_json.write_bytes(orjson.dumps({"host": f"node{task}", "pid": 1, "slurm": slurm}))
    attempt.heartbeat.touch()


def look(run: RunPaths, chunks: Sequence[ChunkLine]) -> Found:
    """Two looks of a task with nothing left at what all others hold; a listing is part of each."""
    opened = [0]

    def count(event: str, _: object) -> None:
        opened[0] += event in OPENINGS

    sys.addaudithook(count)  # for the rest of this process's life
    lives = Lives(run, 1, on_slurm=True)
    helper = owner_of(len(chunks))
    paths = run.submission(1)
    book = ClaimBook(paths, chunks, helper, lambda owner: lives.of(owner.task, 0) is not Life.DEAD)
    found: Found = {}
    for name in ("first look", "further look"):
        before, started = opened[0], time.process_time()
        if book.claim_next() is not None:
            raise SystemExit("a chunk of the living was taken")
        found[f"{name} at all held, s"] = time.process_time() - started
        found[f"{name}, files opened"] = opened[0] - before
        time.sleep(LOOK_AGAIN_S)  # until then lives.of answers from memory
    started = time.process_time()
    survey_claims(paths)
    return found | {"listing all claims, s": time.process_time() - started}


def peak_mib() -> float:
    """Of this process so far; ru_maxrss would tell that of the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
