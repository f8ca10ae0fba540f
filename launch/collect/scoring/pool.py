"""Scores chunks of items over processes; rows come back in item order, so the number changes nothing.

Every process has a pipe of its own and gets its next chunk when it has answered. The standard library's pool
has one pipe for all answers: when a process is killed while it writes to that, for want of memory, say, the
reader waits for the rest for ever, because the other processes keep the pipe open (CPython 3.11; seen in one
of thirty kills).
"""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from launch.collect.published import Entry, open_results
from launch.collect.referenced_items import ItemReference
from launch.collect.scoring.values import ItemScorer, Row, Rules
from launch.errors import RunError
from launch.worker.processes import tie_to_parent

CHUNK_ITEMS = 64
CHUNKS_AHEAD = 4  # per process: how many may be given out before the first of them is done; little is held
MIN_ITEMS_FOR_PROCESSES = 1_000  # below, a process takes longer to start than to score its share
MAX_PROCESSES = 16

Chunk = list[tuple[ItemReference, Entry]]
Pairs = list[tuple[ItemReference, Row]]
Pipe = Any
"""A connection.Connection, which is generic to type checkers only."""


@dataclass(slots=True)
class _Turn:
    """A chunk that was given out, and its rows once they are there."""

    chunk: Chunk
    rows: list[Row] | None = None


class _HelperDied(Exception):
    """The other end of a pipe is gone."""


@dataclass(slots=True)
class _Helper:
    """A scoring process, our end of its pipe, and what it is at: nothing while it starts."""

    process: SpawnProcess
    pipe: Pipe
    turn: _Turn | None = None

    def give(self, turn: _Turn) -> None:
        """Sends it a chunk; it reads, for it has answered all before."""
        self.turn = turn
        try:
            self.pipe.send(turn.chunk)
        except OSError:
            raise _HelperDied from None

    def take(self) -> None:
        """Its answer: that it is up, or the rows of its chunk; what went wrong in it is raised here."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):  # before an answer, or in the middle of one
            raise _HelperDied from None
        if isinstance(answer, Exception):
            raise answer
        if self.turn is not None:
            self.turn.rows = answer


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
) -> Iterator[Pairs]:
    """The rows of all items in their order, chunk by chunk; one process is this one, with `scorer` itself.

    Several make scorers of their own by the same rules; RunError when one of them is killed.
    """
    chunks = _chunks(items)
    if processes == 1:
        for chunk in chunks:
            yield _paired(chunk, _score(directory, scorer, chunk))
        return
    with _helpers(directory, scorer.rules, processes) as helpers:
        try:
            yield from _share(helpers, chunks)
        except _HelperDied:
            raise RunError(
                f"{directory}: a scoring process was killed, most likely for want of memory. Score it once"
                f" more with fewer: `vllm-launch score {directory} --processes {max(1, processes // 2)}`."
            ) from None


def _share(helpers: list[_Helper], chunks: Iterator[Chunk]) -> Iterator[Pairs]:
    """Who has answered gets the next chunk; rows that are early wait for their place."""
    busy = {helper.pipe: helper for helper in helpers}
    idle: list[_Helper] = []
    turns: deque[_Turn] = deque()
    while busy:
        for pipe in connection.wait(list(busy)):
            helper = busy.pop(pipe)
            helper.take()
            idle.append(helper)
        ready = []
        while turns and (rows := turns[0].rows) is not None:
            ready.append(_paired(turns.popleft().chunk, rows))
        while idle and len(turns) < CHUNKS_AHEAD * len(helpers) and (chunk := next(chunks, None)):
            helper = idle.pop()
            turns.append(_Turn(chunk))
            helper.give(turns[-1])
            busy[helper.pipe] = helper
        yield from ready  # while the others are at work


@contextmanager
def _helpers(directory: Path, rules: Rules, processes: int) -> Iterator[list[_Helper]]:
    """Processes made anew (spawn), for a fork would copy the locks of threads that it does not have."""
    context = get_context("spawn")
    helpers: list[_Helper] = []
    try:
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, directory, rules, os.getpid()), daemon=True
            )
            process.start()
            theirs.close()  # so that its death closes the pipe
            helpers.append(_Helper(process, ours))
        yield helpers
    finally:
        for helper in helpers:
            helper.process.kill()  # it keeps nothing
            helper.process.join()
            helper.pipe.close()


def _serve(pipe: Pipe, directory: Path, rules: Rules, parent: int) -> None:
    """A scoring process, until its parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us
    if not tie_to_parent(parent):
        return
    try:
        scorer = ItemScorer(rules)
        pipe.send(None)
        while True:
            pipe.send(_score(directory, scorer, pipe.recv()))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001  the parent raises it
        pipe.send(error)


def _score(directory: Path, scorer: ItemScorer, chunk: Chunk) -> list[Row]:
    entries = {item.key: entry for item, entry in chunk}
    with open_results(directory, entries) as reader:
        return scorer.score_all([(item, reader.read(item.key)) for item, _ in chunk])


def _chunks(items: Iterable[tuple[ItemReference, Entry]]) -> Iterator[Chunk]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK_ITEMS)):
        yield chunk


def _paired(chunk: Chunk, rows: list[Row]) -> Pairs:
    return [(item, row) for (item, _), row in zip(chunk, rows, strict=True)]
