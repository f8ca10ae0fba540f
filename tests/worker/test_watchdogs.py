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


def counts(done: int, in_flight: int = 8, failed: int = 0) -> dict[str, object]:
    return {"counts": {"done": done, "failed": failed, "in_flight": in_flight}}


def test_an_engine_that_steps_and_settles_nothing_is_overdue():
    """Or one whose writer hangs: what is done is counted when it is durable."""
    dog = Watchdog(Limits(start_s=60, progress_s=20, settle_s=100), 0.0)
    dog.hear({"phase": "generating"}, 50)
    for now in range(51, 150):
        dog.hear(counts(done=0), now)
        assert dog.look(now) is None
    overdue = dog.look(150)
    assert overdue is not None and overdue.failure_class is FailureClass.PROGRESS_TIMEOUT
    assert overdue.message.startswith("the engine settled no item for 100 s while requests ran")
    assert classify(overdue.message).failure_class is FailureClass.PROGRESS_TIMEOUT


@pytest.mark.parametrize("progress", [counts(done=1), counts(done=0, failed=1), counts(done=0, in_flight=0)])
def test_what_is_settled_or_an_engine_with_nothing_to_do_moves_that_limit(progress: dict[str, object]):
    dog = Watchdog(Limits(start_s=60, progress_s=20, settle_s=100), 0.0)
    dog.hear({"phase": "generating"}, 50)
    for now in range(51, 300):
        dog.hear(progress if now == 149 else counts(done=0), now)
        assert dog.look(now) is None or now >= 249
    assert dog.due() is not None


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
    settle = None if expected is None else expected + 256
    assert limits_of(engine, kind, 256) == Limits(5, expected, settle)


def test_without_a_limit_of_progress_nothing_is_due():
    dog = Watchdog(Limits(60, None), 0.0)
    dog.hear({"phase": "generating"}, 1)
    assert dog.due() is None
    assert dog.look(80) is None
