"""What a slot was in at every moment, from the times of its engine starts; cases by hand."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.ledger.lanes import JOIN_S, Bounds, Interval, lane_of, unused_lane
from launch.collect.ledger.phases import Phase
from launch.collect.ledger.times import StartTimes

WHOLE = Bounds(begin=0, end=100, ended=92, left=99, seen_until=92, stop_asked=None, others_ended=0)
KILLED = WHOLE._replace(ended=None, left=None, seen_until=100)
HOUR = 3600


def start(opened: float, *, number: int = 0, **times: Any) -> StartTimes:
    return StartTimes(start=number, opened=opened, **times)


def shown(starts: list[StartTimes], bounds: Bounds = WHOLE) -> list[tuple[str, float, float]]:
    """Phase, begin and end of every interval."""
    return [(piece.phase.value, piece.begin, piece.end) for piece in lane_of(starts, bounds)]


FINISHED: dict[str, Any] = {
    "generating": 30,
    "drained": 80,
    "ended": 90,
    "has_finished": True,
    "last_commit": 79,
}


def test_a_start_that_did_its_work() -> None:
    assert shown([start(10, **FINISHED)]) == [
        ("setup", 0, 10),
        ("loading", 10, 30),
        ("generating", 30, 80),
        ("draining", 80, 90),
        ("setup", 90, 100),
    ]


def test_what_vllm_compiled_lies_before_the_warm_up() -> None:
    lane = shown([start(10, compile_s=6.0, warm_up_s=2.0, **FINISHED)])
    assert lane[1:5] == [
        ("loading", 10, 22),
        ("compiling", 22, 28),
        ("loading", 28, 30),
        ("generating", 30, 80),
    ]


def test_more_compiling_than_start_is_cut() -> None:
    """Processes of an engine compile side by side, and vLLM rounds."""
    assert shown([start(10, compile_s=60.0, **FINISHED)])[:2] == [("setup", 0, 10), ("compiling", 10, 30)]


def test_draining_begins_with_the_order_to_stop() -> None:
    lane = shown([start(10, **FINISHED)], WHOLE._replace(stop_asked=60))
    assert lane[2:4] == [("generating", 30, 60), ("draining", 60, 90)]


def test_an_order_before_generating_makes_it_all_draining() -> None:
    assert shown([start(10, **FINISHED)], WHOLE._replace(stop_asked=20))[2] == ("draining", 30, 90)


@pytest.mark.parametrize(
    ("stop_asked", "commit", "expected"),
    [
        (None, 50, [("generating", 30, 50), ("lost", 50, 90)]),
        (None, None, [("lost", 30, 90)]),
        (40, 50, [("generating", 30, 40), ("draining", 40, 50), ("lost", 50, 90)]),
        (60, 50, [("generating", 30, 50), ("lost", 50, 90)]),
    ],
)
def test_what_an_engine_that_failed_never_committed_is_lost(
    stop_asked: float | None, commit: float | None, expected: list[tuple[str, float, float]]
) -> None:
    failed = start(10, generating=30, ended=90, last_commit=commit)
    assert shown([failed], WHOLE._replace(stop_asked=stop_asked))[2:-1] == expected


def test_an_attempt_that_was_killed_lost_what_was_not_committed_to_its_end() -> None:
    assert shown([start(10, generating=30, last_commit=97)], KILLED) == [
        ("setup", 0, 10),
        ("loading", 10, 30),
        ("generating", 30, 97),
        ("lost", 97, 100),
    ]


def test_a_start_that_never_generated_was_loading() -> None:
    assert shown([start(10)], KILLED) == [("setup", 0, 10), ("loading", 10, 100)]


RESTARTED = [start(10, ended=20), start(50, number=1, generating=60, ended=90, has_finished=True)]


def test_between_two_starts_it_waits_as_the_ladder_said_and_no_longer() -> None:
    waited = [replace(RESTARTED[0], resumes=49), RESTARTED[1]]
    assert shown(waited)[1:4] == [("loading", 10, 20), ("setup", 20, 50), ("loading", 50, 60)]
    waited = [replace(RESTARTED[0], resumes=30), RESTARTED[1]]
    assert shown(waited)[1:4] == [("loading", 10, 20), ("setup", 20, 30), ("loading", 50, 60)]
    assert shown(RESTARTED)[1:3] == [("loading", 10, 20), ("loading", 50, 60)], (
        "and without a word not at all"
    )


def test_an_order_to_stop_ends_the_wait_for_the_next_start() -> None:
    others = WHOLE._replace(stop_asked=30, others_ended=90)
    assert shown([start(10, ended=20, resumes=50)], others)[2:] == [
        ("setup", 20, 30),
        ("idle_tail", 30, 90),
        ("setup", 90, 100),
    ]


def test_a_start_whose_end_nobody_wrote_down_ends_where_the_next_begins() -> None:
    lane = shown([start(10), start(50, number=1)], KILLED)
    assert lane[1:3] == [("loading", 10, 50), ("loading", 50, 100)]


def test_the_tail_lasts_while_others_work() -> None:
    lane = shown([start(10, **{**FINISHED, "ended": 85})], WHOLE._replace(others_ended=91))
    assert lane[-2:] == [("idle_tail", 85, 91), ("setup", 91, 100)]


def test_what_a_cancelled_task_does_after_slurm_took_its_gpus_back_is_not_counted() -> None:
    lane = shown([start(10, **FINISHED)], WHOLE._replace(begin=5, end=70, stop_asked=60))
    assert lane[0] == ("setup", 5, 10) and lane[-1] == ("draining", 60, 70)


def test_a_supervisor_that_hangs_after_its_engine_ended_is_explained_by_nothing() -> None:
    hung = WHOLE._replace(end=HOUR + 8, ended=HOUR, left=HOUR + 7)
    assert shown([start(10, **FINISHED)], hung)[-2:] == [
        ("draining", 80, 90),
        ("setup", HOUR, HOUR + 8),
    ]


def test_nor_is_what_slurm_held_after_the_batch_shell_ended() -> None:
    held = WHOLE._replace(end=HOUR)
    assert shown([start(10, **FINISHED)], held)[-1] == ("setup", 90, 99)
    assert shown([], held) == [("setup", 0, 99)]
    assert [(piece.begin, piece.end) for piece in unused_lane(held)] == [(0, 99)]


def test_what_a_killed_attempt_did_after_its_last_engine_ended_nobody_knows() -> None:
    assert shown([start(10, **FINISHED)], KILLED)[-1] == ("draining", 80, 90)
    at_once = KILLED._replace(end=90 + JOIN_S, seen_until=90 + JOIN_S)
    assert shown([start(10, **FINISHED)], at_once)[-1] == ("setup", 90, 90 + JOIN_S)


def test_a_killed_one_is_in_its_last_phase_until_its_next_sign_was_due() -> None:
    vanished = KILLED._replace(end=HOUR)
    assert shown([start(10, generating=30, last_commit=97)], vanished)[-1] == ("lost", 97, 100)
    assert shown([], vanished) == [("setup", 0, 100)]
    assert [(piece.begin, piece.end) for piece in unused_lane(vanished)] == [(0, 100)]


def test_an_engine_whose_end_was_never_told_is_not_stretched_to_that_of_the_attempt() -> None:
    """Its supervisor stood still, and its last words are lost."""
    lost = WHOLE._replace(end=HOUR + 1, ended=HOUR, left=HOUR, seen_until=95)
    assert shown([start(10, generating=30, last_commit=60)], lost)[-2:] == [
        ("lost", 60, 95),
        ("setup", HOUR, HOUR + 1),
    ]


@pytest.mark.parametrize(("gap", "is_joined"), [(JOIN_S, True), (JOIN_S + 0.1, False)])
def test_neighbours_are_joined_up_to_a_limit(gap: float, is_joined: bool) -> None:
    lane = shown([start(10, **FINISHED)], WHOLE._replace(ended=90 + gap))
    assert lane[-1] == ("setup", 90 if is_joined else 90 + gap, 100)


TIME = st.integers(0, 120)


@given(st.lists(TIME, min_size=0, max_size=4), st.data())
def test_a_second_is_in_one_phase_at_most_and_only_near_what_was_written(
    opened: list[int], data: st.DataObject
) -> None:
    """Whatever the files say, torn or of clocks that disagree."""
    maybe = st.none() | TIME
    starts = [
        StartTimes(
            start=number,
            opened=time,
            generating=data.draw(maybe),
            drained=data.draw(maybe),
            ended=data.draw(maybe),
            has_finished=data.draw(st.booleans()),
            last_commit=data.draw(maybe),
            resumes=data.draw(maybe),
            compile_s=data.draw(TIME),
            warm_up_s=data.draw(TIME),
        )
        for number, time in enumerate(opened)
    ]
    ended, left = data.draw(maybe), data.draw(maybe)
    bounds = Bounds(10, 110, ended, left, data.draw(TIME), data.draw(maybe), data.draw(TIME))
    lane = lane_of(starts, bounds)
    assert all(10 <= piece.begin < piece.end <= 110 for piece in lane)
    for before, after in pairwise(lane):
        gap = after.begin - before.end
        assert gap == 0 or gap > JOIN_S
    told = {time for each in (*starts, bounds) for time in times_of(each)}
    assert {time for piece in lane for time in ends_of(piece)} <= told


def times_of(record: StartTimes | Bounds) -> set[float]:
    """All that it has."""
    values = record if isinstance(record, Bounds) else (getattr(record, name) for name in MOMENTS)
    return {time for time in values if time is not None}


MOMENTS = ("opened", "generating", "drained", "ended", "last_commit", "resumes")


def ends_of(piece: Interval) -> tuple[float, ...]:
    """Its begin and end, where those are times; of compiling only a length is known."""
    return () if piece.phase in (Phase.COMPILING, Phase.LOADING) else (piece.begin, piece.end)
