"""The table of a submission's tasks: a row for a group of them, a bar for what of its shards is settled."""

from collections.abc import Sequence

from rich import box
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launch.collect.task_groups import TaskGroup, counted, group_tasks, select
from launch.collect.task_status import TaskState, TaskStatus
from launch.config.wording import duration, log_line

NARROW = 100
OLD_BEAT_S = 60
_STYLES = {
    TaskState.RUNNING: "green",
    TaskState.FAILED: "red",
    TaskState.DEAD: "red",
    TaskState.DRAINED: "yellow",
}


def tasks_table(tasks: Sequence[TaskStatus], *, width: int, max_rows: int | None) -> Table:
    """Worst first; what is not shown is counted by state below. `max_rows` None: a row for every task."""
    groups = group_tasks(tasks, apart=max_rows is None)
    shown = groups if max_rows is None else select(groups, max_rows)
    has_hosts = any(_host(group) for group in shown)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    name_width = 12 if width < NARROW else 24
    table.add_column("task", justify="right", overflow="fold", max_width=name_width)
    table.add_column("state")
    table.add_column("shard", no_wrap=True)
    table.add_column("items", justify="right", no_wrap=True)
    if has_hosts:
        table.add_column("host", overflow="fold", max_width=name_width)
    table.add_column("said", overflow="fold", ratio=1)
    for group in shown:
        cells = _cells(group, name_width, bar_width=max(6, min(30, width // 10)))
        table.add_row(*cells, *([Text(_host(group))] if has_hosts else []), Text(said(group)))
    hidden = [group for group in groups if group not in shown]
    if hidden:
        table.caption = f"and {counted(hidden)}; --all shows every task"
        table.caption_justify = "left"
    return table


def _cells(group: TaskGroup, name_width: int, bar_width: int) -> list[RenderableType]:
    task = group.first
    total, settled = group.num_items, group.num_settled
    numbers = group.numbers
    if len(numbers) > name_width:
        numbers = f"{numbers[: name_width - 4].rpartition(',')[0] or numbers.partition(',')[0]}, ..."
    return [
        Text(numbers),
        Text(task.state.value, style=_STYLES.get(task.state, "")),
        Text("") if not total else ProgressBar(total, settled, width=bar_width),
        Text(f"{settled:,}" if total is None else f"{settled:,}/{total:,}"),
    ]


def _host(group: TaskGroup) -> str:
    return log_line(group.first.host or "", 60) if len(group.tasks) == 1 else ""


def said(group: TaskGroup) -> str:
    """What a task says: its phase or why it ended, which attempt it is, how the one before ended."""
    task = group.first
    parts = [f"{len(group.tasks):,} tasks:"] if len(group.tasks) > 1 and _words(task) else []
    parts += [_words(task)]
    if task.heartbeat_age_s is not None and task.heartbeat_age_s > OLD_BEAT_S:
        parts.append(f"(heartbeat {duration(task.heartbeat_age_s)} old)")
    if task.earlier is not None and len(group.tasks) == 1:
        parts.append(f"(attempt {task.attempt}; before: {log_line(task.earlier, 120)})")
    return log_line(" ".join(filter(None, parts)), 400)


def _words(task: TaskStatus) -> str:
    return task.waits_for or task.message or ""
