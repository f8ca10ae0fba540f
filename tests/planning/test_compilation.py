"""Compiled or not: by what a step may hold and the length of a task, and only where nothing was asked for."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.config.gpus import gpu_speeds
from launch.planning.compilation import choose_compile, uncompiled_loss
from launch.planning.forecast import Warmth
from launch.planning.limits import TaskLimits, duration
from launch.planning.rates import TaskShape, Uncompiled, measured_for
from launch.planning.tasks import Asked, Work, plan_tasks

SPEEDS = gpu_speeds()
EIGHT = 8_030_261_248
SHAPE = TaskShape(1, 1, 1, "h200", EIGHT, num_seqs=1024)
H200 = measured_for("h200", SPEEDS)
SHARES = H200.uncompiled.shares
SAVED_S = H200.start_warm_s - H200.start_uncompiled_s


def break_even_s(share: float) -> float:
    """Seconds of generation from which compiling pays."""
    return SAVED_S / (1 / share - 1)


BREAK_EVEN_S = break_even_s(SHARES[128])
FEW = replace(SHAPE, num_seqs=64)


@pytest.mark.parametrize("work_s", [20.0, BREAK_EVEN_S + 1, 1e6])
@pytest.mark.parametrize("num_seqs", [1024, 964])
def test_full_steps_are_as_fast_without_and_never_compiled(work_s: float, num_seqs: int) -> None:
    chosen = choose_compile(None, replace(SHAPE, num_seqs=num_seqs), H200, work_s)
    assert chosen.torch_compile is False
    assert chosen.why == (
        "not compiled: as fast as compiled and ready 11 s earlier (measured: h200, 8.0B, about"
        f" {num_seqs:,} sequences at a time)"
    )


@pytest.mark.parametrize(
    ("num_seqs", "share", "ends"),
    [
        (128, SHARES[128], "(measured: h200, 8.0B, about 128 sequences at a time)"),
        (256, SHARES[256], "(measured: h200, 8.0B, about 256 sequences at a time)"),
        (1, SHARES[128], "128, 256 and 1,024 sequences at a time; here 1)"),
        (2048, H200.uncompiled.eager_share, "128, 256 and 1,024 sequences at a time; here 2,048)"),
        (1025, H200.uncompiled.eager_share, "128, 256 and 1,024 sequences at a time; here 1,025)"),
        (None, SHARES[128], "128, 256 and 1,024 sequences at a time; here their number is not known)"),
    ],
)
def test_with_other_steps_it_breaks_even_by_what_was_measured(
    num_seqs: int | None, share: float, ends: str
) -> None:
    shape, at_s = replace(SHAPE, num_seqs=num_seqs), break_even_s(share)
    assert 80 < at_s < 420
    for work_s in (20.0, at_s - 1, at_s + 1, 7200.0):
        chosen = choose_compile(None, shape, H200, work_s)
        assert chosen.torch_compile is (work_s > at_s)
        assert chosen.why.startswith("compiled: about " if chosen.torch_compile else "not compiled: about ")
        assert f"compiling pays from {duration(at_s)} (" in chosen.why and chosen.why.endswith(ends)
        assert ("assumed from measurements: h200, 8.0B, " in chosen.why) is ("measured: " not in ends)


def test_graphs_of_steps_with_a_prompt_lose_little_whatever_the_model() -> None:
    """With 128 sequences less than chance; a small model, which was seen to gain, is taken to lose, too."""
    shares = H200.uncompiled.full_shares
    for num_seqs, parameters in product((8, 128, 256, 1024), (EIGHT, EIGHT // 60)):
        full = replace(SHAPE, num_seqs=num_seqs, parameters=parameters, full_graphs=True)
        loss, is_measured = uncompiled_loss(H200, full)
        assert loss == pytest.approx(1 / shares[max(num_seqs, 128)] - 1)
        assert is_measured is (parameters == EIGHT and num_seqs != 8)
        pays_s = SAVED_S / loss
        assert choose_compile(None, full, H200, pays_s - 1).torch_compile is False
        assert choose_compile(None, full, H200, pays_s + 1).torch_compile is (num_seqs == 256)


def test_between_two_numbers_the_share_goes_by_one_over_the_number() -> None:
    """A number whose 1 / n is in the middle of two that were measured has the mean of their shares."""
    middle = Uncompiled("x", EIGHT, {100: 0.8, 300: 1.0}, {100: 0.9, 300: 1.0}, 0.5)
    assert middle.share(replace(SHAPE, num_seqs=150)) == pytest.approx(0.9)
    assert middle.share(replace(SHAPE, num_seqs=150, full_graphs=True)) == pytest.approx(0.95)
    shares = [H200.uncompiled.share(replace(SHAPE, num_seqs=number)) for number in range(1, 1025)]
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (SHARES[128], SHARES[1024])
    assert all(SHARES[number] == shares[number - 1] for number in SHARES)


@pytest.mark.parametrize("asked", [True, False])
def test_what_was_asked_for_stays(asked: bool) -> None:
    chosen = choose_compile(asked, SHAPE, H200, 1.0 if asked else 1e6)
    assert chosen.torch_compile is asked
    assert chosen.why == f"{'compiled' if asked else 'not compiled'}, as asked for"


def test_with_tensor_parallelism_it_compiles_and_on_a_cpu_it_is_left_to_the_engine() -> None:
    parallel = replace(SHAPE, tensor_parallel_size=2, gpus_per_task=2)
    assert choose_compile(None, parallel, H200, 1.0).torch_compile is True
    assert choose_compile(False, parallel, H200, 1.0).torch_compile is False
    assert choose_compile(None, replace(SHAPE, gpus_per_task=0), H200, 1.0).torch_compile is None


def test_a_small_model_loses_more_but_in_full_steps_and_is_called_assumed() -> None:
    assert uncompiled_loss(H200, SHAPE) == (pytest.approx(0.001, abs=1e-4), True)
    few, is_measured = uncompiled_loss(H200, FEW)
    assert not is_measured and few == pytest.approx(1 / SHARES[128] - 1)
    for parameters, times in (
        (EIGHT // 4, 4.0),
        (10 * EIGHT, 1.0),
        (None, 1.0),
    ):  # never better than measured
        other = replace(FEW, parameters=parameters)
        assert uncompiled_loss(H200, other) == (pytest.approx(times * few), False)
        assert uncompiled_loss(H200, replace(other, num_seqs=1024)) == (
            pytest.approx(0.001, abs=1e-4),
            False,
        )
    small = replace(FEW, parameters=EIGHT // 4)
    assert choose_compile(None, small, H200, BREAK_EVEN_S / 4 - 1).torch_compile is False
    assert choose_compile(None, small, H200, BREAK_EVEN_S / 4 + 1).torch_compile is True
    assert "(assumed from measurements: h200, " in choose_compile(None, small, H200, 14.0).why
    assert "(assumed" in choose_compile(None, SHAPE, measured_for("h100", SPEEDS), 14.0).why


@given(
    st.floats(0, 1e12),
    st.integers(1, 10**6),
    st.none() | st.booleans(),
    st.none() | st.integers(1, 99),
    st.sampled_from([SHAPE, FEW]),
)
def test_a_plan_is_made_of_anything(
    cost: float, items: int, compiles: bool | None, at_once: int | None, shape: TaskShape
) -> None:
    limits = TaskLimits(max_concurrent=at_once)
    plan = plan_tasks(Work(cost, items), shape, limits, Asked(None, compiles), SPEEDS)
    assert 1 <= plan.num_tasks <= items
    assert compiles is None or plan.compilation.torch_compile is compiles
    if compiles is None:  # the number of tasks is one that suits what was chosen
        same = plan_tasks(Work(cost, items), shape, limits, Asked(plan.num_tasks), SPEEDS)
        assert same.compilation.torch_compile is plan.compilation.torch_compile


def test_engines_that_start_sooner_are_planned_in_more_tasks() -> None:
    work = Work(20_000 * (600 + 250 / 3), 20_000)
    limits = TaskLimits(max_concurrent=64)
    plan = plan_tasks(work, SHAPE, limits, Asked(), SPEEDS)
    assert plan.compilation.torch_compile is False
    assert plan.num_tasks == plan_tasks(work, SHAPE, limits, Asked(compiles=False), SPEEDS).num_tasks
    assert plan.num_tasks > plan_tasks(work, SHAPE, limits, Asked(compiles=True), SPEEDS).num_tasks
    warm = plan_tasks(work, SHAPE, limits, Asked(), SPEEDS, Warmth(uncompiled=True))
    assert plan.num_tasks < warm.num_tasks <= 64
    assert plan_tasks(work, SHAPE, limits, Asked(), SPEEDS, Warmth(compiled=True)) == plan


def test_8000_samples_as_8_tasks_do_not_compile_and_an_hour_of_small_steps_does() -> None:
    """Issue 5: 1,024 prompt tokens, 5 samples of 256 tokens."""
    item = 1280 + 1024 / 3
    short = plan_tasks(Work(1600 * item, 1600), SHAPE, TaskLimits(), Asked(num_tasks=8), SPEEDS)
    assert short.compilation.torch_compile is False
    assert short.rate.warm_startup_s == pytest.approx(H200.start_uncompiled_s + H200.beside_s)
    for shape, compiles in ((SHAPE, False), (FEW, True)):
        long = plan_tasks(Work(10**6 * item, 10**6), shape, TaskLimits(), Asked(), SPEEDS)
        assert long.compilation.torch_compile is compiles and long.num_tasks > 20


def test_batch_invariant_kernels_are_those_of_every_submission() -> None:
    """A resume may be far shorter than what it continues."""
    work = Work(100.0, 10)
    plan = plan_tasks(work, SHAPE, TaskLimits(), Asked(is_invariant=True), SPEEDS)
    assert plan.compilation.torch_compile is None and "left to the engine" in plan.compilation.why
    assert plan.rate == plan_tasks(work, SHAPE, TaskLimits(), Asked(compiles=True), SPEEDS).rate
    asked = plan_tasks(work, SHAPE, TaskLimits(), Asked(compiles=False, is_invariant=True), SPEEDS)
    assert asked.compilation.torch_compile is False
    eager = plan_tasks(work, SHAPE, TaskLimits(), Asked(is_eager=True, is_invariant=True), SPEEDS)
    assert eager.compilation.why == "eager, as asked for"
