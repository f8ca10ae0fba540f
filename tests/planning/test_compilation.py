"""Compiled or not: by the length of a task, and only where nothing was asked for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.config.gpus import gpu_speeds
from launch.planning.compilation import MOST_LOSS, choose_compile, uncompiled_loss
from launch.planning.limits import TaskLimits
from launch.planning.rates import TaskShape, measured_for
from launch.planning.tasks import Asked, Work, plan_tasks

SPEEDS = gpu_speeds()
EIGHT = 8_030_261_248
SHAPE = TaskShape(1, 1, 1, "h200", EIGHT)
H200 = measured_for("h200", SPEEDS)
SAVED_S = H200.start_warm_s - H200.start_uncompiled_s
BREAK_EVEN_S = SAVED_S / (1 / 0.99 - 1)  # 99 times what is saved


@pytest.mark.parametrize("work_s", [20.0, BREAK_EVEN_S - 1, BREAK_EVEN_S + 1, 7200.0])
def test_a_full_batch_breaks_even_where_it_was_measured(work_s: float) -> None:
    assert 600 < BREAK_EVEN_S < 1800
    chosen = choose_compile(None, SHAPE, H200, work_s, 1024)
    assert chosen.torch_compile is (work_s > BREAK_EVEN_S)
    assert chosen.why.startswith("compiled: about " if chosen.torch_compile else "not compiled: about ")
    minutes = f"{BREAK_EVEN_S / 60:.0f} min"
    assert chosen.why.endswith(f"pays from {minutes} (measured: h200, 8.0B, 1,024 sequences at a time)")


@pytest.mark.parametrize("asked", [True, False])
def test_what_was_asked_for_stays(asked: bool) -> None:
    chosen = choose_compile(asked, SHAPE, H200, 1.0 if asked else 1e6, 1024)
    assert chosen.torch_compile is asked
    assert chosen.why == f"{'compiled' if asked else 'not compiled'}, as asked for"


def test_with_tensor_parallelism_it_compiles_and_on_a_cpu_it_is_left_to_the_engine() -> None:
    parallel = replace(SHAPE, tensor_parallel_size=2, gpus_per_task=2)
    assert choose_compile(None, parallel, H200, 1.0, 1024).torch_compile is True
    assert choose_compile(False, parallel, H200, 1.0, 1024).torch_compile is False
    assert choose_compile(None, replace(SHAPE, gpus_per_task=0), H200, 1.0, 1024).torch_compile is None


def test_few_sequences_or_a_small_model_lose_more_and_are_called_assumed() -> None:
    measured, is_measured = uncompiled_loss(H200, EIGHT, 1024)
    assert is_measured and measured == pytest.approx(0.0101, abs=0.0001)
    assert uncompiled_loss(H200, EIGHT, 128) == (pytest.approx(8 * measured), False)
    assert uncompiled_loss(H200, EIGHT // 4, 1024) == (pytest.approx(4 * measured), False)
    assert uncompiled_loss(H200, 10 * EIGHT, 1024) == (measured, False)  # never better than measured
    assert uncompiled_loss(H200, EIGHT, 1) == (MOST_LOSS, False)
    # What is saved is how long a task may be that runs at half the speed.
    assert choose_compile(None, SHAPE, H200, SAVED_S - 0.1, 1).torch_compile is False
    assert choose_compile(None, SHAPE, H200, SAVED_S + 0.1, 1).torch_compile is True
    assert "(assumed from measurements: h200, " in choose_compile(None, SHAPE, H200, 14.0, 1).why
    assert "(assumed" in choose_compile(None, SHAPE, measured_for("h100", SPEEDS), 14.0, 1024).why


@given(st.floats(0, 1e12), st.integers(1, 10**6), st.none() | st.booleans(), st.none() | st.integers(1, 2048))
def test_a_plan_is_made_of_anything(cost: float, items: int, compiles: bool | None, seqs: int | None) -> None:
    plan = plan_tasks(Work(cost, items, 5), SHAPE, TaskLimits(), Asked(None, compiles, seqs), SPEEDS)
    assert 1 <= plan.num_tasks <= items
    assert compiles is None or plan.compilation.torch_compile is compiles


def test_8000_samples_as_8_tasks_do_not_compile_and_an_hour_a_task_does() -> None:
    """Issue 5: 1,024 prompt tokens, 5 samples of 256 tokens."""
    item = 1280 + 1024 / 3
    short = plan_tasks(Work(1600 * item, 1600, 5), SHAPE, TaskLimits(), Asked(num_tasks=8), SPEEDS)
    assert short.compilation.torch_compile is False
    assert short.rate.warm_startup_s == pytest.approx(H200.start_uncompiled_s + H200.beside_s)
    long = plan_tasks(Work(10**6 * item, 10**6, 5), SHAPE, TaskLimits(), Asked(), SPEEDS)
    assert long.compilation.torch_compile is True and long.num_tasks > 20


def test_batch_invariant_kernels_are_those_of_every_submission() -> None:
    """A resume may be far shorter than what it continues."""
    work = Work(100.0, 10, 5)
    plan = plan_tasks(work, SHAPE, TaskLimits(), Asked(is_invariant=True), SPEEDS)
    assert plan.compilation.torch_compile is None and "left to the engine" in plan.compilation.why
    assert plan.rate == plan_tasks(work, SHAPE, TaskLimits(), Asked(compiles=True), SPEEDS).rate
    asked = plan_tasks(work, SHAPE, TaskLimits(), Asked(compiles=False, is_invariant=True), SPEEDS)
    assert asked.compilation.torch_compile is False
    eager = plan_tasks(work, SHAPE, TaskLimits(), Asked(is_eager=True, is_invariant=True), SPEEDS)
    assert eager.compilation.why == "eager, as asked for"
