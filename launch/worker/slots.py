"""One engine process as its supervisor holds it: started, fed the drain, listened to, ended, reaped."""

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from launch.errors import EngineError, ExitCode, LaunchError, NodeError
from launch.rundir.layout import EnginePaths
from launch.rundir.storage_errors import storage_errors, storage_trouble
from launch.worker.caution import Caution
from launch.worker.exclusion import node_name
from launch.worker.failures import class_of
from launch.worker.memory_kills import count_memory_kills
from launch.worker.processes import has_exited, kill_group
from launch.worker.slot_record import Phases, SlotEnd
from launch.worker.watchdogs import Limits, Overdue, Watchdog

# Signals of Slurm and of users reach every process of a job; only the pipe tells an engine process to stop.
# Blocked signals stay blocked over exec, so there is no moment in which it is exposed.
SHIELDED = (signal.SIGTERM, signal.SIGUSR2)
READ_SIZE = 1 << 16
STUCK_AFTER_S = 10.0
REAP_PERIOD_S = 0.05
NO_ROOM = (errno.EAGAIN, errno.ENOMEM)
"""Of a fork: the node is at its limit of processes or memory, and the command is not to blame."""
COUNTED = ("done", "failed", "prompt_tokens", "output_tokens", "samples", "cached_tokens")


