"""The claim that keeps two merges of a run apart: files in merge/ made with O_EXCL, never removed.

`<n>` holds the n-th merger, the highest n holds the run; `<n>.done` says that it has let go. A merger whose
process is gone (same host), or whose claim has not been touched for 15 minutes, is dead: n+1 breaks it.
"""

import os
import shutil
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import orjson
import psutil

from launch.errors import RunError, StorageError
from launch.rundir.attempts import HEARTBEAT_DEAD_S, HEARTBEAT_PERIOD_S, filesystem_now
from launch.rundir.claims import EMPTY_CLAIM_S
from launch.rundir.journal import read_json, storage_errors, write_all
from launch.rundir.layout import RunPaths


class MergeBusyError(RunError):
    """Another merge holds the run, or may: a lost node's claim is told from a living one after 15 minutes."""


@dataclass(frozen=True, slots=True)
class Merger:
    """A merging process; `started` in seconds since the epoch tells it from another of the same pid."""

    host: str
    pid: int
    started: float


class MergeClaim:
    """Held while the context is entered. MergeBusyError when a living merge holds the run."""

    def __init__(self, run: RunPaths) -> None:
        self._directory = run.merge
        self._number = 0
        self._beaten = 0.0

    def __enter__(self) -> "MergeClaim":
        with storage_errors(self._directory):
            self._directory.mkdir(exist_ok=True)
        highest = self._highest()
        if highest and not self._done(highest).exists():
            self._refuse_if_alive(highest)
        self._make(highest + 1)
        for leftover in self._directory.glob("*.scratch"):  # of merges that were killed
            shutil.rmtree(leftover, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage_errors(self._directory):
            self._done(self._number).touch()

    @property
    def scratch(self) -> Path:
        """A directory for this merge alone; not made."""
        return self._directory / f"{self._number}.scratch"

    def beat(self) -> None:
        """Says that this merge lives; call it often, it writes every 30 s."""
        if time.monotonic() - self._beaten > HEARTBEAT_PERIOD_S:
            self._beaten = time.monotonic()
            os.utime(self._claim(self._number))

    def check(self) -> None:
        """Before the renames: RunError when another merge has taken this one for dead."""
        if self._highest() != self._number:
            raise RunError(f"{self._directory}: another merge has taken over; this one stops. Run it again.")

    def _claim(self, number: int) -> Path:
        return self._directory / str(number)

    def _done(self, number: int) -> Path:
        return self._directory / f"{number}.done"

    def _highest(self) -> int:
        names = (entry.name for entry in os.scandir(self._directory))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def _make(self, number: int) -> None:
        path = self._claim(number)
        owner = Merger(socket.gethostname(), os.getpid(), psutil.Process().create_time())
        try:
            with storage_errors(path):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise _busy(self._directory, "which has just begun") from None
        try:
            with storage_errors(path):
                write_all(descriptor, orjson.dumps(asdict(owner)))
        except StorageError:
            path.unlink()  # an empty claim would hold up the next merge
            raise
        finally:
            os.close(descriptor)
        self._number = number

    def _refuse_if_alive(self, number: int) -> None:
        path = self._claim(number)
        age = filesystem_now(self._directory) - path.stat().st_mtime
        value = read_json(path)
        if value is None:
            if age <= EMPTY_CLAIM_S:
                raise _busy(self._directory, "which has just begun")
            return
        holder = Merger(**value)
        if age < HEARTBEAT_DEAD_S and _may_live(holder):
            raise _busy(self._directory, f"process {holder.pid} on {holder.host}")


def _may_live(holder: Merger) -> bool:
    """False only when the process is known to be gone: on this host, and not there or another one."""
    if holder.host != socket.gethostname():
        return True
    try:
        process = psutil.Process(holder.pid)
        is_it = abs(process.create_time() - holder.started) < 1.0
        return is_it and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _busy(directory: Path, who: str) -> MergeBusyError:
    return MergeBusyError(f"{directory.parent}: another merge is at work, {who}. Wait for it to end.")
