"""How many processes of a job's memory cgroup the kernel has killed because its memory was full.

The kernel tells nobody else: vLLM's core, killed that way, shows as an engine that died of no reason at all.
Formats: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.events) and cgroup-v1/memory.rst
(memory.oom_control); /proc/self/cgroup names the group.
"""

from pathlib import Path

PROC = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def count_memory_kills(proc: Path = PROC, root: Path = ROOT) -> int | None:
    """Kills in this process's memory cgroup since it was made; None where the kernel does not say.

    Version 2 counts the groups below, too, and version 1 does not: Slurm puts what a job's step starts into
    one group.
    """
    path = _counter(proc, root)
    if path is None:
        return None
    try:
        rows = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
        return int(rows["oom_kill"])
    except (
        OSError,
        ValueError,
        KeyError,
    ):  # unmounted, of a kernel before 4.13, or out of a container's sight
        return None


def _counter(proc: Path, root: Path) -> Path | None:
    """The file that counts: of version 1 where the memory controller is mounted there, else of version 2."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    unified = None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            return root / "memory" / group.lstrip("/") / "memory.oom_control"
        if controllers == "":
            unified = root / group.lstrip("/") / "memory.events"
    return unified
