"""Shows a run's status: for people, at 80 columns and more, or as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launch.collect.failure_notes import FailureNote
from launch.collect.gpu_now import GpuNow
from launch.collect.ledger.so_far import GpuTime
from launch.collect.startup_figures import sentence
from launch.collect.status_record import RunStatus, SubmissionStatus
from launch.collect.status_words import eta, idle_lines, next_step
from launch.collect.tasks_view import tasks_table
from launch.config.wording import duration, log_line, printable

WIDTH = 80
MAX_BAR = 60
MAX_ROWS = 20
MAX_IDLE_CHARS = 300


def render(status: RunStatus, *, width: int = WIDTH, max_rows: int | None = MAX_ROWS) -> RenderableType:
    """Totals and the tasks of the newest submission, worst first, at most `max_rows` rows.

    `failure_lines` and `next_step` are printed behind it, line by line: a path or a command that is cut into
    lines cannot be copied.
    """
    parts: list[RenderableType] = [_totals(status, width)]
    for submission in status.submissions[:-1]:
        parts.append(Text(_one_line(submission), style="dim"))
    if status.submissions:
        newest = status.submissions[-1]
        parts += [Text(_one_line(newest)), tasks_table(newest.tasks, width=width, max_rows=max_rows)]
    return Group(*parts)


def failure_lines(notes: Sequence[FailureNote], width: int) -> list[str]:
    """What failed: the cause, what to do, where the log is, and its last lines, cut to `width` characters."""
    lines = []
    for note in notes:
        others = "" if note.num_tasks == 1 else f", as {note.num_tasks - 1} more"
        lines += ["", f"task {note.task}{others}: {note.cause}"]
        lines += [f"  {number}. {step}" for number, step in enumerate(note.advice, 1)]
        lines += [] if note.log is None else [f"  last in {printable(note.log)}:"]
        shown = (f"  | {line}" for line in note.lines)
        lines += [line if len(line) <= width else f"{line[: width - 3]}..." for line in shown]
    return lines


def as_json(status: RunStatus, notes: Sequence[FailureNote] = ()) -> dict[str, Any]:
    """All of it: names as in RunStatus, paths as text."""
    value = asdict(status)
    value["subset"] = None if status.subset is None else status.subset.model_dump()
    for name in ("root", "output_dir"):
        value[name] = None if value[name] is None else str(value[name])
    if status.published is not None:
        value["published"]["output_dir"] = str(status.published.output_dir)
    value["failures"] = [asdict(note) for note in notes]
    value["next"] = next_step(status)
    return value


def _totals(status: RunStatus, width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(status):
        table.add_row(name, Text(value))
        if name == "items":
            bar_width = max(10, min(MAX_BAR, width - 12))
            done = status.num_done + status.num_failed
            table.add_row("", ProgressBar(max(status.num_items, 1), done, width=bar_width))
    return table


def _rows(status: RunStatus) -> list[tuple[str, str]]:
    names, subset = status.names, status.subset
    engine = f"{status.engine} (made-up texts, for tests only)" if status.stub else status.engine
    rows = [
        ("run", printable(status.run_id)),
        ("preset", ", ".join(map(log_line, (names.preset, names.model, names.dataset, names.ablation)))),
        ("engine", engine),
        ("items", f"{status.num_done:,} of {status.num_items:,} done ({_percent(status)})"),
        ("failed", f"{status.num_failed:,}"),
        ("missing", f"{status.num_missing:,}"),
        ("tokens", f"{status.num_prompt_tokens:,} prompt, {status.num_output_tokens:,} output"),
    ]
    if subset is not None:
        rows.insert(3, ("limited", f"to {subset.num_items:,} of {subset.of_items:,} items"))
    if (pace := status.pace) is not None:
        over = duration(pace.over_s)
        rows.append(
            ("pace", f"{pace.items_per_min:,.1f} items/min, {pace.tokens_per_s:,.0f} tokens/s over {over}")
        )
        rows.append(("eta", eta(pace) + (f" (by how {pace.by} differ)" if pace.by else "")))
    if status.gpus is not None:
        rows.append(("gpus", _gpus(status.gpus)))
    if status.gpu_time is not None:
        rows.append(("gpu time", _gpu_time(status.gpu_time)))
    for place, line in enumerate(idle_lines(status.tasks)):
        rows.append(("" if place else "gpu idle", log_line(line, MAX_IDLE_CHARS)))
    if status.queue_age_s is not None:
        rows.append(("queue", f"as of {duration(status.queue_age_s)} ago"))
    if status.canary is not None and status.canary.found:
        stopped = f"; it stopped submission {status.canary.submission}" if status.canary.stops else ""
        rows.append(("canary", printable(status.canary.sentence + stopped)))
    if (start := _slowest_start(status)) is not None:
        rows.append(("start", start))
    return rows


def _gpus(gpus: GpuNow) -> str:
    if gpus.no_gpu is not None:
        return f"no GPU ({log_line(gpus.no_gpu, 200)})"
    parts = []
    if gpus.busy_percent is not None:
        low, mean, high = gpus.busy_percent
        notes = [f"{low:.0f} to {high:.0f}"] if gpus.num_gpus - gpus.num_silent > 1 else []
        notes += [f"{gpus.num_silent:,} without utilisation"] if gpus.num_silent else []
        parts.append(f"{mean:.0f} % busy" + (f" ({'; '.join(notes)})" if notes else ""))
    if gpus.memory_gib is not None:
        parts.append(f"{gpus.memory_gib:,.0f} GiB used")
    if gpus.power_w is not None:
        parts.append(f"{gpus.power_w:,.0f} W" if gpus.power_w < 10_000 else f"{gpus.power_w / 1000:,.0f} kW")
    if gpus.busy_percent is None and parts:
        parts.insert(0, "utilisation not told")
    counted = f"{gpus.num_gpus:,} {'GPU' if gpus.num_gpus == 1 else 'GPUs'}"
    tasks = f"{gpus.num_tasks:,} running {'task' if gpus.num_tasks == 1 else 'tasks'}"
    return f"{counted} of {tasks}: {', '.join(parts) or 'no reading'}"


def _gpu_time(spent: GpuTime) -> str:
    attempts = f"{spent.num_attempts:,} {'attempt' if spent.num_attempts == 1 else 'attempts'}"
    cost = "" if spent.cost is None else f"; {spent.cost:,.2f} {spent.currency}"
    return f"{spent.gpu_hours:,.2f} GPU-hours so far, of {attempts}{cost}"


def _slowest_start(status: RunStatus) -> str | None:
    """Of the newest submission's tasks: the start that took longest, part by part."""
    slowest: tuple[float, int, str] | None = None
    for task in status.tasks:
        if task.startup is not None:
            queue = "" if task.queue_wait_s is None else f", after {task.queue_wait_s:.0f} s in the queue"
            said = f"{sentence(task.startup)} (task {task.task}, the slowest{queue})"
            found = (float(task.startup["total_s"]), task.task, said)
            slowest = found if slowest is None else max(slowest, found)
    return None if slowest is None else log_line(slowest[2])


def _percent(status: RunStatus) -> str:
    """Rounded down: 100 % is all of them."""
    return f"{1000 * status.num_done // max(status.num_items, 1) / 10:.1f} %"


def _one_line(submission: SubmissionStatus) -> str:
    states = ", ".join(f"{count} {state}" for state, count in submission.states.items())
    merge = "" if submission.merge_job is None else f"; merge job {submission.merge_job}"
    sent = f", sent by a merge job in round {submission.round}" if submission.round else ""
    stopped = f"; no further round: {submission.stopped}" if submission.stopped else ""
    settled = f"{submission.num_settled:,} of {submission.num_items:,} items"
    return printable(f"submission {submission.submission}{sent}: {settled}; tasks: {states}{merge}{stopped}")
