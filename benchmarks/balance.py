"""How evenly tasks end: the planner and the claims as shipped, against the fluid bound, in simulated time.

    python -m benchmarks.balance [--seeds 20] [--items 100000] [--tasks 8 16] [--per-user 10 25 500]
                                 [--per-task 25 500] [--out FILE.json]

Lengths are lognormal (sigma 1.0, cut at 4 x the mean), the planner sees lengths correlated 0.5 with them, and
tasks start at random times within half the makespan. What is simulated is the engine (64 sequences that
advance at one speed) and the clock; shards and chunks come from launch.planning, and tasks claim through
launch.rundir.claims on real files, in the order in which they would, as far ahead of the engine as
launch.worker.reader does. An engine takes `--start-up` to load after its task has claimed its first chunk.

The fluid bound is the earliest end if work could be cut anywhere: all sequences of all tasks busy from their
starts on. It knows nothing of the longest item, which no schedule can cut. So the table also shows what one
queue gives that all tasks draw from item by item, longest prediction first: where a task has few items
(`--per-task`) that is far from the bound as well. Beside both: what equal counts of items give, which is what
array scripts do.
"""

import argparse
import heapq
import random
import statistics
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import exp, sqrt
from pathlib import Path

from benchmarks.record import write_record
from launch.planning.chunks import Chunk, plan_chunks
from launch.planning.cost import UserCost
from launch.planning.shards import plan_shards
from launch.rundir.chunks import ChunkLine, ChunkUser
from launch.rundir.claim_files import Owner
from launch.rundir.claims import ClaimBook
from launch.rundir.layout import SubmissionPaths
from launch.worker.reader import CLAIMED_AT_START, claim_below

ROOT = Path(__file__).resolve().parent.parent
SEQUENCES = 64
WINDOW = 2 * SEQUENCES
"""Requests in the engine at a time, as launch.worker.engines.vllm_engine has it for one sample an item."""
MEAN_S = 20.0
SIGMA = 1.0
CAP = 4.0
LOG_CORRELATION = 0.56
"""Of the logarithms; the lengths themselves, cut at the cap, are then correlated 0.5 (the table says it)."""


HEADER = ("tasks", "items", "a user", "ours", "one queue", "equal counts", "longest item", "correlation")


@dataclass(frozen=True, slots=True)
class Case:
    """A row: how many tasks and items, and items of each user."""

    tasks: int
    items: int
    per_user: int


