"""What a slot was in at every moment, from the times of its engine starts; cases by hand."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.ledger.lanes import Bounds, lane_of
from launch.collect.ledger.times import StartTimes

WHOLE = Bounds(0, 100, None, 0)


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
    lane = shown([start(10, **FINISHED)], Bounds(0, 100, 60, 0))
    assert lane[2:4] == [("generating", 30, 60), ("draining", 60, 90)]


def test_an_order_before_generating_makes_it_all_draining() -> None:
    assert shown([start(10, **FINISHED)], Bounds(0, 100, 20, 0))[2] == ("draining", 30, 90)


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
    assert shown([failed], Bounds(0, 100, stop_asked, 0))[2:-1] == expected


def test_an_attempt_that_was_killed_lost_what_was_not_committed_to_its_end() -> None:
    assert shown([start(10, generating=30, last_commit=97)]) == [
        ("setup", 0, 10),
        ("loading", 10, 30),
        ("generating", 30, 97),
        ("lost", 97, 100),
    ]


def test_a_start_that_never_generated_was_loading() -> None:
    assert shown([start(10)]) == [("setup", 0, 10), ("loading", 10, 100)]


def test_between_two_starts_it_is_the_supervisor_who_waits() -> None:
    lane = shown([start(10, ended=20), start(50, number=1, generating=60, ended=90, has_finished=True)])
    assert lane[:4] == [("setup", 0, 10), ("loading", 10, 20), ("setup", 20, 50), ("loading", 50, 60)]


def test_a_start_whose_end_nobody_wrote_down_ends_where_the_next_begins() -> None:
    assert shown([start(10), start(50, number=1)])[1:3] == [("loading", 10, 50), ("loading", 50, 100)]


def test_the_tail_lasts_while_others_work() -> None:
    lane = shown([start(10, **{**FINISHED, "ended": 85})], Bounds(0, 100, None, 95))
    assert lane[-2:] == [("idle_tail", 85, 95), ("setup", 95, 100)]


def test_what_a_cancelled_task_does_after_slurm_took_its_gpus_back_is_not_counted() -> None:
    lane = shown([start(10, **FINISHED)], Bounds(5, 70, 60, 0))
    assert lane[0] == ("setup", 5, 10) and lane[-1] == ("draining", 60, 70)


TIME = st.integers(0, 120)


@given(st.lists(TIME, min_size=1, max_size=4), st.data())
def test_every_second_is_in_one_phase_and_none_is_left_out(opened: list[int], data: st.DataObject) -> None:
    """Whatever the files say, torn or of clocks that disagree: the lane is whole and in order."""
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
            compile_s=data.draw(TIME),
            warm_up_s=data.draw(TIME),
        )
        for number, time in enumerate(opened)
    ]
    lane = lane_of(starts, Bounds(10, 110, data.draw(maybe), data.draw(TIME)))
    assert lane[0].begin == 10 and lane[-1].end == 110
    assert all(before.end == after.begin for before, after in pairwise(lane))
