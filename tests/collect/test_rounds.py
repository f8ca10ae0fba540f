"""When a merge job sends missing items again, and when it does not."""

from dataclasses import replace
from typing import Any

import pytest

from launch.collect.rounds import Cause, Decision, Standing, TaskEnd, cause_of, decide
from launch.collect.standing import read_standing
from launch.rundir.canary import CanaryRecord, keep_canary
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_submission
from launch.worker.failures import FailureClass
from tests.collect.builders import make_generations, write_results


def failed(failure_class: FailureClass | str) -> dict[str, Any]:
    return {"code": 1, "reason": "failed", "failure": {"class": str(failure_class), "message": "m"}}


DRAINED = {"code": 75, "reason": "drained", "failure": None}


@pytest.mark.parametrize(
    ("ended", "state", "started", "cause"),
    [
        ({"code": 0, "reason": "empty"}, "COMPLETED", True, None),
        ({"code": 2, "failure": {"class": "ConfigError"}}, "FAILED", True, Cause.REFUSED),
        ({"code": 2, "failure": {"class": "StorageError"}}, "FAILED", True, Cause.REFUSED),
        ({"code": 2, "failure": {"class": "node_unfit"}}, "FAILED", True, Cause.ELSEWHERE),
        ({"code": 2, "failure": {"class": "storage_trouble"}}, "FAILED", True, Cause.ELSEWHERE),
        (failed(FailureClass.UNSUPPORTED_MODEL), "FAILED", True, Cause.FAILED),
        (failed(FailureClass.OUT_OF_MEMORY), "FAILED", True, Cause.FAILED),
        (failed(FailureClass.DEVICE_FAULT), "FAILED", True, Cause.ELSEWHERE),
        (failed(FailureClass.PORT_IN_USE), None, True, Cause.ELSEWHERE),
        (failed("no_progress"), "TIMEOUT", True, Cause.FAILED),
        (failed("KeyError"), "FAILED", True, Cause.FAILED),
        (DRAINED, "TIMEOUT", True, Cause.TIME_LIMIT),
        (DRAINED, "PREEMPTED", True, Cause.PREEMPTED),
        (DRAINED, "CANCELLED", True, Cause.CANCELLED),
        (DRAINED, "FAILED", True, Cause.CONTINUED),  # scontrol requeue did not work
        (DRAINED, None, True, Cause.CONTINUED),
        (None, "NODE_FAIL", True, Cause.NODE_FAILED),
        (None, "OUT_OF_MEMORY", True, Cause.OUT_OF_MEMORY),
        (None, "FAILED", True, Cause.LOST),
        (None, None, True, Cause.LOST),
        (None, "CANCELLED", False, Cause.CANCELLED),
        (None, "FAILED", False, Cause.NOT_STARTED),
        (None, None, False, Cause.NOT_STARTED),
    ],
)
def test_the_cause(
    ended: dict[str, Any] | None, state: str | None, started: bool, cause: Cause | None
) -> None:
    assert cause_of(ended, state, started=started) is cause


def standing(*causes: Cause, round_: int = 0, missing: int = 7, before: int = 9) -> Standing:
    ends = tuple(TaskEnd(task, cause, f"said {task}") for task, cause in enumerate(causes))
    return Standing(round_, 2, missing, before, ends)


def test_one_reason_that_passes_is_enough() -> None:
    asked = standing(Cause.PREEMPTED, Cause.FAILED, Cause.PREEMPTED)
    assert decide(asked) == Decision(True, "7 items are missing (2 tasks: preempted, said 0)")


def test_what_does_not_pass_is_not_sent_again_and_is_named() -> None:
    assert decide(standing(Cause.REFUSED, Cause.CANCELLED)) == Decision(
        False,
        "7 items are missing, and no reason for it passes by itself (task 0: refused, said 0; task 1:"
        " cancelled, said 1)",
    )


def test_as_many_rounds_as_allowed() -> None:
    assert decide(standing(Cause.LOST, round_=1)).sends
    said = decide(standing(Cause.LOST, round_=2))
    assert said == Decision(
        False, "7 items are missing after 2 rounds, as many as resources.max_rounds allows"
    )
    never = Standing(0, 0, 7, 9, (TaskEnd(0, Cause.LOST),))
    assert decide(never) == Decision(False, "7 items are missing, and resources.max_rounds is 0")


def test_a_round_without_progress_is_the_last() -> None:
    said = decide(standing(Cause.LOST, round_=1, before=7))
    assert said == Decision(False, "7 items are missing, as many as before round 1: it brought no progress")
    assert decide(
        standing(Cause.LOST, round_=0, before=7)
    ).sends  # all were preempted before they got anywhere


def test_what_the_canary_stopped_is_not_sent_again_whatever_befell_a_task() -> None:
    asked = replace(standing(Cause.REFUSED, Cause.PREEMPTED), stopped="of the first 200 items ...")
    assert decide(asked) == Decision(
        False, "7 items are missing, for the canary stopped the run: of the first 200 items ..."
    )


def test_a_standing_knows_what_the_canary_stopped(run: RunPaths) -> None:
    write_results(run, make_generations(run)[:5])
    sent = load_submission(run, 1)
    assert read_standing(run, sent, 0, []).stopped is None
    keep_canary(run, CanaryRecord(1, 5, {}, ("all are empty",), True, "merge", 1.0))
    assert read_standing(run, sent, 0, []).stopped == "of the first 5 items all are empty"
    later = sent.model_copy(update={"submission": 2})
    assert read_standing(run, later, 0, []).stopped is None


def test_damaged_results_are_generated_again() -> None:
    assert decide(standing()) == Decision(True, "7 items are missing (results that did not stand the checks)")
