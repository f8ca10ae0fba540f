"""The intervals of one slot of one attempt, from times that were written down. Pure.

What no interval covers nobody explains: nothing is stretched to fill the allocation.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from launch.collect.ledger.phases import Phase
from launch.collect.ledger.times import StartTimes
from launch.rundir.attempt_files import CLOCKS_AGREE_S

JOIN_S = CLOCKS_AGREE_S + 1.0
"""Two times with no more between them are neighbours: a process starts or ends, or the clocks of two hosts
differ, of which Slurm's tells whole seconds."""


class Interval(NamedTuple):
    """A slot was in `phase` from `begin` to `end`; `start` is the number of its engine start, if any."""

    phase: Phase
    begin: float
    end: float
    start: int | None = None


class Bounds(NamedTuple):
    """What is known of the attempt.

    `begin` and `end` are those of its allocation. `ended`: when its supervisor ended, `left`: when the batch
    shell did, or the supervisor where there is none, each by its own word; None without one. `seen_until`: to
    when an engine whose end nobody wrote down may have lived. `stop_asked`: when it was told to drain.
    `others_ended`: when the last engine of its other slots ended.
    """

    begin: float
    end: float
    ended: float | None
    left: float | None
    seen_until: float
    stop_asked: float | None
    others_ended: float


def lane_of(starts: Sequence[StartTimes], bounds: Bounds) -> list[Interval]:
    """What a slot was in, in order and within the allocation; without starts, what the attempt was in.

    Where times contradict each other (a clock was set, a line is damaged) the earlier interval counts.
    """
    pieces = _engines(starts, bounds) if starts else _no_engine(bounds)
    return _joined([*pieces, *_closing(starts, bounds)], bounds)


def unused_lane(bounds: Bounds) -> list[Interval]:
    """What GPUs that no slot was given were in, as long as the attempt is known to have had them."""
    left = bounds.seen_until if bounds.left is None else bounds.left
    pieces = (Interval(Phase.UNUSED, bounds.begin, left), Interval(Phase.UNUSED, bounds.end, bounds.end))
    return _joined(pieces[: 1 if bounds.left is None else 2], bounds)


def end_of(starts: Sequence[StartTimes], seen_until: float) -> float:
    """When a slot's last engine ended."""
    ended = starts[-1].ended
    return seen_until if ended is None else ended


def _joined(pieces: Iterable[Interval], bounds: Bounds) -> list[Interval]:
    """Those that have a length, none before the end of another; one reaches back over JOIN_S at most."""
    lane: list[Interval] = []
    reached = bounds.begin
    for piece in pieces:
        if not piece.begin <= min(piece.end, bounds.end):
            continue
        begin = piece.begin if piece.begin - reached > JOIN_S else reached
        end = min(piece.end, bounds.end)
        if end > begin:
            goes_on = bool(lane) and lane[-1] == (piece.phase, lane[-1].begin, begin, piece.start)
            begin = lane.pop().begin if goes_on else begin
            lane.append(piece._replace(begin=begin, end=end))
        reached = max(reached, end)
    return lane


def _engines(starts: Sequence[StartTimes], bounds: Bounds) -> Iterator[Interval]:
    yield Interval(Phase.SETUP, bounds.begin, starts[0].opened)
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        next_opened = bounds.seen_until if following is None else following.opened
        end = min(next_opened, bounds.seen_until) if start.ended is None else start.ended
        yield from _start(start, end, bounds.stop_asked)
        yield from _waiting(start, end, min(next_opened, bounds.seen_until), bounds.stop_asked)
        if following is not None:
            yield Interval(Phase.SETUP, next_opened, next_opened)
    end = end_of(starts, bounds.seen_until)
    yield Interval(Phase.IDLE_TAIL, end, max(end, bounds.others_ended))


def _no_engine(bounds: Bounds) -> Iterator[Interval]:
    """Its supervisor checked what it needs, until it ended or was killed."""
    yield Interval(Phase.SETUP, bounds.begin, bounds.seen_until if bounds.ended is None else bounds.ended)


def _closing(starts: Sequence[StartTimes], bounds: Bounds) -> Iterator[Interval]:
    """After the last engine: moments, of which the first and the last reach back to what came before them.

    An engine that lived when its attempt was killed has nothing after it.
    """
    if bounds.left is not None:
        yield Interval(Phase.SETUP, bounds.left if bounds.ended is None else bounds.ended, bounds.left)
    elif not starts or starts[-1].ended is None:
        return
    yield Interval(Phase.SETUP, bounds.end, bounds.end)


def _waiting(start: StartTimes, end: float, limit: float, stop_asked: float | None) -> Iterator[Interval]:
    """The supervisor lets time pass before the next start, as the ladder said; an order to stop ends that."""
    if start.resumes is not None:
        limit = limit if stop_asked is None else min(limit, max(end, stop_asked))
        yield Interval(Phase.SETUP, end, min(start.resumes, limit))


def _start(start: StartTimes, end: float, stop_asked: float | None) -> Iterator[Interval]:
    ready = start.generating
    if ready is None or ready > end:
        yield Interval(Phase.LOADING, start.opened, end, start.start)
        return
    yield from _loading(start, ready)
    drained = min(time for time in (start.drained, stop_asked, end) if time is not None)
    drained = max(ready, drained)
    kept = end if start.has_finished else max(ready, start.last_commit or ready)
    yield Interval(Phase.GENERATING, ready, min(drained, kept), start.start)
    yield Interval(Phase.DRAINING, drained, min(end, kept), start.start)
    yield Interval(Phase.LOST, kept, end, start.start)


def _loading(start: StartTimes, ready: float) -> Iterator[Interval]:
    """Its length is what vLLM told; it is put where vLLM does most of it, before the warm-up."""
    compiled = max(start.opened, ready - start.warm_up_s)
    compiling = max(start.opened, compiled - start.compile_s)
    yield Interval(Phase.LOADING, start.opened, compiling, start.start)
    yield Interval(Phase.COMPILING, compiling, compiled, start.start)
    yield Interval(Phase.LOADING, compiled, ready, start.start)
