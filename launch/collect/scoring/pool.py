"""Scores chunks of items over processes; rows come back in item order, so the number changes nothing."""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from launch.collect.manifest import GENERATIONS_FILE
from launch.collect.published import Entry, ResultReader
from launch.collect.reference_texts import ItemReference
from launch.collect.scoring.values import ItemScorer, Row, Rules
from launch.errors import RunError
from launch.worker.processes import tie_to_parent

CHUNK_ITEMS = 64
CHUNKS_AHEAD = 4  # per process: the next chunks are there when a process asks, and little is held
MIN_ITEMS_FOR_PROCESSES = 1_000  # below, a process takes longer to start than to score its share
MAX_PROCESSES = 16

Chunk = list[tuple[ItemReference, Entry]]


@dataclass(slots=True)
class _Worker:
    """What a process keeps from one chunk to the next."""

    directory: Path
    scorer: ItemScorer

    def score(self, chunk: Chunk) -> list[Row]:
        path = self.directory / GENERATIONS_FILE
        entries = {item.key: entry for item, entry in chunk}
        with path.open("rb") as handle:
            reader = ResultReader(path, handle, entries)
            return self.scorer.score_all([(item, reader.read(item.key)) for item, _ in chunk])


_worker: _Worker | None = None


def num_processes(num_items: int, wanted: int | None = None) -> int:
    """As many as wanted, else as this process has cores, at most 16; 1 where there is little to do.

    A Slurm that binds no cores says in a variable how many were asked for.
    """
    if wanted is not None:
        return wanted
    if num_items < MIN_ITEMS_FOR_PROCESSES:
        return 1
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cores = len(os.sched_getaffinity(0))
    return min(MAX_PROCESSES, cores, int(asked) if asked.isdecimal() and int(asked) else cores)


def score_chunks(
    directory: Path, scorer: ItemScorer, items: Iterable[tuple[ItemReference, Entry]], processes: int
) -> Iterator[list[tuple[ItemReference, Row]]]:
    """The rows of all items in their order, chunk by chunk; one process is this one, with `scorer` itself.

    Several make scorers of their own by the same rules.
    """
    chunks = _chunks(items)
    if processes == 1:
        worker = _Worker(directory, scorer)
        for chunk in chunks:
            yield _paired(chunk, worker.score(chunk))
        return
    with _pool(directory, scorer.rules, processes) as pool:
        waiting: deque[tuple[Chunk, Future[list[Row]]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, pool.submit(_score, chunk)))
            if len(waiting) >= CHUNKS_AHEAD * processes:
                done, future = waiting.popleft()
                yield _paired(done, future.result())
        for done, future in waiting:
            yield _paired(done, future.result())


@contextmanager
def _pool(directory: Path, rules: Rules, processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes made anew (spawn), for a fork would copy the locks of threads that it does not have."""
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(directory, rules, os.getpid()),
    )
    try:
        yield pool
    except BrokenProcessPool:
        raise RunError(
            f"{directory}: a scoring process was killed, most likely for want of memory. Score it once more"
            f" with fewer: `vllm-launch score {directory} --processes {max(1, processes // 2)}`."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(directory: Path, rules: Rules, parent: int) -> None:
    global _worker  # noqa: PLW0603  the one thing that a process of a pool can keep
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us
    if not tie_to_parent(parent):
        raise SystemExit(1)
    _worker = _Worker(directory, ItemScorer(rules))


def _score(chunk: Chunk) -> list[Row]:
    assert _worker is not None
    return _worker.score(chunk)


def _chunks(items: Iterable[tuple[ItemReference, Entry]]) -> Iterator[Chunk]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK_ITEMS)):
        yield chunk


def _paired(chunk: Chunk, rows: list[Row]) -> list[tuple[ItemReference, Row]]:
    return [(item, row) for (item, _), row in zip(chunk, rows, strict=True)]
