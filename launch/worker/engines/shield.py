"""Keeps signals from an engine's child processes, ends them with it, and notices when they die.

vLLM's children that receive TERM abort what runs and send back truncated texts that look like results; USR2
kills them, and the parent then waits for ever (measured). Both reach every process of a Slurm step.
"""

import contextlib
import multiprocessing.resource_tracker
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import psutil

WATCH_PERIOD_S = 1.0
NOTICE_GRACE_S = 5.0
WORKER_GRACE_S = 2.0


@contextlib.contextmanager
def shielded_children() -> Iterator[None]:
    """Processes started inside, and theirs, never receive TERM and USR2. To be entered in the main thread.

    TERM is blocked, not ignored, because vLLM's children install handlers for it; a blocked signal stays
    blocked over fork and exec. USR2 is blocked and ignored. Both are as before afterwards.
    """
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # Started first: when Python starts it later, it unblocks TERM in the calling thread behind our back.
    multiprocessing.resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, signal.SIG_DFL if before is None else before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def unheard_ends(before: Collection[int]) -> Iterator[None]:
    """While this holds, a process below this one that was sent TERM and cannot hear it is killed for it.

    Children whose pid is in `before`, and all below them, are of another engine and left alone.

    vLLM's core ends its workers with TERM when it cannot start, and waits for them: behind the shield they
    never hear it, so core and parent waited for ever (seen with a KV cache too small, vLLM 0.32.0). To be
    left when the engine runs: from then on a TERM is Slurm's.
    """
    over = threading.Event()
    thread = threading.Thread(target=_end_unheard, args=(over, before), name="unheard-ends", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _end_unheard(over: threading.Event, before: Collection[int]) -> None:
    while not over.wait(WATCH_PERIOD_S):
        new = [child for child in list_children() if child.pid not in before]
        for process in list_descendants(new):
            if _has_pending_term(process.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def _has_pending_term(pid: int) -> bool:
    """Whether TERM waits for a process (proc_pid_status(5): ShdPnd has a bit per signal, from 1)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    pending = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in pending)


def list_children() -> list[psutil.Process]:
    """The living direct children of this process, zombies left out."""
    return [child for child in psutil.Process().children() if is_alive(child)]


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_trees(processes: Iterable[psutil.Process]) -> None:
    """Kills processes and all their descendants."""
    roots = list(processes)
    for process in [*list_descendants(roots), *roots]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


class DeathWatch:
    """A thread that tells when one of some processes has died, unless it was stopped before."""

    def __init__(
        self, processes: Iterable[psutil.Process], wake: Callable[[str], None], on_dead: Callable[[str], None]
    ) -> None:
        """On a death `wake` is called at once, `on_dead` unless `stop` follows within NOTICE_GRACE_S."""
        self._processes = tuple(processes)
        self._wake = wake
        self._on_dead = on_dead
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="death-watch", daemon=True).start()

    def stop(self) -> None:
        """The death is known, or the processes are being ended on purpose."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_PERIOD_S):
            dead = [process for process in self._processes if not is_alive(process)]
            if dead:
                message = f"process {dead[0].pid} of the engine died; what it said of it is in the log"
                self._wake(message)
                if not self._stopped.wait(NOTICE_GRACE_S):
                    self._on_dead(message)
                return


def end_gracefully(
    processes: Iterable[psutil.Process], shut_down: Callable[[], None], timeout_s: float
) -> None:
    """Ends shielded processes and theirs: INT, which is not shielded, while `shut_down` waits; then a kill.

    The children of `processes` get theirs when they have not gone by themselves within WORKER_GRACE_S.
    Returns within about `timeout_s` seconds whatever they do.
    """
    parents = list(processes)
    workers = list_descendants(parents)
    until = time.monotonic() + timeout_s
    waiter = threading.Thread(target=shut_down, name="engine-shutdown", daemon=True)
    waiter.start()
    interrupt(parents)
    interrupt(psutil.wait_procs(workers, timeout=WORKER_GRACE_S)[1])
    _, left = psutil.wait_procs([*parents, *workers], timeout=max(until - time.monotonic(), 0))
    kill_trees(left)
    waiter.join(max(until - time.monotonic(), 0.5))


def interrupt(processes: Iterable[psutil.Process]) -> None:
    """Sends INT to those that still run."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)


def list_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """All processes below these."""
    found: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += process.children(recursive=True)
    return found
