"""Tasks help each other on Slurm's word alone, and ask for it together. Real tasks, commands that count."""

import json
import os
import time
from pathlib import Path

import pytest

from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.slurm.shared_queue import load_answer
from tests.collect.large_run import names_called
from tests.worker.build_run import build_run
from tests.worker.tasks import ended, events, finish, kill_9, num_committed, run_task, start_task, wait_until

pytestmark = pytest.mark.process

NUM_ITEMS = 120


def on_node(folder: Path, task: int) -> dict[str, str]:
    """The environment of a task of array 12 of cluster big; the commands in `folder` are found first."""
    return {
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_CLUSTER_NAME": "big",
        "SLURMD_NODENAME": "n1",
        "PATH": f"{folder}:{os.environ['PATH']}",
    }


def write_squeue(folder: Path, text: str) -> None:
    """A squeue, and a scontrol that tells the time, which note down every call."""
    folder.mkdir(exist_ok=True)
    told = "printf 'Configuration data as of %(%FT%T)T\\n' -1"
    for name, said in {"squeue": text, "scontrol": told}.items():
        (folder / name).write_text(f'#!/bin/bash\necho {name} >>"{folder}/calls"\n{said}\n')
        (folder / name).chmod(0o755)


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return build_run(tmp_path, num_users=12, items_per_user=10, num_tasks=3, resources={"scheduler": "slurm"})


def test_tasks_side_by_side_ask_slurm_once(run: RunPaths, tmp_path: Path):
    folder = tmp_path / "bin"
    rows = "".join(rf"12_{task}|demo|RUNNING|None|n1|2099-01-02T03:04:05\n" for task in range(3))
    write_squeue(folder, f"sleep 0.5; printf '{rows}'")
    slow = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.05", "SLURM_JOB_END_TIME": "4000000000"}
    started = time.monotonic()
    tasks = [start_task(run, task, **slow, **on_node(folder, task)) for task in range(3)]
    assert [finish(task)[0] for task in tasks] == [0, 0, 0]
    assert survey_settled(run).num_done == NUM_ITEMS
    assert names_called(folder / "calls").count("squeue") <= 1 + (time.monotonic() - started) // 30
    assert names_called(folder / "calls").count("scontrol") == 1


def die_on_another_node(run: RunPaths, folder: Path) -> int:
    """Task 1 claims, commits and dies without a word, as if on another host; how many items it settled."""
    write_squeue(folder, "exit 1")
    victim = start_task(run, 1, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.3", **on_node(folder, 1))
    wait_until(lambda: num_committed(run, task=1) > 0, "a commit")
    kill_9(victim)
    paths = run.attempt(1, 1, 0)
    about = read_json(paths.attempt_json)
    assert about is not None
    write_json(paths.attempt_json, about | {"host": "n9"})
    run.submission(1).queue.unlink(missing_ok=True)
    owners = [json.loads(path.read_text()) for path in run.submission(1).claims.glob("*.1")]
    assert owners and all((owner["task"], owner["job"]) == (1, "12_1") for owner in owners)
    return survey_settled(run).num_done


def test_what_slurm_says_is_gone_is_taken_over(run: RunPaths, tmp_path: Path):
    settled = die_on_another_node(run, tmp_path / "bin")
    write_squeue(
        tmp_path / "bin", "echo '12_0|demo|RUNNING|None|n1|NONE'; echo '12_1|demo|NODE_FAIL|None||NONE'"
    )
    assert run_task(run, 0, **on_node(tmp_path / "bin", 0))[0] == 0
    assert survey_settled(run).num_done == NUM_ITEMS
    assert ended(run, task=0)["counts"]["done"] == NUM_ITEMS - settled


@pytest.mark.parametrize(
    "said",
    [
        "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
        "echo '12_1|demo|RUNNING|None|n9|NONE'",
    ],
)
def test_what_may_live_keeps_what_it_holds(run: RunPaths, tmp_path: Path, said: str):
    settled = die_on_another_node(run, tmp_path / "bin")
    write_squeue(tmp_path / "bin", said)
    assert run_task(run, 0, **on_node(tmp_path / "bin", 0))[0] == 0
    assert settled < survey_settled(run).num_done < NUM_ITEMS
    assert list(run.submission(1).claims.glob("*.2")) == []
    answer = load_answer(run.submission(1))
    assert answer is not None and answer.jobs == ("12",)


def test_a_helper_tells_what_of_the_dead_it_could_not_read(run: RunPaths, tmp_path: Path):
    """And generates it again: one damaged file would else end every task that comes to help."""
    die_on_another_node(run, tmp_path / "bin")
    commits = run.attempt(1, 1, 0).engine(0, 0).commits
    commits.unlink()
    commits.symlink_to(commits.name)
    run.attempt(1, 1, 0).ended.touch()
    assert run_task(run, 0)[0] == 0
    (said,) = [event for event in events(run, "startup") if event["what"] == "unreadable"]
    assert said["why"].startswith("generated again: ") and str(commits) in said["why"]
    commits.unlink()
    assert survey_settled(run).num_done == NUM_ITEMS
