"""Cache directories as libraries leave them, and processes that are killed while they work on one."""

import os
import subprocess
import sys
from pathlib import Path

KEY = {"format": "1", "torch": "2.11.0", "device": "NVIDIA H200"}

FILES = {
    "triton/ab/kernel.cubin": b"\x7fELF" * 5000,
    "triton/ab/kernel.json": b"{}",
    "flashinfer/.cache/ops/build.ninja": b"rule cc",
    "flashinfer/.cache/ops/.ninja_log": b"# ninja log v5\n",
    "flashinfer/.cache/ops/a.so": bytes(200_000),
}


def make_tree(root: Path, files: dict[str, bytes] | None = None) -> Path:
    """A directory with these files, a lock, a half-written file and a link, which are nobody's to copy."""
    for number, (name, data) in enumerate((FILES if files is None else files).items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000.25 + number))
    (root / "triton/x.lock").parent.mkdir(parents=True, exist_ok=True)
    (root / "triton/x.lock").touch()
    (root / "triton/tmp.pid_3").write_bytes(b"half")
    (root / "link").symlink_to("/etc/hostname")
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Files by relative path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def start(code: str, *words: object) -> subprocess.Popen[str]:
    """A Python process; its words are in sys.argv."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