class Slot:
    """One engine start. `gpus` are its own out of the task's, None for all of them."""

    def __init__(
        self, number: int, start: int, gpus: tuple[str, ...] | None, paths: EnginePaths, limits: Limits
    ) -> None:
        self.number = number
        self.start = start
        self.gpus = gpus
        self.paths = paths
        self.limits = limits
        self.changes: dict[str, Any] = {}
        """Engine settings that the ladder changed for this start."""
        self.caution: Caution | None = None
        self.watchdog = Watchdog(limits, time.monotonic())
        self.phases = Phases()
        self.counts: dict[str, int] = {}
        self.end: SlotEnd | None = None
        self.killed_at: float | None = None
        self.overdue: Overdue | None = None
        """Why the watchdog killed it, if it did."""
        self._kills_before = 0
        self._said: dict[str, Any] = {}
        self._drained = False
        self._partial = b""
        self._process: subprocess.Popen[bytes] | None = None

    def open(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts the engine process in a session of its own; its output goes to the log.

        EngineError when the command cannot be started: a container command that is not there. NodeError
        where the node has no room for a process.
        """
        self._kills_before = count_memory_kills() or 0
        with storage_errors(self.paths.log):
            log = os.open(self.paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                raise _cannot_start(command[0], error) from error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        finally:
            with contextlib.suppress(OSError):  # nothing was written here
                os.close(log)
        os.set_blocking(self.fileno(), False)
        self.watchdog = Watchdog(self.limits, time.monotonic())
        self.phases.enter("starting", time.time())

    @property
    def is_open(self) -> bool:
        """Whether it was started and has not been closed."""
        return self._process is not None and self.end is None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; only after `open`."""
        assert self._process is not None
        return self._process

    def fileno(self) -> int:
        """The pipe up, for a selector."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """The whole messages that have arrived, and whether more may come."""
        is_open = True
        while True:
            try:
                data = os.read(self.fileno(), READ_SIZE)
            except BlockingIOError:
                break
            if not data:
                is_open = False
                break
            self._partial += data
        *lines, self._partial = self._partial.split(b"\n")
        return [message for line in lines if (message := _parse(line))], is_open

    def take(self, message: Mapping[str, Any]) -> None:
        """Keeps what a message says: phase, counts, end."""
        self.watchdog.hear(message, time.monotonic())
        if "phase" in message:
            self.phases.enter(message["phase"], message["time"])
        if message.get("counts"):
            self.counts = dict(message["counts"])
        if "ended" in message:
            self._said = dict(message)

    def drain(self, deadline: float) -> None:
        """Tells the engine process to finish by `deadline` (time.monotonic())."""
        self._drained = True
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            os.write(self.process.stdin.fileno(), f"drain {deadline - time.monotonic():.3f}\n".encode())

    def kill(self) -> None:
        """Ends it and its group at once; what was not committed is lost."""
        if self.killed_at is None:
            self.killed_at = time.monotonic()
        kill_group(self.process.pid)

    @property
    def has_run(self) -> bool:
        """Whether it ever began to generate."""
        return "generating" in self.phases.spent_s or self.phases.current == "generating"

    def has_exited(self) -> bool:
        """Whether the engine process is gone, its children aside."""
        return has_exited(self.process.pid)

    def close(self) -> SlotEnd:
        """Kills what is left of the group of a process that has exited, and reaps it."""
        kill_group(self.process.pid)
        returncode = self.process.wait()
        failure = self._said.get("failure")
        if self.overdue is not None:
            failure = {"class": self.overdue.failure_class.value, "message": self.overdue.message}
        self.end = self._end(returncode, failure)
        return self.end

    def give_up(self, error: Exception) -> SlotEnd:
        """The end of a start whose process could not be started."""
        told = storage_trouble(error) or error
        code = told.exit_code if isinstance(told, LaunchError) else ExitCode.BUG
        failure = {"class": class_of(told), "message": str(told)}
        self.end = self._describe_end(code, failure)
        return self.end

    def abandon(self) -> SlotEnd:
        """Gives up a process that does not die of SIGKILL: it hangs in the kernel, in some driver."""
        message = f"slot {self.number}: process {self.process.pid} outlives SIGKILL; the node is ill"
        self.end = self._end(-signal.SIGKILL, {"class": "stuck", "message": message})
        return self.end

    def _end(self, returncode: int, failure: dict[str, str] | None) -> SlotEnd:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.phases.enter(None, time.time())
        return self._describe_end(returncode, failure)

    def _describe_end(self, returncode: int, failure: dict[str, str] | None) -> SlotEnd:
        return SlotEnd(
            slot=self.number,
            start=self.start,
            returncode=returncode,
            said=self._said.get("ended"),
            was_drained=self._drained,
            was_killed=self.killed_at is not None,
            failure=failure,
            log=str(self.paths.log),
            memory_kills=max(0, (count_memory_kills() or 0) - self._kills_before),
        )


def end_slots(slots: Iterable[Slot]) -> None:
    """Kills the engine processes that are left and reaps them; one that does not die of it is given up."""
    left = [slot for slot in slots if slot.is_open]
    for slot in left:
        slot.kill()
    until = time.monotonic() + STUCK_AFTER_S
    while left and time.monotonic() < until:
        for slot in left:
            if slot.has_exited():
                slot.close()
        left = [slot for slot in left if slot.is_open]
        time.sleep(REAP_PERIOD_S if left else 0.0)
    for slot in left:
        slot.abandon()


def total_counts(slots: Sequence[Slot]) -> dict[str, int]:
    """What the slots have done together, by their last words."""
    return {name: sum(slot.counts.get(name, 0) for slot in slots) for name in COUNTED}


def longest_phases(slots: Sequence[Slot]) -> dict[str, float]:
    """Seconds of each phase in the slot that took longest over it."""
    longest: dict[str, float] = {}
    for slot in slots:
        for phase, seconds in slot.phases.spent_s.items():
            longest[phase] = max(seconds, longest.get(phase, 0.0))
    return longest


def _cannot_start(command: str, error: OSError) -> LaunchError:
    if error.errno in NO_ROOM:
        return NodeError(
            f"node {node_name()}: no further process can be started: {error.strerror}. Too many run there, or"
            " its memory is full: look at the limits of a job's processes and memory."
        )
    return EngineError(
        f"{command}: cannot be started: {error.strerror}. Check resources.container and resources.python."
    )


def _parse(line: bytes) -> dict[str, Any] | None:
    """A message; None for what a library printed before the channel was taken."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and "time" in value else None
