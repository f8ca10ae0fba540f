"""`vllm-launch logs`: how a task's logs end, and what comes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from launch.cli.runs import find_run, logs_dir
from launch.collect.followed_log import FollowedLog
from launch.collect.logs_end import LogsEnd
from launch.collect.status import status
from launch.collect.task_groups import group_tasks
from launch.collect.task_logs import FAR_BYTES, TaskLog, engine_logs, last_lines, merge_logs, own_log
from launch.config.wording import printable
from launch.errors import ExitCode, RunError
from launch.rundir.attempts import list_attempts
from launch.rundir.layout import RunPaths, number_of
from launch.rundir.records import list_submissions, load_submission

MERGE = "merge"
READ_PERIOD_S = 0.5
LABEL_WIDTH = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose logs: of a task, or of merge jobs (None)."""

    submission: int
    task: int | None

    @property
    def name(self) -> str:
        """As a person names it."""
        return f"{self.submission}/{MERGE if self.task is None else self.task}"


@click.command("logs", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.argument("task_name", metavar="[TASK]", required=False)
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what is written, over requeues, until the job's end."
)
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=40, show_default=True, help="Last lines of each log."
)
@click.option("--attempt", type=click.IntRange(0), help="Of this attempt; of the newest unless given.")
def command(run_name: str, task_name: str | None, follow: bool, lines: int, attempt: int | None) -> int:
    """How the logs of a task end: its own, and those of its newest attempt's engines.

    TASK is a number, `S/T` for a task of an earlier submission, or `merge`; without one it is the task that
    most wants to be looked at. Escape sequences are left out, other control characters are spelled.
    """
    if follow and attempt is not None:
        raise RunError(f"--attempt {attempt}: -f follows a task over its attempts. Leave one of the two out.")
    run = find_run(run_name)
    wanted = _wanted(run, task_name)
    logs = logs_dir(run)
    if follow:
        return _follow(run, wanted, logs, lines)
    looked = _logs_of(run, wanted, logs, attempt)
    found = [log for log in looked if log.path.exists()]
    if not found:
        places = " and ".join(printable(str(log.path)) for log in looked)
        raise RunError(f"{wanted.name}: no log yet; looked for {places}.")
    for log in found:
        click.echo(f"==> {log.label}: {printable(str(log.path))}")
        for line in _last_lines(log.path, lines):
            click.echo(line)
    return ExitCode.OK


def _wanted(run: RunPaths, name: str | None) -> Wanted:
    submissions = list_submissions(run)
    if not submissions:
        raise RunError(f"{printable(str(run.root))}: nothing was sent yet, so there are no logs.")
    if name is None:
        return _worst(run, submissions[-1])
    before, slash, last = name.rpartition("/")
    submission = number_of(before) if slash else submissions[-1]
    task = None if last == MERGE else number_of(last)
    if submission not in submissions or (task is None and last != MERGE):
        raise RunError(
            f"{printable(name)}: expected a task's number, S/T or {MERGE}, S being one of"
            f" {', '.join(map(str, submissions))}."
        )
    num_tasks = load_submission(run, submission).num_tasks
    if task is not None and task >= num_tasks:
        raise RunError(f"{printable(name)}: submission {submission} has the tasks 0 to {num_tasks - 1}.")
    return Wanted(submission, task)


def _worst(run: RunPaths, submission: int) -> Wanted:
    """The task that `status` shows first, of those that have begun."""
    groups = group_tasks(status(run).tasks)
    group = next((group for group in groups if group.first.attempt is not None), groups[0])
    others = f", as {len(group.tasks) - 1} more" if len(group.tasks) > 1 else ""
    click.echo(f"note: task {group.first.task} ({group.state}{others}); name another after RUN.", err=True)
    return Wanted(submission, group.first.task)


def _logs_of(run: RunPaths, wanted: Wanted, logs: Path, attempt: int | None) -> Sequence[TaskLog]:
    if wanted.task is None:
        found = merge_logs(run, wanted.submission, logs)
        if not found:
            raise RunError(f"{wanted.name}: no merge job was sent; without Slurm `submit` merges itself.")
        return found
    attempts = list_attempts(run, wanted.submission, wanted.task)
    if attempt is not None and attempt not in attempts:
        there = f"attempts {attempts[0]} to {attempts[-1]}" if attempts else "no attempt"
        raise RunError(f"--attempt {attempt}: task {wanted.name} has {there}.")
    chosen = attempt if attempt is not None else attempts[-1] if attempts else None
    own = own_log(run, wanted.submission, wanted.task, chosen, logs)
    if chosen is None:
        return [own]
    return [own, *engine_logs(run.attempt(wanted.submission, wanted.task, chosen))]


def _follow(run: RunPaths, wanted: Wanted, logs: Path, num_lines: int) -> int:
    """Prints what is written to the logs until the task or the merge job has ended for good, or Ctrl-C."""
    followed: dict[Path, tuple[str, FollowedLog]] = {}
    end = LogsEnd(run, wanted.submission, wanted.task)
    is_first = True
    try:
        while True:
            is_over = end.is_reached()  # asked before the last reading
            for log in _logs_of(run, wanted, logs, None):
                if log.path not in followed:
                    followed[log.path] = (log.label, _begin(log, num_lines if is_first else None))
            for label, each in followed.values():  # those of an earlier attempt as well: its last words
                _echo(label, each.read())
                while each.is_behind:
                    _echo(label, each.read())
            if is_over:
                return ExitCode.OK
            is_first = False
            time.sleep(READ_PERIOD_S)
    except KeyboardInterrupt:
        return ExitCode.OK


def _begin(log: TaskLog, num_lines: int | None) -> FollowedLog:
    """Says where a log is, and how it ends if it was there before; `num_lines` None: it is read whole."""
    click.echo(f"==> {log.label}: {printable(str(log.path))}")
    if num_lines is None or not log.path.exists():
        return FollowedLog(log.path)
    size = log.path.stat().st_size
    _echo(log.label, _last_lines(log.path, num_lines))
    return FollowedLog(log.path, size)


def _last_lines(path: Path, num_lines: int) -> list[str]:
    """The last lines; where the log is not read on to find as many, a line before them says so."""
    lines = last_lines(path, num_lines, reach=FAR_BYTES)
    if len(lines) < num_lines and path.stat().st_size > FAR_BYTES:
        lines.insert(0, f"(not shown: what lies over {FAR_BYTES >> 20} MiB before the end)")
    return lines


def _echo(label: str, lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(f"{label:<{LABEL_WIDTH}} | {line}")