@dataclass(frozen=True, slots=True)
class Work:
    """Real and predicted seconds of every item, and the start of every task."""

    real: Sequence[float]
    predicted: Sequence[float]
    starts: Sequence[float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ends of one seed, in seconds, and what they are compared with."""

    seed: int
    bound_s: float
    ours_s: float
    equal_count_s: float
    one_queue_s: float
    longest_s: float
    correlation: float


def main() -> None:
    """Measures every case and prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--per-user", type=int, nargs="+", default=[10, 25, 500], help="items of a user")
    parser.add_argument("--per-task", type=int, nargs="*", default=[25, 500])
    parser.add_argument("--start-up", type=float, default=60.0, help="seconds an engine takes to load")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/balance.json")
    args = parser.parse_args()
    cases = [Case(tasks, args.items, each) for each in args.per_user for tasks in args.tasks]
    cases += [Case(tasks, tasks * each, args.per_user[0]) for each in args.per_task for tasks in args.tasks]
    rows = []
    print(f"last end / fluid bound, the worst of {args.seeds} seeds")
    print(" ".join(f"{name:>12}" for name in HEADER))
    for case in cases:
        outcomes = [measure(seed, case, args.start_up) for seed in range(args.seeds)]
        rows.append({**asdict(case), "outcomes": [asdict(each) for each in outcomes]})
        print(describe(case, outcomes), flush=True)
    found = {
        "sequences": SEQUENCES,
        "window": WINDOW,
        "mean_s": MEAN_S,
        "start_up_s": args.start_up,
        "rows": rows,
    }
    write_record(args.out, found)


def describe(case: Case, outcomes: Sequence[Outcome]) -> str:
    """One row of the table."""

    def worst(of: Callable[[Outcome], float]) -> float:
        return max(of(each) / each.bound_s for each in outcomes)

    ratios = [
        worst(lambda each: each.ours_s),
        worst(lambda each: each.one_queue_s),
        worst(lambda each: each.equal_count_s),
        worst(lambda each: each.longest_s),
        statistics.fmean(each.correlation for each in outcomes),
    ]
    counts = (case.tasks, case.items, case.per_user)
    return " ".join([*(f"{count:12d}" for count in counts), *(f"{ratio:12.3f}" for ratio in ratios)])


def measure(seed: int, case: Case, start_up_s: float) -> Outcome:
    """Simulates one seed under every rule."""
    work = draw(random.Random(seed), case.items, case.tasks)
    with tempfile.TemporaryDirectory() as scratch:
        ours_s = simulate(work, ours(work, case.per_user, start_up_s, Path(scratch)))
    return Outcome(
        seed=seed,
        bound_s=fluid_bound(work),
        ours_s=ours_s,
        equal_count_s=simulate(work, equal_counts(work)),
        one_queue_s=simulate(work, one_queue(work)),
        longest_s=max(work.real),
        correlation=statistics.correlation(work.real, work.predicted),
    )


def draw(rng: random.Random, items: int, tasks: int) -> Work:
    """Lengths, predictions and starts of one seed; the first start is 0, the last half the fluid bound."""
    logs = [(rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(items)]
    other = sqrt(1 - LOG_CORRELATION**2)
    real = to_mean([exp(SIGMA * log) for log, _ in logs])
    predicted = to_mean([exp(SIGMA * (LOG_CORRELATION * log + other * noise)) for log, noise in logs])
    shares = [0.0, 1.0, *(rng.random() for _ in range(tasks - 2))][:tasks]
    rng.shuffle(shares)
    bound = sum(real) / (SEQUENCES * sum(1 - share / 2 for share in shares))
    return Work(real, predicted, [share * bound / 2 for share in shares])


def to_mean(lengths: list[float]) -> list[float]:
    """Scales lengths to MEAN_S and cuts them at the cap; the mean after the cut is a little less."""
    scale = MEAN_S / statistics.fmean(lengths)
    return [min(length * scale, CAP * MEAN_S) for length in lengths]


def fluid_bound(work: Work) -> float:
    """The end when work can be cut anywhere: sequences x (end - start), over all tasks, is the work."""
    left = sum(work.real)
    starts = sorted(work.starts)
    end = starts[0]
    for running, start in enumerate([*starts[1:], float("inf")], start=1):
        gained = SEQUENCES * running * (start - end)
        if gained >= left:
            return end + left / (SEQUENCES * running)
        left, end = left - gained, start
    raise AssertionError("the last interval has no end")


@dataclass(frozen=True, slots=True)
class Rule:
    """How tasks get their items."""

    take: Callable[[int, int], int | None]
    """The next item of a task that holds so many."""
    ahead: int = SEQUENCES
    first_ahead: int = 0
    claims_early_s: float = 0.0


@dataclass(slots=True)
class Task:
    """An engine's queue: what it holds beside what runs."""

    held: deque[int]
    running: int = 0


def simulate(work: Work, rule: Rule) -> float:
    """The last end. Events are ends of items and, before them, the moments at which tasks claim and start."""
    tasks = [Task(deque()) for _ in work.starts]
    events: list[tuple[float, int, str]] = []
    for task, start in enumerate(work.starts):
        events.append((start - rule.claims_early_s, task, "claim"))
        events.append((start, task, "start"))
    heapq.heapify(events)
    last = 0.0
    while events:
        now, number, what = heapq.heappop(events)
        task = tasks[number]
        if what == "claim":
            fill(task, rule, number, rule.first_ahead)
            continue
        if what == "end":
            task.running -= 1
            last = max(last, now)
        fill(task, rule, number, rule.ahead)
        while task.running < SEQUENCES and task.held:
            heapq.heappush(events, (now + work.real[task.held.popleft()], number, "end"))
            task.running += 1
            fill(task, rule, number, rule.ahead)
    return last


def fill(task: Task, rule: Rule, number: int, ahead: int) -> None:
    """Takes items until the task holds `ahead` of them, running ones included."""
    while (held := task.running + len(task.held)) < ahead:
        item = rule.take(number, held)
        if item is None:
            return
        task.held.append(item)


def ours(work: Work, per_user: int, start_up_s: float, scratch: Path) -> Rule:
    """Chunks by the planner, claimed by files; a further one when less than the reader's mark is held."""
    users = [
        UserCost(position, f"user-{position}", tuple((n, work.predicted[n]) for n in numbers))
        for position, numbers in enumerate(users_of(len(work.real), per_user))
    ]
    chunks = [as_line(chunk) for chunk in plan_chunks(plan_shards(users, len(work.starts)))]
    paths = SubmissionPaths(scratch)
    paths.claims.mkdir()
    books = [
        ClaimBook(paths, chunks, Owner(task, 0, 0, 0, None, "here", 1), lambda owner: True)
        for task in range(len(work.starts))
    ]
    claims = [Claims(book) for book in books]
    return Rule(
        lambda task, held: claims[task].take(held),
        WINDOW,
        CLAIMED_AT_START,
        start_up_s,
    )


class Claims:
    """What launch/worker/reader.py claims for one task: its own shard, then of others."""

    def __init__(self, book: ClaimBook) -> None:
        self._book = book
        self._items: Iterator[int] = iter(())
        self._is_helping = False

    def take(self, num_held: int) -> int | None:
        """The next item of a claimed chunk, claiming one if need be."""
        while (item := next(self._items, None)) is None:
            if num_held >= self._claim_below():
                return None
            held = self._book.claim_next(helping=self._is_helping)
            if held is not None:
                self._items = iter(held.chunk.items)
            elif self._is_helping:
                return None
            else:
                self._is_helping = True
        return item

    def _claim_below(self) -> int:
        return claim_below(WINDOW, self._book.num_left, is_helping=self._is_helping)


def as_line(chunk: Chunk) -> ChunkLine:
    """A chunk as a task reads it from chunks.jsonl."""
    users = tuple(ChunkUser((0, 0), None, user.items) for user in chunk.users)
    return ChunkLine(chunk.number, chunk.shard, chunk.cost, users)


def users_of(items: int, per_user: int) -> Iterator[range]:
    """Items of each user, in input order."""
    for first in range(0, items, per_user):
        yield range(first, min(first + per_user, items))


def equal_counts(work: Work) -> Rule:
    """What array scripts do: the same number of items for every task, in input order, and no help."""
    items, tasks = len(work.real), len(work.starts)
    shares = [iter(range(items * task // tasks, items * (task + 1) // tasks)) for task in range(tasks)]
    return Rule(lambda task, held: next(shares[task], None))


def one_queue(work: Work) -> Rule:
    """One item at a time from a queue that all tasks share, the longest prediction first."""
    queue = iter(sorted(range(len(work.real)), key=lambda item: -work.predicted[item]))
    return Rule(lambda task, held: next(queue, None))


if __name__ == "__main__":
    main()
