"""How many array tasks, and how many arrays they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from launch.config.wording import duration as duration  # noqa: PLC0414  planning.compilation takes it
from launch.planning.chunks import MAX_CHUNKS
from launch.planning.rates import TaskRate

# Our choice: rates are assumed, so a task is planned to need half of its time limit at most.
TIME_LIMIT_SHARE = 0.5
# Our choice: shorter tasks start sooner in a busy queue and lose less when they are cut.
TARGET_WORK_S = 3600.0
# Our choice: tasks are added to use what may run at once only while start-up stays under a fifth of a task.
MIN_WORK_PER_STARTUP = 4.0


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """What bounds the number of tasks; None where nothing does.

    `time_limit_s` of a task; `max_submit` tasks that may be sent now, by the limit `max_submit_of`;
    `max_concurrent` tasks running at once.
    """

    time_limit_s: float | None = None
    max_submit: int | None = None
    max_concurrent: int | None = None
    max_submit_of: str = "max_submit"


def choose_num_tasks(
    total_cost: float, num_items: int, rate: TaskRate, limits: TaskLimits, asked: int | None = None
) -> tuple[int, str]:
    """The number of tasks (at least 1) and a sentence that says why.

    `asked` wins, but there are never more tasks than items or chunks. Else as many as keep a task within half
    its time limit and an hour of work, or as many as may run at once if start-up stays small beside the work;
    never more than may be submitted (what a task does not finish, its next attempt continues), except that
    there is one.
    """
    if num_items < 1:
        raise ValueError("there are no items to plan tasks for")
    ceiling = min(num_items, MAX_CHUNKS)
    if asked is not None:
        if asked > ceiling:
            what = "item" if ceiling == num_items else "chunk"
            return ceiling, f"{_tasks(ceiling)}: {asked} asked for, but no more than one per {what}"
        return asked, f"{_tasks(asked)}, as asked for"
    work_s = total_cost / rate.tokens_per_s
    needed = ceil(work_s / _work_per_task_s(rate, limits))
    useful = floor(work_s / (MIN_WORK_PER_STARTUP * rate.startup_s)) if rate.startup_s > 0 else ceiling
    wanted = max(1, needed, min(limits.max_concurrent or 1, useful))
    chosen = max(1, min(wanted, ceiling, ceiling if limits.max_submit is None else limits.max_submit))
    speed = f"{rate.tokens_per_s:,.0f} tokens/s ({rate.source})"
    about = f"about {duration(work_s)} of work for one task at {speed}"
    if chosen < wanted:
        bound = "the number of items" if chosen == num_items else "the number of chunks"
        allowed = chosen
        if limits.max_submit is not None and limits.max_submit <= chosen:
            bound, allowed = limits.max_submit_of, limits.max_submit
        return chosen, f"{_tasks(chosen)}: {about}; {wanted} would fit it, but {bound} allows {allowed}"
    return chosen, f"{_tasks(chosen)}: {about}"


def over_limit(num_tasks: int, limits: TaskLimits) -> str | None:
    """What to say of tasks that are more than may be sent; None where they are not.

    They were asked for, or it is one, and not even that may be sent.
    """
    if limits.max_submit is None or num_tasks <= limits.max_submit:
        return None
    if num_tasks == 1:
        return (
            f"{limits.max_submit_of} has no room for a task and the merge job: Slurm may refuse them."
            " Wait until fewer jobs are queued, or raise resources.max_submit."
        )
    return (
        f"{_tasks(num_tasks)} are asked for, but {limits.max_submit_of} allows {limits.max_submit}: Slurm may"
        " refuse them. Lower --num-tasks, or raise resources.max_submit."
    )


def split_arrays(num_tasks: int, max_array_size: int) -> tuple[tuple[int, int], ...]:
    """(offset, size) of each array, for tasks 0 to num_tasks - 1; indices of an array run from 0 to size - 1.

    Slurm's MaxArraySize is one more than the highest index (slurm.conf), so a size may be equal to it.
    """
    if num_tasks < 1 or max_array_size < 1:
        raise ValueError(f"cannot split {num_tasks} tasks into arrays of at most {max_array_size}")
    offsets = range(0, num_tasks, max_array_size)
    return tuple((offset, min(max_array_size, num_tasks - offset)) for offset in offsets)


def share_concurrent(sizes: Sequence[int], max_concurrent: int) -> tuple[int, ...]:
    """Tasks that each array may run at once (its %N), so that all together never run more than asked for.

    Slurm counts %N of each array by itself. So arrays run in lanes, `max_concurrent` of them or one for each
    array: array k is in lane k % max_concurrent and begins when every array before it in its lane has ended
    (launch.slurm.submission.render_jobs). The shares of arrays in different lanes sum to `max_concurrent`, or
    to the number of tasks if that is less. With a lane for each array a share is 1 and a part of the rest by
    size, at most the array's size; with fewer lanes it is 1. What an array leaves of its share when it ends
    is not given to others: tasks help each other until nothing is left to claim, so that seldom matters.
    """
    if max_concurrent < 1 or not all(size >= 1 for size in sizes):
        raise ValueError(f"cannot share {max_concurrent} tasks at once over arrays of {list(sizes)}")
    if max_concurrent < len(sizes):
        return (1,) * len(sizes)
    left = max(1, sum(sizes) - len(sizes))
    rest = min(max_concurrent, sum(sizes)) - len(sizes)
    shares = [1 + rest * (size - 1) // left for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda array: -(rest * (sizes[array] - 1) % left))
    for array in by_remainder[: rest + len(sizes) - sum(shares)]:
        shares[array] += 1
    return tuple(shares)


def _work_per_task_s(rate: TaskRate, limits: TaskLimits) -> float:
    """Seconds of generation that one task is given; at least as long as its start-up, at least a minute."""
    if limits.time_limit_s is None:
        return TARGET_WORK_S
    within = TIME_LIMIT_SHARE * limits.time_limit_s - rate.startup_s
    floor_s = max(60.0, min(rate.startup_s, TIME_LIMIT_SHARE * limits.time_limit_s))
    return min(TARGET_WORK_S, max(within, floor_s))


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count:,} tasks"
