"""Nodes whose clocks are ten minutes apart, and a shared file system that shows files late: nothing is lost.

Real tasks, each in a world of its own (distorted/sitecustomize.py): two nodes see the same run directory.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from launch.collect import unseen
from launch.collect.merge import merge
from launch.collect.unseen import find_unseen
from launch.rundir.journal import read_journal
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import list_submissions
from tests.cli.commands import finish as finish_command
from tests.cli.commands import start, vllm_launch
from tests.local_submit import digests
from tests.worker.build_run import build_run
from tests.worker.tasks import ROOT, finish, num_committed, run_tasks, start_task, wait_until

pytestmark = pytest.mark.process

WORLD = Path(__file__).with_name("distorted")
SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.25"}
VIEW_S = 2.0
NUM_ITEMS = 48


def world(**settings: object) -> dict[str, str]:
    """The environment of a node with a clock or a view of its own."""
    paths = [str(WORLD), str(ROOT)]
    return {"PYTHONPATH": os.pathsep.join(paths)} | {name: str(value) for name, value in settings.items()}


def old_view(run: RunPaths, client: str, view_s: float = VIEW_S) -> dict[str, str]:
    """That of a client that sees the run so many seconds late."""
    settings = {"VIEW_S": view_s, "ROOT": run.root, "CLIENT": client, "LOG": log_of(run)}
    settings["SINCE"] = log_of(run).with_suffix(".since").stat().st_mtime
    return world(**{f"DISTORTED_{name}": value for name, value in settings.items()})


def log_of(run: RunPaths) -> Path:
    return run.root.parent / "clients.log"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what one undisturbed task publishes."""
    run = build_run(tmp_path_factory.mktemp("whole"), num_users=12, items_per_user=4)
    run_tasks(run, 1, [None])
    return digests(merge(run).output_dir)


def build(root: Path, **resources: Any) -> RunPaths:
    """A run of two tasks, job 12 where it is Slurm's; what is there by now was there long ago."""
    run = build_run(root, num_users=12, items_per_user=4, num_tasks=2, resources=resources)
    row = {"name": "tasks-0", "job_name": "demo", "offset": 0, "size": 2, "cluster": "big", "job_id": "12"}
    run.submission(1).jobs.write_text(json.dumps(row) + "\n")
    time.sleep(0.05)  # file systems tell the time in steps
    log_of(run).with_suffix(".since").touch()
    return run


def num_lines(run: RunPaths) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in run.tasks.rglob("*.results.jsonl"))


def test_clocks_ten_minutes_apart(tmp_path: Path, expected: dict[str, str]) -> None:
    run = build(tmp_path)
    tasks = [
        start_task(run, task, **SLOW, **world(DISTORTED_CLOCK_S=ahead_s))
        for task, ahead_s in ((0, 600), (1, -600))
    ]
    wait_until(lambda: all(num_committed(run, task) for task in (0, 1)), "commits of both")
    said = vllm_launch("status", run.root, "--json", cwd=tmp_path)
    shown = json.loads(said.out)["submissions"][0]["tasks"]
    assert [task["state"] for task in shown] == ["running", "running"]
    assert all(0 <= task["heartbeat_age_s"] < 60 for task in shown)
    refused = vllm_launch("resume", run.root, cwd=tmp_path)
    assert "submission 1 still works on task 0, 1" in refused.errors[0]
    assert [finish(task) for task in tasks] == [(0, ""), (0, "")]
    assert num_lines(run) == NUM_ITEMS and list(run.submission(1).claims.glob("*.2")) == []
    published = merge(run).output_dir
    assert digests(published) == expected
    summary = json.loads((published / "inference_summary.json").read_bytes())
    assert 0 < summary["inference_time_seconds"] < 60
    now = time.time()
    times = [row["time"] for row in read_journal(published / "provenance.jsonl")]
    assert all(now - 120 < each <= now + 1 for each in times)


def test_a_view_that_is_seconds_old(tmp_path: Path, expected: dict[str, str]) -> None:
    run = build(tmp_path)
    tasks = [start_task(run, task, **SLOW, **old_view(run, f"n{task}")) for task in (0, 1)]
    assert [finish(task) for task in tasks] == [(0, ""), (0, "")]
    assert num_lines(run) == NUM_ITEMS, "a chunk was claimed by both"
    late = start("merge", run.root, cwd=tmp_path, **old_view(run, "login", 3600.0))
    said = finish_command(late)
    assert said.code == 3 and f"{NUM_ITEMS} of {NUM_ITEMS} items are missing" in said.errors[0]
    assert not (tmp_path / "leaderboards").exists()
    assert digests(merge(run).output_dir) == expected


def test_a_merge_job_waits_for_what_slurm_calls_completed(tmp_path: Path, expected: dict[str, str]) -> None:
    """Else it would send every item again that it does not see yet."""
    run = build(tmp_path, scheduler="slurm", signal_lead_s=10)
    folder = tmp_path / "bin"
    folder.mkdir()
    squeue = "".join(f"12_{task}|demo|COMPLETED|None|n1|NONE\\n" for task in (0, 1))
    for name, text in {"squeue": f"printf '{squeue}'", "scontrol": "exit 1", "sacct": "exit 1"}.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    tasks = [start_task(run, task, **path, **old_view(run, f"n{task}")) for task in (0, 1)]
    assert [finish(task) for task in tasks] == [(0, ""), (0, "")]
    job = start("merge", run.root, "--after", "1", cwd=tmp_path, **path, **old_view(run, "login", 3600.0))
    assert job.stderr is not None
    told = "note: Slurm says that task 0 has completed: not all of that is to be seen yet; looks again for"
    assert job.stderr.readline().startswith(told)
    assert list_submissions(run) == [1] and not (tmp_path / "leaderboards").exists()
    Path(f"{log_of(run)}.seen").touch()
    assert finish_command(job).code == 0
    assert list_submissions(run) == [1]
    assert digests(tmp_path / "leaderboards" / "run") == expected


def test_what_was_reported_long_ago_is_not_waited_for(tmp_path: Path) -> None:
    run = build(tmp_path)
    run_tasks(run, 1, [None])
    (results,) = run.tasks.glob("1/0/0/*.results.jsonl")
    assert find_unseen(run) is None
    os.truncate(results, 100)
    assert survey_settled(run).num_missing > 0
    assert find_unseen(run) == "chunk 0 was reported done"
    for path in run.submission(1).claims.glob("*.done"):
        os.utime(path, (path.stat().st_mtime - 100,) * 2)
    assert find_unseen(run) is None


def test_nobody_waits_longer_than_a_file_can_be_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build(tmp_path)
    run_tasks(run, 1, [None])
    (results,) = run.tasks.glob("1/0/0/*.results.jsonl")
    os.truncate(results, 100)
    monkeypatch.setattr(unseen, "VISIBLE_S", 1.0)
    monkeypatch.setattr(unseen, "LOOK_AGAIN_S", 0.1)
    said: list[str] = []
    started = time.monotonic()
    unseen.wait_until_seen(run, said.append)
    assert 0.2 < time.monotonic() - started < 10
    assert said == ["chunk 0 was reported done: not all of that is to be seen yet; looks again for up to 1 s"]
