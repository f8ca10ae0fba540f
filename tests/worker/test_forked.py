"""A core that vLLM forks of the engine process: it has nothing of ours, and ends with it."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launch.rundir.progress import survey_settled
from launch.worker import forked
from launch.worker.engines.shield import is_alive, list_descendants
from tests.vllm_plugins import plugin_path
from tests.worker import forking
from tests.worker.build_run import build_run
from tests.worker.tasks import kill_9, run_task, start_task, wait_for_phase, wait_until

LONG_S = 0.5
TASK_S = 400
VLLM = {"engine": "vllm", "dtype": "float32"}


@pytest.fixture(autouse=True)
def hooks() -> None:
    """As an engine process has them when vLLM forks."""
    forked.prepare_forks()


def told_by_child(ask: Callable[[], bool]) -> bool:
    """What a forked child answers."""
    child = os.fork()
    if not child:
        os._exit(7 if ask() else 8)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_private_descriptor_is_dev_null_in_a_child_and_as_it_was_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forked, "_private", set())
    ends = os.pipe()
    null = os.stat(os.devnull)
    try:
        assert not told_by_child(lambda: os.path.samestat(os.fstat(ends[1]), null))
        forked.keep_private(ends[1])
        assert told_by_child(lambda: os.path.samestat(os.fstat(ends[1]), null))
        assert not told_by_child(lambda: os.path.samestat(os.fstat(ends[0]), null))
        os.write(ends[1], b"x")
        assert os.read(ends[0], 1) == b"x"
    finally:
        for end in ends:
            os.close(end)


def test_a_fork_waits_for_the_end_of_a_call_and_a_child_may_call():
    begun, lock = threading.Event(), threading.Lock()

    def both_are_free() -> bool:
        return lock.acquire(blocking=False) and forked.before_or_after_forks(lambda: 1)() == 1

    @forked.before_or_after_forks
    def work() -> int:
        with lock:
            begun.set()
            time.sleep(LONG_S)
            return 5

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    assert told_by_child(both_are_free)
    thread.join()
    assert work() == 5


def test_who_is_at_work_may_log_while_another_forks():
    """Forks take the lock of logging, too: taken first, it was what the one at work waited for."""
    begun = threading.Event()

    @forked.before_or_after_forks
    def work() -> None:
        begun.set()
        time.sleep(LONG_S)
        logging.getLogger(f"{__name__}.new").warning("a logger that nobody has had")

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    assert told_by_child(lambda: True)
    thread.join()


@pytest.mark.engine
@pytest.mark.process
@pytest.mark.timeout(500)
def test_a_forked_core_works_and_does_not_outlive_the_supervisor(tmp_path: Path):
    """vLLM's own default beside a GPU. With the tether's pipe in its hands the core stayed for ever."""
    (tmp_path / "imports").mkdir()
    path = plugin_path(tmp_path / "plugin", "forking", "tests.worker.forking:register")
    variables = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    variables[forking.VARIABLE] = str(tmp_path / "imports")
    engine = {"enforce_eager": True, "max_num_seqs": 1}
    # A minute and more of work, of which this needs a look: on a busy machine that may come late.
    run = build_run(tmp_path, num_users=15, items_per_user=200, engine=engine, model=VLLM)
    task = start_task(run, **variables)
    wait_for_phase(run, "generating")
    below = list_descendants([psutil.Process(task.pid)])
    names = {str(process.pid): process.name() for process in below}
    cores = {pid for pid, name in names.items() if "EngineCore" in name}
    assert cores, names
    kill_9(task)
    wait_until(lambda: not any(map(is_alive, below)), "the end of all processes", 20)
    # A process that asks what a class of models can is among them, unless vLLM's cache has the answer.
    imported = {path.name for path in (tmp_path / "imports").iterdir()}
    assert imported and not cores & imported, "the core was forked"
    few = build_run(tmp_path / "few", num_users=2, engine=engine, model=VLLM)
    assert run_task(few, timeout_s=TASK_S, **variables) == (0, "")
    assert survey_settled(few).num_done == 6
