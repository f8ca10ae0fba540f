"""Eager or compiled: by the length of a task, and only where nothing was asked for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.config.gpus import gpu_speeds
from launch.planning.eager import MOST_LOSS, choose_eager, eager_loss
from launch.planning.limits import TaskLimits
from launch.planning.rates import TaskShape, measured_for
from launch.planning.tasks import Asked, Work, plan_tasks

SPEEDS = gpu_speeds()
EIGHT = 8_030_261_248
SHAPE = TaskShape(1, 1, 1, "h200", EIGHT)
H200 = measured_for("h200", SPEEDS)
BREAK_EVEN_S = (23.4 - 9.3) / (1 / 0.99 - 1)  # 1,396 s


@pytest.mark.parametrize(
    ("work_s", "eager"), [(20.0, True), (1390.0, True), (1400.0, False), (3600.0, False)]
)
def test_a_full_batch_breaks_even_where_it_was_measured(work_s: float, eager: bool) -> None:
    assert pytest.approx(1396, abs=1) == BREAK_EVEN_S
    chosen = choose_eager(None, SHAPE, H200, work_s, 1024)
    assert chosen.enforce_eager is eager
    assert chosen.why.startswith("eager: about " if eager else "compiled: about ")
    assert chosen.why.endswith("compiling pays from 23 min (measured: h200, 8.0B, 1,024 sequences at a time)")


@pytest.mark.parametrize("asked", [True, False])
def test_what_was_asked_for_stays(asked: bool) -> None:
    chosen = choose_eager(asked, SHAPE, H200, 1.0 if not asked else 1e6, 1024)
    assert (chosen.enforce_eager, chosen.why) == (asked, f"{'eager' if asked else 'compiled'}, as asked for")


def test_not_with_tensor_parallelism_and_not_on_a_cpu() -> None:
    parallel = replace(SHAPE, tensor_parallel_size=2, gpus_per_task=2)
    assert choose_eager(None, parallel, H200, 1.0, 1024).enforce_eager is False
    assert choose_eager(None, replace(SHAPE, gpus_per_task=0), H200, 1.0, 1024).enforce_eager is None


def test_few_sequences_or_a_small_model_lose_more_and_are_called_assumed() -> None:
    measured, is_measured = eager_loss(H200, EIGHT, 1024)
    assert is_measured and measured == pytest.approx(0.0101, abs=0.0001)
    assert eager_loss(H200, EIGHT, 128) == (pytest.approx(8 * measured), False)
    assert eager_loss(H200, EIGHT // 4, 1024) == (pytest.approx(4 * measured), False)
    assert eager_loss(H200, 10 * EIGHT, 1024) == (measured, False)  # never better than measured
    assert eager_loss(H200, EIGHT, 1) == (MOST_LOSS, False)
    # 14 s are saved: so long may a task be that runs at half the speed.
    assert choose_eager(None, SHAPE, H200, 14.0, 1).enforce_eager
    assert not choose_eager(None, SHAPE, H200, 14.2, 1).enforce_eager
    assert "(assumed from measurements: h200, " in choose_eager(None, SHAPE, H200, 14.0, 1).why
    assert "(assumed" in choose_eager(None, SHAPE, measured_for("h100", SPEEDS), 14.0, 1024).why


@given(st.floats(0, 1e12), st.integers(1, 10**6), st.none() | st.booleans(), st.none() | st.integers(1, 2048))
def test_a_plan_is_made_of_anything(cost: float, items: int, eager: bool | None, seqs: int | None) -> None:
    plan = plan_tasks(Work(cost, items, 5), SHAPE, TaskLimits(), Asked(None, eager, seqs), SPEEDS)
    assert 1 <= plan.num_tasks <= items
    assert eager is None or plan.eager.enforce_eager is eager


def test_8000_samples_as_8_tasks_start_eager_and_an_hour_a_task_does_not() -> None:
    """Issue 5: 1,024 prompt tokens, 5 samples of 256 tokens."""
    item = 1280 + 1024 / 3
    short = plan_tasks(Work(1600 * item, 1600, 5), SHAPE, TaskLimits(), Asked(num_tasks=8), SPEEDS)
    assert short.eager.enforce_eager and short.rate.warm_startup_s == pytest.approx(9.3 + 26)
    long = plan_tasks(Work(10**6 * item, 10**6, 5), SHAPE, TaskLimits(), Asked(), SPEEDS)
    assert long.eager.enforce_eager is False and long.num_tasks > 20
