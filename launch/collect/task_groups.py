"""Tasks as rows of a table, worst first: alike ones in one row, so that an array of 1,000 is a page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launch.collect.task_status import TaskState, TaskStatus

_ORDER = (
    TaskState.FAILED,
    TaskState.DEAD,
    TaskState.DRAINED,
    TaskState.RUNNING,
    TaskState.WAITING,
    TaskState.UNSENT,
    TaskState.ENDED,
)
BAD = (TaskState.FAILED, TaskState.DEAD)


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """Tasks of one state that say the same; a running task is a group of its own."""

    tasks: tuple[TaskStatus, ...]

    @property
    def first(self) -> TaskStatus:
        """The one that is shown."""
        return self.tasks[0]

    @property
    def state(self) -> TaskState:
        """That of all of them."""
        return self.first.state

    @property
    def numbers(self) -> str:
        """`3`, or `3, 9, 14-20`."""
        return ranges(task.task for task in self.tasks)

    @property
    def num_items(self) -> int | None:
        """Items of their shards, where those are known."""
        known = [task.shard_items for task in self.tasks if task.shard_items is not None]
        return sum(known) if len(known) == len(self.tasks) else None

    @property
    def num_settled(self) -> int:
        """Settled items of their shards, by whichever task; of tasks without a shard what they settled."""
        return sum(
            task.num_settled if task.shard_items is None else task.shard_settled for task in self.tasks
        )


def group_tasks(tasks: Sequence[TaskStatus], *, apart: bool = False) -> list[TaskGroup]:
    """Failed ones first, then lost, drained, running (the least done first), waiting and ended ones.

    With `apart` every task is a group of its own.
    """
    groups: dict[object, list[TaskStatus]] = {}
    for task in tasks:
        alone = apart or task.state is TaskState.RUNNING
        said = task.failure_class or task.waits_for or task.message or ""
        groups.setdefault(task.task if alone else (task.state, said), []).append(task)
    return sorted((TaskGroup(tuple(group)) for group in groups.values()), key=_place)


def select(groups: Sequence[TaskGroup], max_rows: int) -> list[TaskGroup]:
    """At most `max_rows` of them, in their order: running tasks, of which there may be many, leave first.

    A sixth of the rows is kept for them: why others wait is as much worth knowing as the slowest that runs.
    """
    num_running = sum(group.state is TaskState.RUNNING for group in groups)
    num_other = min(len(groups) - num_running, max_rows - min(num_running, max(1, max_rows // 6)))
    left = {True: max_rows - num_other, False: num_other}
    chosen = []
    for group in groups:
        is_running = group.state is TaskState.RUNNING
        if left[is_running] > 0:
            left[is_running] -= 1
            chosen.append(group)
    return chosen


def _place(group: TaskGroup) -> tuple[int, float, int]:
    done = group.num_settled / group.num_items if group.num_items else 0.0
    share = done if group.state is TaskState.RUNNING else 0.0
    return _ORDER.index(group.state), share, group.first.task


def counted(groups: Iterable[TaskGroup]) -> str:
    """`800 running, 12 ended`: the tasks of groups by state, in the order of `group_tasks`."""
    counts: Counter[TaskState] = Counter()
    for group in groups:
        counts[group.state] += len(group.tasks)
    return ", ".join(f"{counts[state]:,} {state}" for state in _ORDER if counts[state])


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers with runs of three and more as `first-last`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run))  # two are no shorter as a range
        for run in runs
    ]
    return ", ".join(parts)
