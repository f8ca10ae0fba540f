"""Decides whether a run may be published, and says in one line what is missing and what to do."""

from collections.abc import Sequence
from typing import Any

from launch.collect.tally import Tally
from launch.config.schema import PublishConfig, Scheduler
from launch.config.wording import printable
from launch.errors import ExitCode, IncompleteError, RunError
from launch.rundir.attempt_files import read_ended
from launch.rundir.attempts import list_attempts
from launch.rundir.chunks import read_chunks
from launch.rundir.failed_items import ways_for_failed
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_submission
from launch.slurm.liveness import Life, last_lives
from launch.slurm.shared_queue import share_answer

MAX_NAMED = 10
MAX_TASKS = 3
NOT_FAILED = (None, ExitCode.OK, ExitCode.CONTINUE)
MAX_KEY = 80


def check_complete(run: RunPaths, publish: PublishConfig, tally: Tally) -> None:
    """Returns when what is there may be published; IncompleteError names what is not there."""
    missing = bool(tally.missing) and not publish.allow_missing
    failed = len(tally.failed) > publish.max_failed_items
    if not missing and not failed:
        return
    parts, ways = [], []
    if tally.missing:
        working = _working_tasks(run)
        parts.append(
            f"{len(tally.missing)} of {tally.num_items} items are missing ({_first(tally.missing_keys)})"
            + _tasks_of(run, tally.missing, working)
        )
        ways.append(_way_to_missing(run, publish, working))
    if tally.failed:
        keys = [f"{item.key} {item.failure_class}" for item in tally.failed]
        parts.append(f"{len(tally.failed)} failed ({_first(keys)})")
        ways += ways_for_failed(run, [item.failure_class for item in tally.failed])
    raise IncompleteError(f"{run.root}: {', '.join(parts)}; nothing was published. {'; '.join(ways)}.")


def _working_tasks(run: RunPaths) -> list[int]:
    """Tasks of the newest submission that live: while there is one, a resume is refused."""
    submission = list_submissions(run)[-1]
    on_slurm = load_submission(run, submission).resources.scheduler is Scheduler.SLURM
    answer = share_answer(run.submission(submission)) if on_slurm else None
    lives = last_lives(run, submission, answer, can_ask=True)
    return [life.task for life in lives if life.life is Life.ALIVE]


def _way_to_missing(run: RunPaths, publish: PublishConfig, working: Sequence[int]) -> str:
    if working:
        tasks = f"task {working[0]}" if len(working) == 1 else f"{len(working)} tasks"
        return f"Wait for {tasks}, or end that work with `vllm-launch cancel {run.root}`"
    if run.is_beside(publish.output_dir):
        return "Type the same command again to generate what is missing"
    return f"`vllm-launch resume {run.root}` generates what is missing"


def _first(keys: Sequence[str]) -> str:
    named = [printable(key if len(key) <= MAX_KEY else f"{key[:MAX_KEY]}...") for key in keys[:MAX_NAMED]]
    return ", ".join([*named, "..."] if len(keys) > MAX_NAMED else named)


def _tasks_of(run: RunPaths, missing: Sequence[int], working: Sequence[int]) -> str:
    """The tasks that the newest submission gave them to, failed ones first, and what they said."""
    submission = list_submissions(run)[-1]
    wanted = set(missing)
    try:
        chunks = read_chunks(run.submission(submission), load_submission(run, submission).chunks_sha256)
    except RunError:  # damaged: whose they were cannot be told, that they are missing can
        return ""
    tasks = sorted({chunk.shard for chunk in chunks if not wanted.isdisjoint(chunk.items)})
    if not tasks:
        return ""
    endings = sorted((_ended(run, submission, task).get("code") in NOT_FAILED, task) for task in tasks)
    said = [
        f"task {task} {'is still at work' if task in working else _said(run, submission, task)}"
        for _, task in endings[:MAX_TASKS]
    ]
    if len(tasks) > MAX_TASKS:
        said.append(f"and {len(tasks) - MAX_TASKS} more tasks")
    return f" of submission {submission}: {'; '.join(said)}"


def _ended(run: RunPaths, submission: int, task: int) -> dict[str, Any]:
    attempts = list_attempts(run, submission, task)
    if not attempts:
        return {}
    return read_ended(run.attempt(submission, task, attempts[-1])) or {}


def _said(run: RunPaths, submission: int, task: int) -> str:
    ended = _ended(run, submission, task)
    if not ended:
        started = list_attempts(run, submission, task)
        return "has not said how it ended" if started else "has not started"
    failure = ended.get("failure") or {}
    message = printable(str(failure.get("message") or "")).rstrip(".")
    return f"{ended['reason']}: {message}" if message else f"ended: {ended['reason']}"
