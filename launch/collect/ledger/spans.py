"""What every GPU of every attempt was held for, as intervals between times that were written down."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from launch.collect.ledger.allocations import Allocation, LivesByJob, allocation_of, by_job, read_lives
from launch.collect.ledger.lanes import Bounds, Interval, end_of, lane_of, unused_lane
from launch.collect.ledger.phases import Phase
from launch.collect.ledger.times import AttemptTimes, read_times
from launch.rundir.attempt_files import CLOCKS_AGREE_S
from launch.rundir.attempts import HEARTBEAT_PERIOD_S, list_attempts, list_tasks, list_tried
from launch.rundir.layout import RunPaths

NEXT_SIGN_S = HEARTBEAT_PERIOD_S + CLOCKS_AGREE_S
SACCT = "sacct"
Place = tuple[int, int, int]
"""Submission, task, attempt."""


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of one phase, seconds since the epoch by the file system's clock.

    `slot` and `start` are None for what is of no engine: an attempt before it has slots, GPUs of no slot.
    `share` is how many GPUs it holds: GPUs that slots share count in parts; without GPUs it is 1 a slot.
    """

    phase: Phase
    begin: float
    end: float
    slot: int | None
    start: int | None
    gpus: tuple[str, ...]
    share: float

    @property
    def gpu_seconds(self) -> float:
        """Its length times its GPUs; of a slot without GPUs its length."""
        return (self.end - self.begin) * self.share


@dataclass(frozen=True, slots=True)
class AttemptSpans:
    """One attempt: when its GPUs were held, and for what.

    `begin` and `end` are those of the allocation; `end_by` is who knows the end: `sacct`, the attempt
    `itself`, or nobody but its `last sign`: it was killed, or lives.
    `queued_s` ends where the allocation begins; None where nobody knows.
    """

    submission: int
    task: int
    attempt: int
    host: str | None
    gpus: tuple[str, ...]
    begin: float
    end: float
    end_by: str
    queued_s: float | None
    clock_ahead_s: float
    """Of its node's clock, by which its files are, before that of the file system."""
    spans: tuple[Span, ...]

    @property
    def place(self) -> Place:
        """Where it stands among the attempts of its run."""
        return self.submission, self.task, self.attempt

    @property
    def num_lanes(self) -> int:
        """GPUs, or slots where there is none; at least 1."""
        return len(self.gpus) or len({span.slot for span in self.spans if span.slot is not None}) or 1


def phase_spans(run: RunPaths) -> list[AttemptSpans]:
    """Every attempt of a run in order, copies left out; with what the last merge heard of Slurm's accounting.

    Reads the small files of attempts, and of journals with a line an item the ends only.
    """
    return match_spans(read_all_times(run), by_job(read_lives(run)))


def read_all_times(
    run: RunPaths, read: Callable[[RunPaths, int, int, int], AttemptTimes] = read_times
) -> dict[Place, AttemptTimes]:
    """The times of every attempt of a run in order, copies left out; `read` gives those of one."""
    places = [
        (submission, task, attempt)
        for submission in list_tried(run)
        for task in list_tasks(run, submission)
        for attempt in list_attempts(run, submission, task)
    ]
    found = ((place, read(run, *place)) for place in places)
    return {place: times for place, times in found if not times.is_copy}


def match_spans(found: Mapping[Place, AttemptTimes], lives: LivesByJob) -> list[AttemptSpans]:
    """The spans of attempts, each within the life of its job that Slurm tells."""
    spans = [spans_of(place, times, allocation_of(times, lives)) for place, times in found.items()]
    return [_queued_after(before, each) for before, each in zip([None, *spans], spans, strict=False)]


def _queued_after(before: AttemptSpans | None, attempt: AttemptSpans) -> AttemptSpans:
    """The queue of a task that was killed and started again began with its end, where Slurm tells that."""
    follows = before is not None and before.place == (*attempt.place[:2], attempt.attempt - 1)
    if before is None or not follows or attempt.queued_s is not None or before.end_by != SACCT:
        return attempt
    return replace(attempt, queued_s=max(0.0, attempt.begin - before.end))


def spans_of(place: Place, times: AttemptTimes, allocation: Allocation | None = None) -> AttemptSpans:
    """The spans of one attempt, within its allocation where Slurm's accounting has told it.

    A killed attempt was in its last phase until its end, if that came before its next sign of life was due;
    what is later than that nobody knows, and is in no span.
    """
    begin, end, end_by = _allocation(times, allocation)
    bounds = _bounds(times, begin, end)
    lanes = [*_slot_lanes(times, bounds), *_other_lanes(times, bounds)]
    ahead = times.clock_ahead_s
    spans = tuple(
        Span(
            piece.phase, piece.begin - ahead, piece.end - ahead, lane.slot, piece.start, lane.gpus, lane.share
        )
        for lane in lanes
        for piece in lane.pieces
    )
    queued = times.queue_wait_s
    return AttemptSpans(
        *place,
        host=times.host,
        gpus=times.gpus,
        begin=begin - ahead,
        end=end - ahead,
        end_by=end_by,
        queued_s=None if queued is None else max(0.0, queued - (times.started - begin)),
        clock_ahead_s=ahead,
        spans=spans,
    )


def _allocation(times: AttemptTimes, allocation: Allocation | None) -> tuple[float, float, str]:
    """When the GPUs were held, and who knows the end."""
    begin = times.began if allocation is None else allocation.begin
    if allocation is not None and allocation.end is not None:
        return begin, max(begin, allocation.end), SACCT
    if times.left is not None:
        return begin, max(begin, times.left), "itself"
    return begin, max(begin, times.last_sign), "last sign"


def _bounds(times: AttemptTimes, begin: float, end: float) -> Bounds:
    """Those of the attempt as one that had no slots."""
    words = (times.ended, times.shell_ended, end, times.seen + NEXT_SIGN_S)
    seen_until = min(word for word in words if word is not None)
    return Bounds(begin, end, times.ended, times.left, seen_until, times.stop_asked, begin)


class _Lane(NamedTuple):
    slot: int | None
    gpus: tuple[str, ...]
    share: float
    pieces: list[Interval]


def _slot_lanes(times: AttemptTimes, bounds: Bounds) -> Iterator[_Lane]:
    """A lane a slot. GPUs that several slots name are shared by them in equal parts."""
    num_slots = Counter(gpu for slot in times.slots for gpu in slot.gpus)
    ends = [end_of(slot.starts, bounds.seen_until) for slot in times.slots]
    for index, slot in enumerate(times.slots):
        others = ends[:index] + ends[index + 1 :]
        lane = lane_of(slot.starts, bounds._replace(others_ended=max(others, default=bounds.begin)))
        share = sum(1 / num_slots[gpu] for gpu in slot.gpus if gpu in times.gpus) if times.gpus else 1.0
        yield _Lane(slot.slot, slot.gpus, share, lane)


def _other_lanes(times: AttemptTimes, bounds: Bounds) -> Iterator[_Lane]:
    """What is of no slot: the whole of an attempt that never had one, and GPUs that none was given."""
    if not times.slots:
        yield _Lane(None, times.gpus, float(len(times.gpus) or 1), lane_of((), bounds))
        return
    given = {gpu for slot in times.slots for gpu in slot.gpus}
    unused = tuple(gpu for gpu in times.gpus if gpu not in given)
    if unused:
        yield _Lane(None, unused, float(len(unused)), unused_lane(bounds))
