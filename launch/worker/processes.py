"""What keeps processes from outliving those who started them. Linux only: prctl(2)."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
ORPHAN_GRACE_S = 0.5
REAP_TIMEOUT_S = 2.0
MAX_ROUNDS = 3


def adopt_orphans() -> None:
    """From now on descendants whose parent dies become children of this process, where they can be found."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def tie_to_parent(parent: int) -> bool:
    """HUP reaches this process when its parent dies; False when process `parent` is gone already.

    `parent` may be further up: where the Python is a wrapper script it is the wrapper whose death is heard.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be born with HUP ignored
    _prctl(_PR_SET_PDEATHSIG, signal.SIGHUP)
    return os.getppid() == parent or parent in [above.pid for above in psutil.Process().parents()]


def die_with_parent(parent: int) -> None:
    """KILL reaches this process when `parent`, which started it, dies; at once if that is dead already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent and parent not in [above.pid for above in psutil.Process().parents()]:
        os.kill(os.getpid(), signal.SIGKILL)


def has_exited(pid: int) -> bool:
    """Whether a child has exited; it stays a zombie, so that nobody else can take its pid or group."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def kill_group(pgid: int) -> None:
    """SIGKILL to a process group; none left in it is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pgid, signal.SIGKILL)


def end_orphans(known: Collection[int]) -> list[str]:
    """Ends the children of this process that are not `known`, with all below them, and reaps them.

    Those that end by themselves within half a second may. What had to be killed, as `pid name`.
    """
    killed: list[str] = []
    for _ in range(MAX_ROUNDS):  # what a killed one leaves becomes ours, too
        orphans = [child for child in psutil.Process().children() if child.pid not in known]
        if not orphans:
            break
        _, alive = psutil.wait_procs(orphans, timeout=ORPHAN_GRACE_S)
        doomed = [process for orphan in alive for process in _tree(orphan)]
        killed += [name for process in doomed if (name := _kill(process))]
        psutil.wait_procs(doomed, timeout=REAP_TIMEOUT_S)
    return killed


def _tree(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [*process.children(recursive=True), process]
    return []


def _kill(process: psutil.Process) -> str | None:
    try:
        name = f"{process.pid} {process.name()}"
        process.kill()
    except psutil.NoSuchProcess:
        return None
    return name


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
