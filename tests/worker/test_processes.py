"""What ends with the process that started it."""

import subprocess
import sys

import psutil
import pytest

from launch.worker.engines.shield import is_alive
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
