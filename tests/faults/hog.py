"""`python -m tests.faults.hog GROUP`: takes memory in a cgroup until the kernel has killed somebody."""

import os
import sys
import time
from pathlib import Path

from tests.faults.memory_group import MIB, ROOT, MemoryGroup

STEP_MIB = 2
PAUSE_S = 0.02


def main(directory: Path) -> None:
    """Grows, and is to stay smaller than whom it means: the kernel kills the largest."""
    group = MemoryGroup(directory, is_v2=(ROOT / "cgroup.controllers").exists())
    group.procs.write_text(str(os.getpid()))
    held = []
    while not group.num_killed:
        held.append(os.urandom(MIB) * STEP_MIB)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
