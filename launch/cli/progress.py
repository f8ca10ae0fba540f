"""How far the tasks on this machine are: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from launch.collect.task_logs import last_lines
from launch.config.wording import log_line
from launch.rundir.attempt_files import read_ended
from launch.rundir.attempts import EngineStart, list_attempts, list_engine_starts
from launch.rundir.journal import has_fields, read_on
from launch.rundir.layout import RunPaths
from launch.rundir.results import COMMIT_FIELDS, committed_items
from launch.worker.diagnosis import told
from launch.worker.driver import TaskState, TaskView

READ_PERIOD_S = 2.0
LINE_PERIOD_S = 30.0


class CommitTail:
    """What a submission has settled so far; each read takes only what was appended since the last."""

    def __init__(self, run: RunPaths, submission: int) -> None:
        self._run = run
        self._submission = submission
        self._offsets: dict[EngineStart, int] = {}
        self.num_settled = 0
        self.num_output_tokens = 0

    def read(self) -> None:
        """Reads on."""
        for start in list_engine_starts(self._run):
            if start.submission == self._submission:
                self._read_on(start)

    def _read_on(self, start: EngineStart) -> None:
        lines, self._offsets[start] = read_on(start.paths(self._run).commits, self._offsets.get(start, 0))
        for line in lines:
            if has_fields(line, COMMIT_FIELDS):
                items = list(committed_items(line))
                self.num_settled += len(items)
                self.num_output_tokens += sum(item.num_output_tokens for item in items)


class TaskProgress:
    """Shows what the tasks of a submission have done so far; enter it around the driver's work."""

    def __init__(self, run: RunPaths, submission: int, num_items: int) -> None:
        self._commits = CommitTail(run, submission)
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("items, {task.fields[rate]:.0f} tokens/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._bar = self._progress.add_task("starting", total=num_items, rate=0.0)
        self._num_items = num_items
        self._read_at = 0.0
        self._said_at = time.monotonic()
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> "TaskProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, views: Sequence[TaskView]) -> None:
        """Takes the driver's view; reads the tasks' counts at most every two seconds."""
        now = time.monotonic()
        if now - self._read_at < READ_PERIOD_S:
            return
        self._read_at = now
        self._commits.read()
        settled = self._commits.num_settled
        running = sum(view.state is TaskState.RUNNING for view in views)
        phase = "generating" if settled else "loading the model"
        described = f"{phase}, {running} of {len(views)} tasks running"
        rate = self._rate(now, self._commits.num_output_tokens)
        self._progress.update(self._bar, completed=settled, description=described, rate=rate)
        if not self._console.is_terminal and now - self._said_at >= LINE_PERIOD_S:
            self._said_at = now
            self._console.print(f"{described}: {settled} of {self._num_items} items, {rate:.0f} tokens/s")

    def _rate(self, now: float, tokens: int) -> float:
        """Output tokens per second since the first one was seen."""
        if not tokens:
            return 0.0
        self._first = self._first or (now, tokens)
        started, before = self._first
        return (tokens - before) / (now - started) if now > started else 0.0


def task_message(run: RunPaths, submission: int, task: int, log_dir: Path) -> str:
    """Why a task ended, as it said itself, where its log is, and below it what to do, numbered."""
    attempts = list_attempts(run, submission, task)
    ended: dict[str, Any] = {}
    if attempts:
        ended = read_ended(run.attempt(submission, task, attempts[-1])) or {}
    failure = ended.get("failure") or {}
    log = log_dir / f"task-{task}.log"
    said = log_line(failure.get("message") or ended.get("reason") or _without_a_word(log))
    return "\n".join([f"{said} (log: {log})", *map(log_line, told(failure)[1:])])


def _without_a_word(log: Path) -> str:
    """What the log says last is all there is of a task that could not write how it ended."""
    last = last_lines(log, 1)
    return f"it left no word; last in its log: {last[0]}" if last else "it left no word"
