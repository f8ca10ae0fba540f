"""Runs the tasks of a submission on this machine, where there is no scheduler: a subprocess each.

No more run at once than GPUs allow, each on its own GPUs. A task that may be continued is started again; it
says itself when it gets nowhere (launch/worker/outcome.py), so that ends.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from launch.errors import ExitCode, RunError, StorageError
from launch.rundir.layout import RunPaths
from launch.rundir.storage_errors import storage_errors
from launch.worker.commands import task_command, with_package
from launch.worker.devices import visible_gpus
from launch.worker.monitoring import say
from launch.worker.signals import STOP_SIGNALS, Signals

__all__ = ["LocalTasks", "TaskState", "TaskView", "drive", "visible_gpus"]

TICK_S = 1.0
KILL_AFTER_S = 8.0


class TaskState(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as the driver sees it; `code` is that of its last attempt."""

    task: int
    state: TaskState
    num_starts: int
    code: int | None
    gpus: tuple[str, ...]


OnChange = Callable[[Sequence[TaskView]], None]


@dataclass(frozen=True, slots=True)
class LocalTasks:
    """What to run: some or all `tasks` of a submission, by number.

    `gpus` are the ids to share out (none: tasks run on the CPU); logs are task-<T>.log.
    """

    run: RunPaths
    submission: int
    tasks: Sequence[int]
    log_dir: Path
    gpus: tuple[str, ...] = ()
    gpus_per_task: int = 0
    max_concurrent: int | None = None

    @property
    def num_at_once(self) -> int:
        """GPUs / gpus_per_task, or 1 on a CPU, and never more than `max_concurrent`.

        RunError when one task needs more GPUs than there are.
        """
        if not self.uses_gpus:
            return self.max_concurrent or 1
        fitting = len(self.gpus) // self.gpus_per_task
        if fitting == 0:
            raise RunError(
                f"resources.gpus_per_task: a task needs {self.gpus_per_task} GPUs, and this machine shows"
                f" {len(self.gpus)} ({','.join(self.gpus)}). Lower engine.tensor_parallel_size or"
                " engine.engines_per_node."
            )
        return min(fitting, self.max_concurrent or fitting)

    @property
    def uses_gpus(self) -> bool:
        """Whether tasks take GPUs out of `gpus`."""
        return bool(self.gpus) and self.gpus_per_task > 0


def drive(tasks: LocalTasks, on_change: OnChange = lambda views: None) -> list[int]:
    """Runs every task to its end; the exit code of each task's last attempt, 75 for one never started.

    In the main thread. TERM, INT and HUP are handed to every task once (INT as INT: a person waits), and
    nothing is started any more; a second one ends them at once; one that is ignored, as HUP is under nohup,
    stays ignored. `on_change` is called when a task starts or ends, and every second.
    """
    num_at_once = tasks.num_at_once
    with storage_errors(tasks.log_dir):
        tasks.log_dir.mkdir(parents=True, exist_ok=True)
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    with Signals([signal.SIGCHLD, *heard]) as signals:
        return _Driver(tasks, num_at_once, signals, on_change).run()


@dataclass(slots=True)
class _Task:
    number: int
    gpus: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    num_starts: int = 0
    code: int | None = None
    is_over: bool = False

    def view(self) -> TaskView:
        state = TaskState.RUNNING if self.process else TaskState.ENDED if self.is_over else TaskState.WAITING
        return TaskView(self.number, state, self.num_starts, self.code, self.gpus)


@dataclass(slots=True)
class _Driver:
    _tasks: LocalTasks
    _num_at_once: int
    _signals: Signals
    _on_change: OnChange
    _free_gpus: list[str] = field(default_factory=list)
    _all: list[_Task] = field(default_factory=list)
    _has_told: bool = False
    _num_orders: int = 0
    _kill_at: float | None = None

    def run(self) -> list[int]:
        self._free_gpus = list(self._tasks.gpus)
        self._all = [_Task(number) for number in self._tasks.tasks]
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._signals, selectors.EVENT_READ)
                while self._start_some() or self._running():
                    self._show()
                    selector.select(TICK_S)
                    self._hear_signals()
                    self._close_exited()
            self._show()
        finally:
            for task in self._running():  # only when something of ours failed
                _process(task).terminate()
        return [ExitCode.CONTINUE if task.code is None else task.code for task in self._all]

    def _show(self) -> None:
        """What cannot be read for a look at the tasks ends none of them."""
        try:
            self._on_change([task.view() for task in self._all])
        except (OSError, StorageError) as error:
            if not self._has_told:
                self._has_told = True
                say(f"the tasks go on, and how far they are cannot be shown now: {error}")

    def _running(self) -> list[_Task]:
        return [task for task in self._all if task.process is not None]

    def _start_some(self) -> bool:
        """Starts what may start; whether something was started."""
        waiting = [task for task in self._all if task.process is None and not task.is_over]
        if self._num_orders:
            return False
        chosen = waiting[: self._num_at_once - len(self._running())]
        for task in chosen:
            self._start(task)
        return bool(chosen)

    def _start(self, task: _Task) -> None:
        environment = with_package(os.environ)
        if self._tasks.uses_gpus:
            count = self._tasks.gpus_per_task
            task.gpus, self._free_gpus = tuple(self._free_gpus[:count]), self._free_gpus[count:]
        if self._tasks.gpus:  # a task of no GPUs sees none
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(task.gpus)
        command = task_command(self._tasks.run, self._tasks.submission, task.number, tied_to=os.getpid())
        path = self._tasks.log_dir / f"task-{task.number}.log"
        with storage_errors(path), path.open("ab") as log:
            task.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the driver alone, which hands it on once
            )
        task.num_starts += 1

    def _hear_signals(self) -> None:
        orders = [number for number in self._signals.take() if number in STOP_SIGNALS]
        if orders:
            self._num_orders += 1
            if self._num_orders == 1:
                self._send(signal.SIGINT if signal.SIGINT in orders else signal.SIGTERM)
            elif self._kill_at is None:
                self._kill_at = time.monotonic() + KILL_AFTER_S
        if self._kill_at is not None:
            # Sent with every tick: a task takes what follows its first order at once for the same order.
            self._send(signal.SIGTERM if time.monotonic() < self._kill_at else signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for task in self._running():
            _process(task).send_signal(number)

    def _close_exited(self) -> None:
        for task in self._running():
            if _process(task).poll() is not None:
                self._close(task)

    def _close(self, task: _Task) -> None:
        task.code = _process(task).wait()
        task.process = None
        self._free_gpus = [gpu for gpu in self._tasks.gpus if gpu in {*self._free_gpus, *task.gpus}]
        task.gpus = ()
        task.is_over = task.code != ExitCode.CONTINUE or self._num_orders > 0


def _process(task: _Task) -> subprocess.Popen[bytes]:
    assert task.process is not None
    return task.process
