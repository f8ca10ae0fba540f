"""Marks of processes in files: enough to find one again on its host, and never another of its number.

A process began so many ticks after a boot: the kernel counts both, and no clock that somebody sets is asked.
Of a process that /proc hides it is known neither that it is gone nor that it is here.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from launch.rundir.journal import has_fields


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process of a host. `boot` and `ticks` are None in marks of before they were kept."""

    host: str
    pid: int
    pid_namespace: int | None = None
    boot: str | None = None
    ticks: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As files hold it, beside whatever else they hold."""
        return asdict(self)

    @property
    def is_from_here(self) -> bool:
        """Whether its pid means something to this process: its host, and pids of one namespace.

        A container may have pids of its own and its host's name.
        """
        return self.host == socket.gethostname() and self.pid_namespace in (None, pid_namespace())

    @property
    def is_gone(self) -> bool:
        """Whether it ran here and is known to be no more; a zombie is, for nobody may ever reap it."""
        if not self.is_from_here:
            return False
        if self.boot not in (None, _boot()):
            return True
        found = _look(self.pid)
        return found is None or found.state == "Z" or (found.ticks is not None and self._is_another(found))

    @property
    def is_here(self) -> bool:
        """Whether it is known to live on this machine."""
        return self._found_here() is not None

    @property
    def is_stopped(self) -> bool:
        """Whether it is here and does nothing until it gets a SIGCONT, as after Ctrl-Z."""
        found = self._found_here()
        return found is not None and found.state == "T"

    def _found_here(self) -> "_Found | None":
        """What is there of it, if that is known to be it, and lives."""
        if not self.is_from_here or self.ticks is None or self.boot not in (None, _boot()):
            return None
        found = _look(self.pid)
        return None if found is None or found.state == "Z" or self._is_another(found) else found

    def _is_another(self, found: "_Found") -> bool:
        return self.ticks not in (None, found.ticks)


class _Found(NamedTuple):
    """A process: its state, and its start in ticks since the boot; neither where /proc does not show it."""

    state: str | None = None
    ticks: int | None = None


def mark_process(pid: int | None = None) -> ProcessMark:
    """The mark of a process of this host, this one unless another is named."""
    number = os.getpid() if pid is None else pid
    found = _look(number)
    ticks = None if found is None else found.ticks
    return ProcessMark(socket.gethostname(), number, pid_namespace(), _boot(), ticks)


def read_mark(value: Mapping[str, Any] | None) -> ProcessMark | None:
    """The mark among what a file holds; None when there is none."""
    if value is None or not has_fields(value, {"host": str, "pid": int}):
        return None
    namespace, boot, ticks = (value.get(name) for name in ("pid_namespace", "boot", "ticks"))
    return ProcessMark(
        host=value["host"],
        pid=value["pid"],
        pid_namespace=namespace if isinstance(namespace, int) else None,
        boot=boot if isinstance(boot, str) else None,
        ticks=ticks if isinstance(ticks, int) else None,
    )


def pid_namespace() -> int | None:
    """The number of the namespace in which this process's pids mean something; None where /proc has none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _look(pid: int) -> _Found | None:
    """What /proc says of a process (proc(5), fields 3 and 22); None: not there.

    Where /proc hides other users' processes (hidepid), the kernel is asked whether there is one.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return _Found() if _is_there(pid) else None
    fields = text.rpartition(b")")[2].split()  # the name in brackets may hold anything
    return _Found(fields[0].decode("ascii"), int(fields[19]))


def _is_there(pid: int) -> bool:
    """Whether there is a process of this number, whoever's it is; what no process can have is none."""
    if pid < 1:  # to kill: a group
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
