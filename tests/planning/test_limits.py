"""The number of tasks, its reason, and the arrays for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.planning.limits import TaskLimits, choose_num_tasks, over_limit, share_concurrent, split_arrays
from launch.planning.rates import TaskRate

RATE = TaskRate(tokens_per_s=100.0, startup_s=60.0, source="a test")
HOUR = 3600 * RATE.tokens_per_s


def test_a_task_gets_an_hour_of_work_when_the_time_limit_allows() -> None:
    assert choose_num_tasks(10 * HOUR, 1000, RATE, TaskLimits(time_limit_s=4 * 3600)) == (
        10,
        "10 tasks: about 10 h of work for one task at 100 tokens/s (a test)",
    )
    assert choose_num_tasks(10 * HOUR, 1000, RATE, TaskLimits())[0] == 10


def test_a_task_fits_in_half_its_time_limit_start_up_included() -> None:
    chosen, _ = choose_num_tasks(10 * HOUR, 1000, RATE, TaskLimits(time_limit_s=1800))
    assert chosen == 43  # 36,000 s over 1,800 / 2 - 60 = 840 s
    assert 36_000 / chosen + 60 <= 900


def test_a_time_limit_near_the_start_up_still_gives_a_plan() -> None:
    chosen, _ = choose_num_tasks(HOUR, 1000, RATE, TaskLimits(time_limit_s=60))
    assert chosen == 60


def test_small_work_is_one_task_unless_more_may_run_at_once() -> None:
    assert choose_num_tasks(600.0, 24, RATE, TaskLimits(max_concurrent=8)) == (
        1,
        "1 task: about 6 s of work for one task at 100 tokens/s (a test)",
    )
    # 1,200 s of work: five tasks of 240 s, so that 60 s of start-up stay a fifth.
    assert choose_num_tasks(HOUR / 3, 1000, RATE, TaskLimits(max_concurrent=8))[0] == 5
    assert choose_num_tasks(HOUR, 1000, RATE, TaskLimits(max_concurrent=8))[0] == 8


def test_bounds_are_named() -> None:
    count, why = choose_num_tasks(10 * HOUR, 1000, RATE, TaskLimits(max_submit=4))
    assert (count, why.split("; ")[1]) == (4, "10 would fit it, but max_submit allows 4")
    count, why = choose_num_tasks(10 * HOUR, 3, RATE, TaskLimits(max_submit=4))
    assert (count, why.split("; ")[1]) == (3, "10 would fit it, but the number of items allows 3")
    count, why = choose_num_tasks(30_000 * HOUR, 10**6, RATE, TaskLimits())
    assert (count, why.split("; ")[1]) == (
        20_000,
        "30000 would fit it, but the number of chunks allows 20000",
    )


def test_what_is_asked_for_wins_but_never_more_than_items_or_chunks() -> None:
    limits = TaskLimits(time_limit_s=60, max_submit=2)
    assert choose_num_tasks(HOUR, 1000, RATE, limits, asked=8) == (8, "8 tasks, as asked for")
    assert choose_num_tasks(HOUR, 5, RATE, limits, asked=8) == (
        5,
        "5 tasks: 8 asked for, but no more than one per item",
    )
    assert choose_num_tasks(HOUR, 10**6, RATE, limits, asked=30_000) == (
        20_000,
        "20,000 tasks: 30000 asked for, but no more than one per chunk",
    )


def test_no_items_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no items"):
        choose_num_tasks(0.0, 0, RATE, TaskLimits())


@given(
    st.floats(0, 1e12), st.integers(1, 10**6), st.none() | st.floats(1, 1e6), st.none() | st.integers(1, 5000)
)
def test_there_is_always_a_number_within_bounds(
    cost: float, num_items: int, limit: float | None, submit: int | None
) -> None:
    chosen, _ = choose_num_tasks(cost, num_items, RATE, TaskLimits(limit, submit, 8))
    assert 1 <= chosen <= min(num_items, submit or 20_000)


@given(st.integers(1, 5000), st.integers(1, 1200))
def test_arrays_cover_every_task_once_within_the_size(num_tasks: int, size: int) -> None:
    arrays = split_arrays(num_tasks, size)
    tasks = [offset + index for offset, length in arrays for index in range(length)]
    assert tasks == list(range(num_tasks))
    assert max(length for _, length in arrays) <= size


def test_a_thousand_and_two_tasks_need_two_arrays_of_1001() -> None:
    assert split_arrays(1002, 1001) == ((0, 1001), (1001, 1))
    with pytest.raises(ValueError, match="cannot split 0 tasks"):
        split_arrays(0, 1001)


def test_more_than_may_be_sent_is_said() -> None:
    assert over_limit(4, TaskLimits(max_submit=4)) is None and over_limit(4, TaskLimits()) is None
    assert over_limit(5, TaskLimits(max_submit=4, max_submit_of="a limit of 5")) == (
        "5 tasks are asked for, but a limit of 5 allows 4: Slurm may refuse them."
        " Lower --num-tasks, or raise resources.max_submit."
    )


@pytest.mark.parametrize(
    ("sizes", "max_concurrent", "shares"),
    [
        ((10, 10, 10), 5, (2, 2, 1)),
        ((10, 10, 10), 15, (5, 5, 5)),
        ((1001, 1), 5, (4, 1)),
        ((1001, 1001, 500), 100, (40, 40, 20)),
        ((10, 10, 1), 20, (10, 9, 1)),
        ((7,), 3, (3,)),
        ((7,), 8, (7,)),
        ((1, 1, 1), 9, (1, 1, 1)),
        ((10, 10, 10), 2, (1, 1, 1)),
    ],
)
def test_arrays_share_what_may_run_at_once(
    sizes: tuple[int, ...], max_concurrent: int, shares: tuple[int, ...]
) -> None:
    assert share_concurrent(sizes, max_concurrent) == shares


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=40), st.integers(1, 2000))
def test_lanes_never_run_more_at_once_than_asked_for_and_no_fewer(
    sizes: list[int], max_concurrent: int
) -> None:
    shares = share_concurrent(sizes, max_concurrent)
    assert all(1 <= share <= size for share, size in zip(shares, sizes, strict=True))
    lanes = [shares[lane::max_concurrent] for lane in range(min(max_concurrent, len(sizes)))]
    assert sum(map(max, lanes)) == min(max_concurrent, sum(sizes))


def test_nothing_at_once_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="cannot share 0 tasks at once"):
        share_concurrent([3], 0)
