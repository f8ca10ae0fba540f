"""Cluster none: tasks as subprocesses of a driver, on GPUs of their own, ended with it. Real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.errors import RunError
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.worker.driver import LocalTasks, TaskView, drive
from tests.runs import RUN_S
from tests.worker.build_run import build_run
from tests.worker.tasks import (
    ROOT,
    ended,
    kill_9,
    num_committed,
    processes_with,
    wait_for_phase,
    wait_until,
)

pytestmark = pytest.mark.process

SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.2"}


def start_driver(
    run: RunPaths, num_tasks: int, gpus: str = "", gpus_per_task: int = 0, **environment: str
) -> subprocess.Popen[str]:
    """A driver in a session of its own, so that a signal to its group reaches nobody else."""
    words = [str(run.root), str(num_tasks), gpus, str(gpus_per_task)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.worker.drive_run", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(driver: subprocess.Popen[str], timeout_s: float = RUN_S) -> tuple[list[Any], list[int]]:
    """What it said on the way, and the exit codes."""
    output, errors = driver.communicate(timeout=timeout_s)
    assert driver.returncode == 0, errors
    *said, codes = [json.loads(line) for line in output.splitlines()]
    return said, codes


def num_running(views: list[Any]) -> int:
    """Tasks that run in one line of the driver."""
    return sum(view[0] == "running" for view in views)


def test_without_a_gpu_one_task_runs_at_a_time(tmp_path: Path):
    run = build_run(tmp_path, num_users=6, num_tasks=3)
    said, codes = finish(start_driver(run, 3))
    assert codes == [0, 0, 0]
    assert max(num_running(views) for views in said) == 1
    assert [view[0] for view in said[-1]] == ["ended"] * 3
    assert survey_settled(run).num_done == 18
    logs = sorted((tmp_path / "runs" / "slurm_logs" / "run").iterdir())
    assert [log.name for log in logs] == ["task-0.log", "task-1.log", "task-2.log"]
    assert "ended code=0 reason=empty" in logs[0].read_text()


def test_each_task_has_gpus_of_its_own(tmp_path: Path):
    run = build_run(tmp_path, num_users=9, num_tasks=3)
    said, codes = finish(start_driver(run, 3, "GPU-a,5,7,GPU-d,GPU-e", 2, **SLOW))
    assert codes == [0, 0, 0]
    assert max(num_running(views) for views in said) == 2
    for views in said:
        taken = [gpu for view in views for gpu in view[3]]
        assert len(taken) == len(set(taken)) == 2 * num_running(views)
    seen = [read_json(run.attempt(1, task, 0).attempt_json) for task in range(3)]
    assert [about["gpus"] for about in seen if about][:2] == [["GPU-a", "5"], ["7", "GPU-d"]]


def test_a_task_that_may_continue_is_started_again(tmp_path: Path):
    run = build_run(tmp_path, num_users=10, items_per_user=4)
    driver = start_driver(run, 1, **SLOW)
    wait_until(lambda: num_committed(run) > 0, "a commit")
    about = read_json(run.attempt(1, 0, 0).attempt_json)
    assert about is not None
    os.kill(about["pid"], signal.SIGUSR2)
    said, codes = finish(driver)
    assert codes == [0]
    assert said[-1] == [["ended", 2, 0, []]]
    assert ended(run, attempt=0)["code"] == 75
    assert survey_settled(run).num_done == 40


def test_a_task_that_fails_is_not_started_again_and_the_others_run(tmp_path: Path):
    run = build_run(tmp_path, num_users=6, num_tasks=3)
    said, codes = finish(start_driver(run, 3, VLLM_LAUNCH_STUB_FAIL="task:0"))
    assert codes == [1, 0, 0]
    assert said[-1][0] == ["ended", 1, 1, []]
    assert survey_settled(run).num_missing == 0, "the others take what it held"


def test_a_signal_is_handed_on_and_nothing_more_is_started(tmp_path: Path):
    run = build_run(tmp_path, num_users=12, items_per_user=4, num_tasks=2)
    driver = start_driver(run, 2, **SLOW)
    wait_until(lambda: num_committed(run) > 0, "a commit")
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    _, codes = finish(driver)
    assert codes == [75, 75]
    assert ended(run)["reason"] == "drained"
    assert not run.task(1, 1).exists()
    assert processes_with(str(run.root)) == []


def test_tasks_end_with_a_driver_that_is_killed(tmp_path: Path):
    run = build_run(tmp_path, num_users=12, items_per_user=4)
    driver = start_driver(run, 1, **SLOW)
    wait_for_phase(run, "generating")
    kill_9(driver)
    wait_until(lambda: processes_with(str(run.root)) == [], "no process left", timeout_s=45)
    assert ended(run)["reason"] == "drained"


def test_a_second_signal_ends_the_tasks_at_once(tmp_path: Path):
    fake = [sys.executable, str(Path(__file__).with_name("fake_engine.py")), "stubborn"]
    run = build_run(tmp_path, resources={"container": fake})
    driver = start_driver(run, 1)
    wait_for_phase(run, "generating")
    driver.send_signal(signal.SIGINT)
    wait_until(lambda: "asked=drain" in log_of(run), "the first order")
    driver.send_signal(signal.SIGINT)
    _, codes = finish(driver, 20)
    assert codes == [75]
    assert ended(run)["reason"] == "killed"
    assert processes_with(str(run.root)) == []


SHOWN = """
import sys
from pathlib import Path
from launch.cli.progress import TaskProgress
from launch.rundir.layout import RunPaths
from launch.worker.driver import LocalTasks, drive
run = RunPaths(Path(sys.argv[1]))
tasks = LocalTasks(run, 1, [0], run.root.parent / "logs")
with TaskProgress(run, 1, 12) as progress:
    sys.exit(drive(tasks, progress.update)[0])
