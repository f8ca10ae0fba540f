"""Behind the shield a core that cannot start ends with its workers, without vLLM. Real processes."""

import subprocess
import sys

import pytest

from launch.worker.engines.shield import list_children, shielded_children, unheard_ends

pytestmark = pytest.mark.process

# As vLLM's core that fails at start: on its way out Python sends TERM to a daemonic child and waits for it.
CORE = """
import multiprocessing, time
worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
worker.start()
print(worker.pid, flush=True)
"""


def start_core() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CORE], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def others() -> set[int]:
    """The children of other tests in this process: a shared engine may hold a TERM that it never hears."""
    return {child.pid for child in list_children()}


def test_a_worker_that_cannot_hear_its_end_is_ended(others):
    with shielded_children(), unheard_ends(others):
        core = start_core()
        core.communicate(timeout=10)
    assert core.returncode == 0


def test_without_that_the_core_waits_for_ever(others):
    with shielded_children():
        core = start_core()
        with pytest.raises(subprocess.TimeoutExpired):
            core.wait(timeout=3)
    with unheard_ends(others):
        core.communicate(timeout=10)
    assert core.returncode == 0


def test_processes_of_an_engine_that_ran_before_are_left_alone(others):
    with shielded_children():
        core = start_core()
    with unheard_ends(before={*others, core.pid}), pytest.raises(subprocess.TimeoutExpired):
        core.wait(timeout=3)
    with unheard_ends(others):
        core.communicate(timeout=10)
    assert core.returncode == 0
