"""The forecast of the plan table."""

import pytest

from launch.planning.forecast import forecast
from launch.planning.rates import TaskRate
from launch.planning.shards import Shard, ShardUser

RATE = TaskRate(tokens_per_s=10.0, startup_s=20.0, source="a test")


def make_shards(costs: list[float]) -> list[Shard]:
    return [
        Shard(task, (ShardUser(task, (task, task + 100), (cost / 2, cost / 2)),), cost)
        for task, cost in enumerate(costs)
    ]


def test_all_at_once_ends_with_the_longest_task() -> None:
    seen = forecast(make_shards([100.0, 300.0, 200.0]), RATE, gpus_per_task=4)
    assert (seen.num_tasks, seen.num_items) == (3, 6)
    assert (seen.total_cost, seen.balance) == (600.0, 1.5)
    assert seen.makespan_s == 50.0
    assert seen.gpu_hours == pytest.approx((30 + 50 + 40) * 4 / 3600)


def test_two_places_are_filled_as_they_come_free() -> None:
    seen = forecast(make_shards([100.0, 300.0, 200.0]), RATE, gpus_per_task=0, max_concurrent=2)
    assert seen.makespan_s == 70.0  # 30 then 40 beside 50
    assert seen.gpu_hours == 0.0


def test_nothing_to_do_takes_no_time() -> None:
    seen = forecast([], RATE, gpus_per_task=1)
    assert (seen.makespan_s, seen.balance, seen.total_cost) == (0.0, 1.0, 0.0)


def test_the_share_of_starts() -> None:
    seen = forecast(make_shards([100.0, 300.0, 200.0]), RATE, gpus_per_task=4)
    assert seen.startup_share == pytest.approx(60 / 120)


def test_only_those_that_start_first_find_cold_caches() -> None:
    rate = TaskRate(tokens_per_s=10.0, startup_s=20.0, source="a test", warm_startup_s=5.0)
    seen = forecast(make_shards([100.0] * 4), rate, gpus_per_task=1, max_concurrent=2)
    assert (seen.num_cold_starts, seen.starts_s, seen.makespan_s) == (2, 50.0, 45.0)
    assert seen.gpu_hours == pytest.approx((2 * 30 + 2 * 15) / 3600)
    assert forecast(make_shards([100.0] * 4), rate, gpus_per_task=1).starts_s == 80.0, "all at once"


def test_with_warm_caches_every_start_is_a_warm_one() -> None:
    rate = TaskRate(tokens_per_s=10.0, startup_s=20.0, source="a test", warm_startup_s=5.0)
    seen = forecast(make_shards([100.0] * 4), rate, gpus_per_task=1, is_warm=True)
    assert (seen.num_cold_starts, seen.starts_s, seen.makespan_s, seen.is_warm) == (0, 20.0, 15.0, True)
    assert not forecast(make_shards([100.0]), rate, gpus_per_task=1).is_warm
    assert not forecast([], rate, gpus_per_task=1).is_warm
