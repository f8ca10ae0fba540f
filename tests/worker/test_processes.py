"""What ends with the process that started it."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from launch.errors import EngineError, NodeError
from launch.rundir.layout import EnginePaths
from launch.worker import slots as slots_module
from launch.worker.engines.shield import is_alive
from launch.worker.slots import Slot, end_slots
from launch.worker.watchdogs import Limits
from tests.worker.tasks import ROOT, kill_9, wait_until

pytestmark = pytest.mark.process

SLEEPS = "import time; time.sleep(600)"
TIED = "import sys; from launch.worker.processes import die_with_parent; die_with_parent(int(sys.argv[1]))"
PARENT = """
import os, subprocess, sys
words = sys.argv[1] + "; print(flush=True); " + sys.argv[2]
subprocess.Popen([sys.executable, "-c", words, str(os.getpid())])
import time; time.sleep(600)
"""
TRACER = """
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0  # PTRACE_SEIZE
print(flush=True)
time.sleep(600)
"""
NOBODY = 65534


def make_slot(root: Path, number: int) -> Slot:
    """A slot that is not open."""
    return Slot(number, 0, None, EnginePaths(root, number, 0), Limits(600, 1800))


def test_a_process_that_outlives_its_kill_is_given_up_and_the_others_are_reaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who is traced has exited for its parent only when the tracer says so, as if it hung in the kernel."""
    monkeypatch.setattr(slots_module, "STUCK_AFTER_S", 1.0)
    slots = [make_slot(tmp_path, number) for number in range(3)]
    for slot in slots[:2]:
        slot.open(["sleep", "600"], dict(os.environ))
    stuck = slots[0]
    tracer = subprocess.Popen(
        [sys.executable, "-c", TRACER, str(stuck.process.pid)], stdout=subprocess.PIPE, text=True
    )
    try:
        if tracer.stdout is None or tracer.stdout.readline() != "\n":
            pytest.skip("needs the right to trace a process")
        began = time.monotonic()
        end_slots(slots)
        assert 1.0 <= time.monotonic() - began < 20
        assert not any(slot.is_open for slot in slots) and slots[2].end is None
        ends = [slot.end.failure and slot.end.failure["class"] for slot in slots[:2] if slot.end]
        assert ends == ["stuck", None]
    finally:
        kill_9(tracer)
        stuck.process.wait(60)


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
def test_a_node_without_room_for_a_process_is_not_the_commands_fault():
    """A user at the limit of processes: in a child of this process, which becomes that user."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o777)
    said = root / "said"
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        os.setuid(NOBODY)
        try:
            make_slot(root, 0).open(["sleep", "600"], dict(os.environ))
        except (NodeError, EngineError) as error:
            said.write_text(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    text = said.read_text()
    shutil.rmtree(root)
    assert text.startswith("NodeError: node ") and "no further process can be started: Resource temp" in text
    assert "container" not in text


def test_a_child_dies_with_the_parent_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, TIED, SLEEPS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdout.readline() == "\n"
    (child,) = psutil.Process(parent.pid).children()
    kill_9(parent)
    wait_until(lambda: not is_alive(child), "the child's end", 20)


def test_a_child_whose_parent_is_gone_already_ends_at_once():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run(
        [sys.executable, "-c", f"{TIED}; {SLEEPS}", str(gone.pid)], cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == -9