"""


def test_a_file_that_the_progress_bar_cannot_read_ends_no_task(tmp_path: Path):
    run = build_run(tmp_path)
    paths = run.attempt(1, 7, 0).engine(0, 0)
    paths.results.parent.mkdir(parents=True)
    paths.results.touch()
    paths.commits.symlink_to(paths.commits)
    words = [sys.executable, "-c", SHOWN, str(run.root)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr
    paths.commits.unlink()
    assert survey_settled(run).num_done == 12
    (told,) = [line for line in done.stderr.splitlines() if "cannot be shown" in line]
    assert "Too many levels of symbolic links" in told


def log_of(run: RunPaths) -> str:
    """Task 0's log."""
    return (run.root.parent / "slurm_logs" / "run" / "task-0.log").read_text()


def local(tmp_path: Path, **settings: Any) -> LocalTasks:
    """Tasks that are never started."""
    return LocalTasks(RunPaths(tmp_path), 1, range(4), tmp_path / "logs", **settings)


@pytest.mark.parametrize(
    ("settings", "num_at_once"),
    [
        ({}, 1),
        ({"max_concurrent": 3}, 3),
        ({"gpus_per_task": 2}, 1),
        ({"gpus": ("0", "1", "2", "3", "4"), "gpus_per_task": 2}, 2),
        ({"gpus": ("0", "1", "2", "3"), "gpus_per_task": 1, "max_concurrent": 3}, 3),
        ({"gpus": ("0", "1"), "gpus_per_task": 1, "max_concurrent": 9}, 2),
        ({"gpus": ("0", "1"), "gpus_per_task": 0}, 1),
    ],
)
def test_no_more_tasks_at_once_than_gpus_allow(tmp_path: Path, settings: dict[str, Any], num_at_once: int):
    assert local(tmp_path, **settings).num_at_once == num_at_once


def test_a_task_that_needs_more_gpus_than_there_are_is_refused(tmp_path: Path):
    views: list[TaskView] = []
    with pytest.raises(RunError, match=r"needs 4 GPUs, and this machine shows 2 \(0,1\)"):
        drive(local(tmp_path, gpus=("0", "1"), gpus_per_task=4), views.extend)
    assert views == []
    assert not (tmp_path / "logs").exists()
