"""Locks between processes of a node: of the dead none holds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.worker.startup.node_lock import LockError, NodeLock

HOLD = """
import sys
from pathlib import Path
from launch.worker.startup.node_lock import NodeLock
lock = NodeLock(Path(sys.argv[1]), shared=sys.argv[2] == "shared")
assert lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def holder(path: Path, how: str) -> subprocess.Popen[str]:
    """Another process that holds it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_holds_it_and_a_killed_one_does_not(tmp_path: Path):
    path = tmp_path / "lock"
    process = holder(path, "exclusive")
    lock = NodeLock(path)
    assert not lock.acquire()
    assert not lock.acquire(0.3)
    process.kill()
    assert lock.acquire(10)
    process.communicate()
    assert lock.is_held
    assert not NodeLock(path, shared=True).acquire()
    lock.release()
    lock.release()
    assert not lock.is_held


def test_shared_ones_hold_together(tmp_path: Path):
    path = tmp_path / "lock"
    process = holder(path, "shared")
    with NodeLock(path, shared=True) as lock:
        assert lock.acquire()
        assert not NodeLock(path).acquire()
    assert not NodeLock(path).acquire()
    process.communicate("")
    with NodeLock(path) as alone:
        assert alone.acquire()


def test_where_no_file_can_be_made(tmp_path: Path):
    with pytest.raises(LockError, match="cannot be opened"):
        NodeLock(tmp_path / "no" / "such" / "lock").acquire()


def test_a_forked_child_does_not_keep_what_was_given_back(tmp_path: Path):
    """vLLM forks its engine core, where a user asks for that, while its compiling is guarded by a lock."""
    lock = NodeLock(tmp_path / "lock")
    assert lock.acquire()
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
    try:
        lock.release()
        assert NodeLock(tmp_path / "lock").acquire()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
