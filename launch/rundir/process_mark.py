"""Marks of processes in files: enough to find one again on its host, and never another of its number.

A process began so many ticks after a boot: the kernel counts both, and no clock that somebody sets is asked.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
        return found is None or found[0] == "Z" or self.ticks not in (None, found[1])

    @property
    def is_here(self) -> bool:
        """Whether it is known to live on this machine."""
        return self.is_from_here and self.ticks is not None and not self.is_gone

    @property
    def is_stopped(self) -> bool:
        """Whether it is here and does nothing until it gets a SIGCONT, as after Ctrl-Z."""
        found = _look(self.pid) if self.is_here else None
        return found is not None and found[0] == "T"


def mark_process(pid: int | None = None) -> ProcessMark:
    """The mark of a process of this host, this one unless another is named."""
    number = os.getpid() if pid is None else pid
    found = _look(number)
    ticks = None if found is None else found[1]
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


def _look(pid: int) -> tuple[str, int] | None:
    """State and start, in ticks since the boot, of a process (proc(5), fields 3 and 22); None: not there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(b")")[2].split()  # the name in brackets may hold anything
    return fields[0].decode("ascii"), int(fields[19])
