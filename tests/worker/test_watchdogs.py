"""The clocks of a start and of progress, without processes."""

import pytest

from launch.config.schema import EngineConfig, EngineKind
from launch.worker.failures import FailureClass, classify
from launch.worker.watchdogs import STOOD_STILL_S, Limits, Watchdog, limits_of

LIMITS = Limits(start_s=60, progress_s=20)
PHASES = ("starting", "loading")


def watch(*messages: tuple[float, dict[str, object]]) -> Watchdog:
    """A watchdog of a start at 0 that heard these."""
    dog = Watchdog(LIMITS, 0.0)
    for time, message in messages:
        dog.hear(message, time)
    return dog


def test_a_start_is_overdue_at_its_limit_whatever_it_says_before():
    dog = watch((1, {"phase": "starting"}), (30, {"phase": "loading"}), (59, {"counts": {"done": 0}}))
    assert dog.due() == 60
    assert dog.look(59.9) is None
    overdue = dog.look(60.0)
    assert overdue is not None and overdue.failure_class is FailureClass.START_TIMEOUT
    assert classify(overdue.message).failure_class is FailureClass.START_TIMEOUT


def test_every_step_moves_the_limit_of_progress():
    dog = watch((50, {"phase": "generating"}))
    assert dog.due() == 70
    dog.hear({"counts": {"done": 0, "in_flight": 8}}, 65)
    assert dog.look(84.9) is None
    overdue = dog.look(85.0)
    assert overdue is not None and overdue.failure_class is FailureClass.PROGRESS_TIMEOUT
    assert classify(overdue.message).failure_class is FailureClass.PROGRESS_TIMEOUT


def test_what_is_no_progress_moves_nothing():
    dog = watch((50, {"phase": "generating"}), (55, {"ended": "failed", "failure": None}))
    assert dog.due() == 70


def test_after_a_suspension_the_clock_begins_anew():
    dog = watch((50, {"phase": "generating"}))
    assert dog.look(60) is None
    resumed = 60 + STOOD_STILL_S + 1
    assert dog.look(resumed) is None
    assert dog.due() == resumed + 20
    assert dog.look(resumed + 20) is not None


@pytest.mark.parametrize(
    ("kind", "progress_timeout_s", "expected"),
    [
        (EngineKind.VLLM, None, 1800),
        (EngineKind.TRANSFORMERS, None, None),
        (EngineKind.TRANSFORMERS, 60, 60),
        (EngineKind.STUB, 7, 7),
    ],
)
def test_the_limits_are_the_settings(kind: EngineKind, progress_timeout_s: int | None, expected: int | None):
    engine = EngineConfig(start_timeout_s=5, progress_timeout_s=progress_timeout_s)
    assert limits_of(engine, kind) == Limits(5, expected)


def test_without_a_limit_of_progress_nothing_is_due():
    dog = Watchdog(Limits(60, None), 0.0)
    dog.hear({"phase": "generating"}, 1)
    assert dog.due() is None
    assert dog.look(80) is None
