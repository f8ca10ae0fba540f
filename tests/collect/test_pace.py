"""How fast, and until when: hand-computed rates, and simulated tasks that end within the range."""

import random

import pytest

from launch.collect.pace import WINDOW_S, Pace, TaskWork, measure_pace, student


def evenly(task: int, num: int, *, over_s: float = 300.0, generating_s: float = 1000.0) -> TaskWork:
    """`num` items of 20 tokens, evenly over the last `over_s` seconds."""
    return TaskWork(task, generating_s, tuple(((place + 0.5) * over_s / num, 20) for place in range(num)))


def test_rates_over_the_last_five_minutes() -> None:
    pace = measure_pace([evenly(0, 60), evenly(1, 90)], 300)
    assert pace is not None
    assert (pace.items_per_min, pace.tokens_per_s, pace.over_s) == (30.0, 10.0, WINDOW_S)
    # 150 items in 300 s: 600 s for 300; in 6 equal parts of 50 s the rates are all the same
    assert pace.low_s == pytest.approx(600.0) and pace.high_s == pytest.approx(600.0)
    assert pace.by == "6 parts of 50 s"


def test_a_young_task_counts_over_its_own_time() -> None:
    young = evenly(0, 20, over_s=100.0, generating_s=100.0)
    pace = measure_pace([young], 40)
    assert pace is not None and pace.over_s == 100.0 and pace.items_per_min == 12.0
    assert pace.low_s is not None and pace.low_s == pytest.approx(200.0, rel=0.25)
    both = measure_pace([young, evenly(1, 60)], 40)
    assert both is not None and both.low_s is not None and both.high_s is not None
    assert both.low_s <= 40 / (0.2 + 0.2) <= both.high_s  # 0.2 items/s each


def test_the_range_comes_from_the_spread_of_tasks() -> None:
    pace = measure_pace([evenly(task, num) for task, num in enumerate((30, 60, 60, 90))], 240)
    assert pace is not None and pace.by == "4 tasks"
    # 0.8 items/s. rates .1 .2 .2 .3: m = .2, s = .08165; e = t s / (m sqrt 4) = .651; sqrt(1 + 240/240)
    relative = min(0.9, student(4) * 0.0816497 / 0.2 / 2 * 2**0.5)
    assert pace.low_s == pytest.approx(300 / (1 + relative), rel=1e-4)
    assert pace.high_s == pytest.approx(300 / (1 - relative), rel=1e-4)


@pytest.mark.parametrize(
    ("works", "why"),
    [
        ([evenly(0, 100, over_s=50, generating_s=59)], "no task has generated for 60 s"),
        ([evenly(0, 9)], "only 9 items in the last 5 min"),
        ([TaskWork(0, 300, ((200.0, 1),) * 20), TaskWork(1, 90, ())], "nothing was settled in the last 90 s"),
    ],
)
def test_too_little_is_known(works: list[TaskWork], why: str) -> None:
    pace = measure_pace(works, 100)
    assert pace is not None and (pace.low_s, pace.high_s, pace.why_none) == (None, None, why)


def test_nothing_generates_or_nothing_is_missing() -> None:
    assert measure_pace([TaskWork(0, 0.0, ((5.0, 3),))], 10) is None
    assert measure_pace([evenly(0, 60)], 0) is None


@pytest.mark.parametrize(("num", "table"), [(4, 3.182), (6, 2.571), (10, 2.262), (20, 2.093), (1000, 1.962)])
def test_student(num: int, table: float) -> None:
    assert student(num) == pytest.approx(table, rel=0.02)


@pytest.mark.parametrize(("num_tasks", "num_missing"), [(1, 60), (2, 400), (8, 60), (8, 400)])
def test_simulated_tasks_end_within_the_range(num_tasks: int, num_missing: int) -> None:
    """Items come at random (exponential gaps), tasks differ by a quarter; 88 of 100 runs are within."""
    within = 0
    for seed in range(100):
        draw = random.Random(seed)
        rates = [draw.uniform(0.15, 0.25) for _ in range(num_tasks)]
        works = [TaskWork(task, 1000.0, arrivals(draw, rate)) for task, rate in enumerate(rates)]
        pace = measure_pace(works, num_missing)
        assert pace is not None
        end = draw.gammavariate(num_missing, 1 / sum(rates))  # when as many have come from all together
        within += is_within(pace, end)
    assert within >= 88


def arrivals(draw: random.Random, rate: float) -> tuple[tuple[float, int], ...]:
    ages, age = [], draw.expovariate(rate)
    while age <= WINDOW_S:
        ages.append((age, 1))
        age += draw.expovariate(rate)
    return tuple(ages)


def is_within(pace: Pace, end: float) -> bool:
    return pace.low_s is not None and pace.high_s is not None and pace.low_s <= end <= pace.high_s
