"""What real vLLM engines took into work and finished, seen from inside them, whatever became of it.

A plugin in the engine process notes each item that it gives to vLLM and each that vLLM gives back: a line
`<time> <pid> begun|finished <item>` in the file that VLLM_LAUNCH_CHAOS_TRACE names, in one write.
"""

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "VLLM_LAUNCH_CHAOS_TRACE"
BEGUN, FINISHED = "begun", "finished"
DURABLE_S = 2.0
"""Results are durable so long after they were generated, at most."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line."""

    time: float
    pid: int
    what: str
    item: int


@dataclass(frozen=True, slots=True)
class Work:
    """The sums of a trace. `most_in_2_s`: items that one engine finished in its best two seconds.

    `oldest_lost_s`: of the items that were finished and finished again, how long before the last sign of life
    of its engine the oldest one was finished.
    """

    num_engines: int
    num_begun: int
    num_begun_again: int
    num_finished: int
    num_finished_again: int
    most_in_2_s: int
    oldest_lost_s: float


def register() -> None:
    """The plugin: wraps LLMEngine where it is loaded, which is the engine process."""
    path = os.environ.get(VARIABLE)
    module = sys.modules.get("vllm.v1.engine.llm_engine")
    if path is None or module is None:
        return
    trace = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    add_request, step = module.LLMEngine.add_request, module.LLMEngine.step

    def noted_add_request(self: Any, request_id: str, *words: Any, **named: Any) -> Any:
        _note(trace, BEGUN, request_id)
        return add_request(self, request_id, *words, **named)

    def noted_step(self: Any) -> Any:
        outputs = step(self)
        for output in outputs:
            if output.finished:
                _note(trace, FINISHED, output.request_id)
        return outputs

    module.LLMEngine.add_request, module.LLMEngine.step = noted_add_request, noted_step


def _note(trace: int, what: str, item: str) -> None:
    if not item.isdecimal():
        return  # the warm-up is no item
    os.write(trace, f"{time.time():.3f} {os.getpid()} {what} {item}\n".encode())


def read_trace(path: Path) -> list[Note]:
    """The notes of all engines of a run, in order of time."""
    rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    notes = [Note(float(moment), int(pid), what, int(item)) for moment, pid, what, item in rows]
    return sorted(notes, key=lambda note: note.time)


def sum_up(notes: Sequence[Note]) -> Work:
    """The sums."""
    begun = Counter(note.item for note in notes if note.what == BEGUN)
    finished = [note for note in notes if note.what == FINISHED]
    times = defaultdict(list)
    for note in finished:
        times[note.pid].append(note.time)
    return Work(
        num_engines=len({note.pid for note in notes}),
        num_begun=begun.total(),
        num_begun_again=begun.total() - len(begun),
        num_finished=len(finished),
        num_finished_again=len(finished) - len({note.item for note in finished}),
        most_in_2_s=max((_most_within(each, DURABLE_S) for each in times.values()), default=0),
        oldest_lost_s=round(max(_ages_of_lost(notes, finished), default=0.0), 3),
    )


def _most_within(times: Sequence[float], seconds: float) -> int:
    """The most of these sorted times that lie within so many seconds."""
    most, first = 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def _ages_of_lost(notes: Sequence[Note], finished: Sequence[Note]) -> Iterator[float]:
    """Of each result that was not the last of its item: how long its engine lived on, as far as is known."""
    last_sign = {note.pid: note.time for note in notes}
    last_of = {note.item: note for note in finished}
    for note in finished:
        if note is not last_of[note.item]:
            yield last_sign[note.pid] - note.time
