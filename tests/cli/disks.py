"""Small file systems of a test's own, which only root can mount."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

KIB = 1024


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted tmpfs; `fill` and `clear` take and give room."""

    root: Path

    def fill(self, leave_kib: int) -> None:
        """Leaves that much room."""
        free = os.statvfs(self.root).f_bavail * os.statvfs(self.root).f_frsize
        (self.root / "ballast").write_bytes(bytes(free - leave_kib * KIB))

    def clear(self) -> None:
        """Gives the room back."""
        (self.root / "ballast").unlink()


@contextlib.contextmanager
def tiny_disk(root: Path, size_kib: int, num_files: int = 0) -> Iterator[Disk]:
    """A tmpfs of that size at `root`, which is made; it holds `num_files` with itself, 0 is any number."""
    root.mkdir()
    options = f"size={size_kib}k,nr_inodes={num_files}"
    _mount("-t", "tmpfs", "-o", options, "vllm-launch-test", str(root))
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", root], check=True)


@contextlib.contextmanager
def read_only(root: Path) -> Iterator[None]:
    """`root` as a read-only file system."""
    _mount("--bind", str(root), str(root))
    try:
        _mount("-o", "remount,bind,ro", str(root))
        yield
    finally:
        subprocess.run(["umount", root], check=True)


def _mount(*words: str) -> None:
    """Mounts, or skips the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it mounts a small file system of its own")
    done = subprocess.run(["mount", *words], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"needs a root that may mount: {done.stderr.strip()}")
