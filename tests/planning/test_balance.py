"""Tasks end together: planner and claims as shipped, in the simulation of benchmarks/balance.py."""

import random

import pytest

from benchmarks.balance import Case, Work, draw, fluid_bound, measure


def test_the_fluid_bound_fills_every_task_from_its_start():
    work = Work(real=[64.0] * 30, predicted=[64.0] * 30, starts=[10.0, 0.0])
    assert fluid_bound(work) == pytest.approx(20.0)  # 64 x 10 s of one task, then twice 64 x 10 s
    late = Work(real=[64.0] * 5, predicted=[64.0] * 5, starts=[0.0, 100.0])
    assert fluid_bound(late) == pytest.approx(5.0)


def test_starts_reach_to_half_the_bound():
    work = draw(random.Random(1), 1000, 8)
    assert min(work.starts) == 0
    assert max(work.starts) == pytest.approx(fluid_bound(work) / 2)


@pytest.mark.process
@pytest.mark.parametrize("per_user", [10, 500])
@pytest.mark.parametrize("tasks", [8, 16])
def test_the_last_task_ends_within_a_twentieth_of_the_bound(tasks: int, per_user: int):
    found = measure(1, Case(tasks, 100_000, per_user), start_up_s=60.0)
    assert found.bound_s <= found.one_queue_s
    assert found.ours_s <= 1.05 * found.bound_s
    assert found.equal_count_s > 1.2 * found.bound_s, "the case is one that equal counts do badly"


@pytest.mark.process
def test_few_items_are_shared_out_about_as_well_as_by_one_queue():
    found = measure(1, Case(8, 4000, 10), start_up_s=60.0)
    assert found.ours_s <= 1.15 * found.one_queue_s
