"""Attempts of tasks: taking a number, and what is there of them."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.errors import StorageError
from launch.rundir.durable import make_directory
from launch.rundir.layout import AttemptPaths, EnginePaths, RunPaths, number_of
from launch.rundir.one_look import read_once
from launch.rundir.storage_errors import storage_errors

HEARTBEAT_PERIOD_S = 30
HEARTBEAT_DEAD_S = 15 * 60
HEARTBEAT_FRESH_S = 4 * HEARTBEAT_PERIOD_S
"""A younger heartbeat is life: a shared file system may show one late, but not that late."""


@dataclass(frozen=True, slots=True, order=True)
class EngineStart:
    """One start of one slot of one attempt of one task of one submission; the order decides who wins."""

    submission: int
    task: int
    attempt: int
    slot: int
    start: int

    def paths(self, run: RunPaths) -> EnginePaths:
        """Its files."""
        return run.attempt(self.submission, self.task, self.attempt).engine(self.slot, self.start)


def open_attempt(run: RunPaths, submission: int, task: int) -> tuple[int, AttemptPaths]:
    """Takes the next free attempt number of a task, by mkdir, so that two never share one.

    Its directory is durable: results in it are worth no more than its name, and those above it.
    """
    directory = run.task(submission, task)
    with storage_errors(directory):
        number = max(_numbers(directory), default=-1) + 1
        while True:
            try:
                make_directory(run.attempt(submission, task, number).root, below=run.root)
            except FileExistsError:
                number += 1
            else:
                return number, run.attempt(submission, task, number)


def list_tried(run: RunPaths) -> list[int]:
    """Numbers of the submissions of which a task has begun, ascending."""
    return sorted(_numbers(run.tasks))


def list_tasks(run: RunPaths, submission: int) -> list[int]:
    """Numbers of the tasks of a submission that have begun, ascending."""
    return sorted(_numbers(run.tasks / str(submission)))


def list_attempts(run: RunPaths, submission: int, task: int) -> list[int]:
    """Attempt numbers of a task, ascending."""
    return sorted(_numbers(run.task(submission, task)))


def list_engine_starts(run: RunPaths) -> list[EngineStart]:
    """Every engine start of a run that has a results file, in the order that decides who wins."""
    starts = []
    for submission, submission_path in _numbered(run.tasks):
        for task, task_path in _numbered(submission_path):
            for attempt, attempt_path in _numbered(task_path):
                starts += [
                    EngineStart(submission, task, attempt, slot, start)
                    for slot, start in _starts_in(attempt_path)
                ]
    return sorted(starts)


def list_starts(run: RunPaths, submission: int, task: int, attempt: int, slot: int) -> list[EngineStart]:
    """The engine starts of one slot of one attempt, in order."""
    root = run.attempt(submission, task, attempt).root
    found = [start for number, start in _starts_in(root) if number == slot]
    return [EngineStart(submission, task, attempt, slot, start) for start in sorted(found)]


def list_slot_starts(attempt: AttemptPaths) -> list[tuple[int, int]]:
    """Slot and start of every engine start of one attempt, in order."""
    return sorted(_starts_in(attempt.root))


def last_beat(paths: AttemptPaths) -> float:
    """The last sign of life of an attempt, seconds by the file system's clock: its directory's before any.

    OSError for a heartbeat that cannot be read, FileNotFoundError where there is no such attempt.
    """
    try:
        return paths.heartbeat.stat().st_mtime
    except FileNotFoundError:
        return paths.root.stat().st_mtime


def filesystem_now(directory: Path) -> float:
    """Seconds since the epoch as the file system of `directory` has it."""
    probe = directory / f".now.{os.getpid()}.{time.monotonic_ns()}"
    with storage_errors(probe):
        probe.touch()
        seconds = probe.stat().st_mtime
        probe.unlink()
    return seconds


def clock_of(directory: Path) -> float:
    """The same for whoever only looks: this host's time where the directory cannot be written."""
    try:
        return filesystem_now(directory)
    except StorageError:
        return time.time()


def _numbers(directory: Path) -> list[int]:
    return [number for number, _ in _numbered(directory)]


def _numbered(directory: Path) -> Iterator[tuple[int, Path]]:
    """The directories in one that have a number for a name; whatever else lies there is nobody's."""
    for entry in _entries(directory):
        number = number_of(entry.name)
        if number is not None and entry.is_dir():
            yield number, Path(entry.path)


def _starts_in(attempt: Path) -> Iterator[tuple[int, int]]:
    for entry in _entries(attempt):
        slot, _, rest = entry.name.partition(".")
        start, _, name = rest.partition(".")
        numbers = number_of(slot), number_of(start)
        if name == "results.jsonl" and entry.is_file() and numbers[0] is not None and numbers[1] is not None:
            yield numbers[0], numbers[1]


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    return read_once(_list, directory)


def _list(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
