"""A memory cgroup of its own, version 1 or 2, in which the kernel kills what no longer fits. Root only."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20
END_S = 10.0


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """`directory` is the group's; the names of its files differ between the versions."""

    directory: Path
    is_v2: bool

    @property
    def procs(self) -> Path:
        """Who writes their pid here belongs to the group, with all they start from then on."""
        return self.directory / "cgroup.procs"

    @property
    def usage_mib(self) -> float:
        """What its processes hold, page cache included."""
        name = "memory.current" if self.is_v2 else "memory.usage_in_bytes"
        return int((self.directory / name).read_text()) / MIB

    def limit(self, mib: int) -> None:
        """From now on the group may hold so much."""
        name = "memory.max" if self.is_v2 else "memory.limit_in_bytes"
        (self.directory / name).write_text(str(mib * MIB))

    @property
    def num_killed(self) -> int:
        """Processes that the kernel killed because the group was full."""
        name = "memory.events" if self.is_v2 else "memory.oom_control"
        rows = (line.split() for line in (self.directory / name).read_text().splitlines())
        return int(dict(rows)["oom_kill"])


@contextlib.contextmanager
def memory_group(name: str) -> Iterator[MemoryGroup]:
    """A new group; OSError where none can be made. What is left of its processes ends with it."""
    is_v2 = (ROOT / "cgroup.controllers").exists()
    if is_v2:
        (ROOT / "cgroup.subtree_control").write_text("+memory")
    directory = (ROOT if is_v2 else ROOT / "memory") / f"vllm-launch-{name}-{os.getpid()}"
    directory.mkdir()
    try:
        yield MemoryGroup(directory, is_v2)
    finally:
        _end_all(directory)
        directory.rmdir()


def _end_all(directory: Path) -> None:
    until = time.monotonic() + END_S
    while pids := (directory / "cgroup.procs").read_text().split():
        assert time.monotonic() < until, f"{directory}: processes that do not end: {pids}"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.1)
