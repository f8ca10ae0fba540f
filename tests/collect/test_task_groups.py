"""Tasks as rows: worst first, alike ones together."""

import pytest

from launch.collect.task_groups import counted, group_tasks, ranges
from launch.collect.task_status import TaskState, TaskStatus


def task(number: int, state: TaskState, **more: object) -> TaskStatus:
    return TaskStatus(number, state, 0, 0, **more)  # type: ignore[arg-type]


TASKS = [
    task(0, TaskState.ENDED),
    task(1, TaskState.RUNNING, shard_items=10, shard_settled=9, message="generating"),
    task(2, TaskState.RUNNING, shard_items=10, shard_settled=1, message="generating"),
    task(3, TaskState.FAILED, failure_class="out_of_memory", message="slot 0: 40 GiB"),
    task(4, TaskState.FAILED, failure_class="out_of_memory", message="slot 0: 41 GiB"),
    task(5, TaskState.WAITING, message="PENDING (Priority)", waits_for="Priority: others"),
    task(6, TaskState.DEAD, message="ended without a word: NODE_FAIL"),
    task(7, TaskState.WAITING, message="PENDING (Priority)", waits_for="Priority: others"),
    task(8, TaskState.FAILED, failure_class="gpu_lost", message="slot 0: gone"),
    task(9, TaskState.ENDED),
]


def test_the_worst_comes_first_and_the_slowest_of_those_that_run() -> None:
    groups = group_tasks(TASKS)
    assert [group.numbers for group in groups] == ["3, 4", "8", "6", "2", "1", "5, 7", "0, 9"]
    assert counted(groups[3:]) == "2 running, 2 waiting, 2 ended"


def test_apart_every_task_has_a_row() -> None:
    groups = group_tasks(TASKS, apart=True)
    assert len(groups) == len(TASKS)
    assert [group.numbers for group in groups][:4] == ["3", "4", "8", "6"]


def test_a_group_counts_the_shards_of_all_or_of_none() -> None:
    running = group_tasks([TASKS[1]])[0]
    assert (running.num_settled, running.num_items) == (9, 10)
    failed = group_tasks(TASKS[3:5])[0]
    assert (failed.num_settled, failed.num_items) == (0, None)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([3], "3"), ([4, 3], "3, 4"), ([1, 2, 3, 7, 9, 10], "1-3, 7, 9, 10"), (range(1000), "0-999"), ([], "")],
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
