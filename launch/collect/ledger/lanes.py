"""The intervals of one slot of one attempt, from the times of its engine starts. Pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from launch.collect.ledger.phases import Phase
from launch.collect.ledger.times import StartTimes


class Interval(NamedTuple):
    """A slot was in `phase` from `begin` to `end`; `start` is the number of its engine start, if any."""

    phase: Phase
    begin: float
    end: float
    start: int | None = None


class Bounds(NamedTuple):
    """What is known of the attempt: its begin and end, when it was told to drain, when the last engine of its
    other slots ended (its own end while one of them had not)."""

    begin: float
    end: float
    stop_asked: float | None
    others_ended: float


def lane_of(starts: Sequence[StartTimes], bounds: Bounds) -> list[Interval]:
    """What a slot was in, one interval after the other from the attempt's begin to its end.

    Where times contradict each other (a clock was set, a line is damaged) the earlier interval counts.
    """
    lane: list[Interval] = []
    reached = bounds.begin
    for piece in _lane(starts, bounds):
        end = min(piece.end, bounds.end)
        if end > reached:
            lane.append(piece._replace(begin=reached, end=end))
            reached = end
    return lane


def end_of(starts: Sequence[StartTimes], otherwise: float) -> float:
    """When a slot's last engine ended; `otherwise` for one that nobody saw end."""
    ended = starts[-1].ended
    return otherwise if ended is None else ended


def _lane(starts: Sequence[StartTimes], bounds: Bounds) -> Iterator[Interval]:
    reached = bounds.begin
    followers = [start.opened for start in starts[1:]]
    for start, following in zip(starts, [*followers, bounds.end], strict=True):
        yield Interval(Phase.SETUP, reached, start.opened)
        reached = following if start.ended is None else start.ended
        yield from _start(start, reached, bounds.stop_asked)
    tail_end = max(reached, min(bounds.others_ended, bounds.end))
    yield Interval(Phase.IDLE_TAIL, reached, tail_end)
    yield Interval(Phase.SETUP, tail_end, bounds.end)


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
