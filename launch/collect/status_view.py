"""Shows a run's status: for people at 80 columns, or as JSON."""

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from launch.collect.status import RunStatus, SubmissionStatus
from launch.collect.task_status import TaskState, TaskStatus
from launch.config.wording import printable

MAX_TASKS_SHOWN = 40
_STYLES = {
    TaskState.RUNNING: "green",
    TaskState.FAILED: "red",
    TaskState.DEAD: "red",
    TaskState.DRAINED: "yellow",
}


def render(status: RunStatus) -> RenderableType:
    """Totals, the tasks of the newest submission (those that did not simply end first), and what to do."""
    parts: list[RenderableType] = [_totals(status)]
    for submission in status.submissions[:-1]:
        parts.append(Text(_one_line(submission), style="dim"))
    if status.submissions:
        newest = status.submissions[-1]
        parts += [Text(_one_line(newest)), _tasks(newest)]
    parts.append(Text(next_step(status)))
    return Group(*parts)


def as_json(status: RunStatus) -> dict[str, Any]:
    """All of it: names as in RunStatus, paths as text."""
    value = asdict(status)
    value["subset"] = None if status.subset is None else status.subset.model_dump()
    for name in ("root", "output_dir"):
        value[name] = None if value[name] is None else str(value[name])
    if status.published is not None:
        value["published"]["output_dir"] = str(status.published.output_dir)
    value["next"] = next_step(status)
    return value


def next_step(status: RunStatus) -> str:
    """One sentence: what the state asks for."""
    published = status.published
    if published is not None and published.num_done == status.num_done:
        whole = "complete" if published.complete else "incomplete, as allowed"
        return f"Published, {whole}: {published.output_dir}"
    if status.trouble is not None:
        return printable(status.trouble)
    tasks = status.submissions[-1].tasks if status.submissions else ()
    if any(task.state in (TaskState.RUNNING, TaskState.WAITING) for task in tasks) and status.num_missing:
        return "Not published: tasks are running or waiting."
    if status.num_missing:
        return f"Not published: `vllm-launch resume {status.root}` generates what is missing."
    return f"Not published: `vllm-launch merge {status.root}` checks and publishes."


def _totals(status: RunStatus) -> Table:
    table = Table.grid(padding=(0, 2))
    engine = f"{status.engine} (made-up texts, for tests only)" if status.stub else status.engine
    rows = [
        ("run", printable(status.run_id)),
        ("engine", engine),
        ("items", f"{status.num_done:,} of {status.num_items:,} done ({_percent(status)})"),
        ("failed", f"{status.num_failed:,}"),
        ("missing", f"{status.num_missing:,}"),
        ("tokens", f"{status.num_prompt_tokens:,} prompt, {status.num_output_tokens:,} output"),
    ]
    if status.subset is not None:
        subset = status.subset
        rows.insert(2, ("limited", f"to {subset.num_items:,} of {subset.of_items:,} items"))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def _percent(status: RunStatus) -> str:
    """Rounded down: 100 % is all of them."""
    return f"{1000 * status.num_done // max(status.num_items, 1) / 10:.1f} %"


def _one_line(submission: SubmissionStatus) -> str:
    states = ", ".join(f"{count} {state}" for state, count in submission.states.items())
    merge = "" if submission.merge_job is None else f"; merge job {submission.merge_job}"
    sent = f", sent by a merge job in round {submission.round}" if submission.round else ""
    stopped = f"; no further round: {printable(submission.stopped)}" if submission.stopped else ""
    settled = f"{submission.num_settled:,} of {submission.num_items:,} items"
    return f"submission {submission.submission}{sent}: {settled}; tasks: {states}{merge}{stopped}"


def _tasks(submission: SubmissionStatus) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for name in ("task", "attempt", "items"):
        table.add_column(name, justify="right")
    table.add_column("state")
    table.add_column("host")
    table.add_column("said", overflow="fold", ratio=1)
    ordered = sorted(submission.tasks, key=lambda task: (task.state is TaskState.ENDED, task.task))
    for task in ordered[:MAX_TASKS_SHOWN]:
        table.add_row(*_cells(task))
    if len(ordered) > MAX_TASKS_SHOWN:
        table.caption = f"and {len(ordered) - MAX_TASKS_SHOWN} more tasks; --json shows all"
    return table


def _cells(task: TaskStatus) -> list[Text]:
    attempt = "" if task.attempt is None else str(task.attempt)
    said = printable(task.message or "")
    if task.heartbeat_age_s is not None and task.heartbeat_age_s > 60:
        said = f"{said} (heartbeat {task.heartbeat_age_s:.0f} s old)".strip()
    return [
        Text(str(task.task)),
        Text(attempt),
        Text(f"{task.num_settled:,}"),
        Text(task.state.value, style=_STYLES.get(task.state, "")),
        Text(task.host or ""),
        Text(said),
    ]
