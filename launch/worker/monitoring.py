"""Writes that only tell of a task: one that fails is counted, told once and tried again, and ends nothing.

Others take a task for dead whose heartbeat is HEARTBEAT_DEAD_S old: one that could not beat stops before.
"""

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import StorageError, StorageTroubleError
from launch.rundir.attempts import HEARTBEAT_DEAD_S
from launch.rundir.journal import Journal
from launch.rundir.storage_errors import storage_errors

UNSEEN_DRAIN_S = 60.0
"""What a task that could not beat has to finish."""
LOST_AFTER_S = HEARTBEAT_DEAD_S - 2 * UNSEEN_DRAIN_S
"""Silence after which it begins to: engines are ended before others take it for dead."""
MAX_WAITING = 10_000
"""Lines that wait for a disk; later ones are dropped."""


def say(message: str) -> None:
    """A line in the task's log."""
    with contextlib.suppress(OSError):  # the log may be on a full disk
        print(message, file=sys.stderr, flush=True)


@dataclass(slots=True)
class FailedWrites:
    """Counts the writes that failed, and has the first one told."""

    tell: Callable[[str], None] = say
    count: int = 0

    @contextmanager
    def tolerated(self, path: Path) -> Iterator[None]:
        """What is done inside may fail for want of a disk that works."""
        try:
            yield
        except (OSError, StorageError) as error:
            self.count += 1
            if self.count == 1:
                why = f"{path}: cannot write: {error.strerror}" if isinstance(error, OSError) else str(error)
                self.tell(f"the task goes on, and tries again: {why}")


class PatientJournal:
    """A journal whose lines wait, in order, while they cannot be written; each append tries again."""

    def __init__(self, path: Path, failed: FailedWrites) -> None:
        self._path = path
        self._failed = failed
        self._journal: Journal | None = None
        self._waiting: deque[Any] = deque()

    def append(self, value: Any) -> None:
        """Writes what waits and one line more, or lets it wait."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(value)
        self.write_waiting()

    def write_waiting(self) -> None:
        """Writes as much of what waits as can be written."""
        with self._failed.tolerated(self._path):
            try:
                self._write()
            except StorageTroubleError:  # a file server may have forgotten the file: it is opened anew
                self._close()
                raise

    def _write(self) -> None:
        if self._journal is None:
            self._journal = Journal(self._path)
        while self._waiting:
            self._journal.append(self._waiting[0])
            self._waiting.popleft()

    def _close(self) -> None:
        if self._journal is not None:
            with contextlib.suppress(OSError):  # what it tells of was told, or is only told of
                self._journal.close()
            self._journal = None

    def close(self) -> None:
        """Tries once more, and closes the file."""
        if self._waiting:
            self.write_waiting()
        self._close()


class Heartbeat:
    """The file whose age tells others that a supervisor lives. StorageError where there can be none."""

    def __init__(self, path: Path, failed: FailedWrites, now: float) -> None:
        """`now` is that of time.monotonic(), here and below."""
        self._path = path
        self._failed = failed
        self._last = now
        with storage_errors(path):
            path.touch()

    def beat(self, now: float) -> None:
        """Says that the supervisor lives, if the disk lets it."""
        with self._failed.tolerated(self._path):
            self._path.touch()
            self._last = now

    def silent_s(self, now: float) -> float:
        """Seconds since it could be written last."""
        return now - self._last

    def is_lost(self, now: float) -> bool:
        """Whether others will soon take the task for dead."""
        return self.silent_s(now) >= LOST_AFTER_S
