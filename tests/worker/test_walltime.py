"""A task keeps its time when Slurm's warning never comes; a late one ends at once. Real supervisors.

The end of the time is told by the controller's clock, which is ten minutes off from here. However many tasks
ask, squeue is called once in 30 s and scontrol once.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from launch.errors import StorageError
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.slurm.shared_queue import SHARED_FOR_S, load_answer
from launch.worker.stop_order import Asked, StopOrder
from launch.worker.walltime import Walltime
from tests.worker.build_run import build_run
from tests.worker.tasks import ended, events, finish, num_committed, run_task, start_task

JOB = {
    "SLURM_ARRAY_JOB_ID": "12",
    "SLURM_ARRAY_TASK_ID": "0",
    "SLURM_CLUSTER_NAME": "big",
    "SLURMD_NODENAME": "n1",
}
ON_SLURM: dict[str, Any] = {"scheduler": "slurm", "signal_lead_s": 10}
NOW = 1_800_000_000.0


def fake_squeue(folder: Path, *states: tuple[str, str], ahead_s: float = 0.0) -> dict[str, str]:
    """An environment in which squeue says of task 12_0 a (state, end) per call, the last from then on.

    The controller's clock is `ahead_s` ahead, which only scontrol tells.
    """
    folder.mkdir(parents=True)
    for number, (state, end) in enumerate(states, 1):
        (folder / f"answer.{number}").write_text(f"12_0|demo|{state}|None|n1|{end}\n")
    (folder / "squeue").write_text(
        f'#!/bin/bash\ncd "{folder}"\necho squeue >>calls\nnumber=$(grep -c squeue calls)\n'
        f"((number > {len(states)})) && number={len(states)}\ncat answer.$number\n"
    )
    write_scontrol(folder, config(ahead_s))
    (folder / "squeue").chmod(0o755)
    return {**JOB, "PATH": f"{folder}:{os.environ['PATH']}"}


def write_scontrol(folder: Path, text: str) -> None:
    (folder / "scontrol").write_text(f'#!/bin/bash\necho scontrol >>"{folder}/calls"\n{text}\n')
    (folder / "scontrol").chmod(0o755)


def config(ahead_s: float) -> str:
    """What scontrol does for a controller whose clock is that far ahead."""
    return f"printf 'Configuration data as of %(%FT%T)T\\n' $(($(date +%s) + {ahead_s:.0f}))"


def calls(folder: Path) -> list[str]:
    """The commands that were called, in order."""
    return (folder / "calls").read_text().split()


def make_run(folder: Path) -> RunPaths:
    """A run of which nothing is there but submission 1."""
    run = RunPaths(folder)
    run.submission(1).root.mkdir(parents=True)
    return run


def look_again(walltime: Walltime) -> None:
    """As if its pause were over, and the 30 s of the answer that is there."""
    path = walltime._paths.queue
    answer = load_answer(walltime._paths)
    if answer is not None:
        path.write_text(path.read_text().replace(str(answer.asked), str(answer.asked - SHARED_FOR_S)))
    walltime._next_look = 0.0
    walltime.look()


def slurm_time(after_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + after_s))


@pytest.mark.process
def test_a_task_finishes_before_its_time_is_over_though_no_signal_comes(tmp_path: Path):
    """Its node's clock is ten minutes behind: by it there would be ten minutes more."""
    run = build_run(tmp_path, num_users=40, items_per_user=10, resources=ON_SLURM)
    environment = fake_squeue(tmp_path / "bin", ("RUNNING", slurm_time(616)), ahead_s=600)
    code, _ = run_task(run, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.2", **environment)
    assert code == 75
    end = ended(run)
    assert (end["reason"], end["failure"]) == ("drained", None)
    assert 0 < end["counts"]["done"] == num_committed(run) < 400
    assert [event["asked"] for event in events(run, "walltime")] == ["drain"]
    assert events(run, "signal") == [] and end["ended"] - end["started"] < 16
    assert calls(tmp_path / "bin") == ["squeue", "scontrol"]


@pytest.mark.process
def test_a_variable_that_tells_is_believed_whatever_squeue_says(tmp_path: Path):
    """Its node's clock is ten minutes ahead: by it the time was over before the task began."""
    run = build_run(tmp_path, num_users=40, items_per_user=10, resources=ON_SLURM)
    environment = fake_squeue(tmp_path / "bin", ("RUNNING", "NONE"), ahead_s=-600)
    environment["SLURM_JOB_END_TIME"] = str(int(time.time() - 600 + 20))
    code, _ = run_task(run, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.2", **environment)
    assert (code, ended(run)["reason"]) == (75, "drained")
    (event,) = events(run, "walltime")
    assert event["left_s"] == pytest.approx(5, abs=1) and ended(run)["counts"]["done"] > 5
    assert calls(tmp_path / "bin") == ["squeue", "scontrol"]


@pytest.mark.process
def test_a_squeue_that_hangs_holds_nothing_up_for_long(tmp_path: Path):
    run = build_run(tmp_path, resources=ON_SLURM)
    environment = fake_squeue(tmp_path / "bin", ("RUNNING", "NONE"))
    (tmp_path / "bin" / "squeue").write_text("#!/bin/bash\nexec sleep 60\n")
    started = time.monotonic()
    assert run_task(run, **environment)[0] == 0
    assert time.monotonic() - started < 15
    assert survey_settled(run).num_done == 12


def test_it_is_asked_again_until_the_task_is_seen_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    variables = fake_squeue(tmp_path / "bin", ("PENDING", "N/A"), ("RUNNING", "2026-01-02T03:04:05"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    walltime = Walltime(make_run(tmp_path / "run"), 1, on_slurm=True)
    walltime.look()
    walltime.look()  # not due yet
    assert (walltime.end, calls(tmp_path / "bin")) == (None, ["squeue", "scontrol"])
    look_again(walltime)
    there = time.mktime((2026, 1, 2, 3, 4, 5, -1, -1, -1))
    assert walltime.end is not None and ends_at(walltime) == pytest.approx(there, abs=1)
    look_again(walltime)
    assert calls(tmp_path / "bin") == ["squeue", "scontrol", "squeue"]


def ends_at(walltime: Walltime) -> float:
    """The end by this host's clock."""
    assert walltime.end is not None
    return walltime.end - time.monotonic() + time.time()


@pytest.mark.parametrize("ahead_s", [-600, 0, 600])
def test_an_end_is_told_by_the_controllers_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
):
    variables = fake_squeue(tmp_path / "bin", ("RUNNING", "NONE"), ahead_s=ahead_s)
    monkeypatch.setenv("PATH", variables["PATH"])
    here = time.time() + 3600
    told = JOB | {"SLURM_JOB_END_TIME": str(int(here + ahead_s))}
    walltime = Walltime(make_run(tmp_path / "run"), 1, told, on_slurm=True)
    walltime.look()
    assert ends_at(walltime) == pytest.approx(here, abs=2)


@pytest.mark.parametrize("is_told", [False, True])
def test_all_tasks_of_a_submission_ask_scontrol_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_told: bool
):
    """Whether Slurm tells the end by a variable or by squeue."""
    folder = tmp_path / "bin"
    variables = fake_squeue(folder, ("RUNNING", slurm_time(4200)), ahead_s=600)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    rows = "".join(rf"12_{task}|demo|RUNNING|None|n1|{slurm_time(4200)}\n" for task in range(50))
    (folder / "squeue").write_text(f'#!/bin/bash\necho squeue >>"{folder}/calls"\nprintf "{rows}"\n')
    end = {"SLURM_JOB_END_TIME": str(int(time.time() + 4200))} if is_told else {}
    run = make_run(tmp_path / "run")
    for task in range(50):
        walltime = Walltime(run, 1, {**JOB, "SLURM_ARRAY_TASK_ID": str(task), **end}, on_slurm=True)
        look_again(walltime) if task == 25 else walltime.look()
        assert ends_at(walltime) == pytest.approx(time.time() + 3600, abs=2)
    assert calls(folder) == ["squeue", "scontrol", "squeue"]


def test_an_end_is_kept_by_the_file_systems_clock_where_nodes_are_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One node asked and its clock was ten minutes ahead; this one's is ten minutes behind."""
    monkeypatch.setenv("PATH", fake_squeue(tmp_path / "bin", ("RUNNING", "NONE"), ahead_s=60)["PATH"])
    run, here, now = make_run(tmp_path / "run"), time.time(), time.monotonic()
    for off_s in (600, -600):
        monkeypatch.setattr(time, "time", lambda off_s=off_s: here + off_s)
        walltime = Walltime(run, 1, JOB | {"SLURM_JOB_END_TIME": str(int(here + 3660))}, on_slurm=True)
        walltime.look()
        assert walltime.end == pytest.approx(now + 3600, abs=2)


def test_another_clusters_controller_tells_nothing_of_our_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Somebody looked from there, where the same number is another job's."""
    monkeypatch.setenv(
        "PATH", fake_squeue(tmp_path / "bin", ("RUNNING", slurm_time(99)), ahead_s=600)["PATH"]
    )
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    write_scontrol(tmp_path / "bin", f"{config(600)}\necho 'ClusterName = small'")
    walltime = Walltime(make_run(tmp_path / "run"), 1, JOB, on_slurm=True)
    walltime.look()
    assert (walltime.end, calls(tmp_path / "bin")) == (None, ["squeue", "scontrol"])


@pytest.mark.parametrize(
    "said", ["exit 1", "echo 'Configuration of today'", "echo 'Configuration data as of x'"]
)
def test_a_controller_that_does_not_tell_the_time_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
):
    """Until then the end is by this node's clock."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", fake_squeue(folder, ("RUNNING", "NONE"))["PATH"])
    write_scontrol(folder, said)
    here = time.time() + 3600
    told = JOB | {"SLURM_JOB_END_TIME": str(int(here))}
    walltime = Walltime(make_run(tmp_path / "run"), 1, told, on_slurm=True)
    walltime.look()
    assert ends_at(walltime) == pytest.approx(here, abs=2)
    write_scontrol(folder, config(600))
    walltime.look()  # not due yet
    assert ends_at(walltime) == pytest.approx(here, abs=2)
    look_again(walltime)
    assert ends_at(walltime) == pytest.approx(here - 600, abs=2)


def test_while_another_asks_first_no_clock_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All tasks of an array begin together, and a node whose clock is ahead must not end its task at once."""
    monkeypatch.setenv("PATH", fake_squeue(tmp_path / "bin")["PATH"])
    run, here = make_run(tmp_path / "run"), time.time() + 3600
    run.submission(1).asking(1).touch()
    walltime = Walltime(run, 1, JOB | {"SLURM_JOB_END_TIME": str(int(here))}, on_slurm=True)
    walltime.look()
    assert walltime.end is None and not (tmp_path / "bin" / "calls").exists()
    look_again(walltime)
    assert ends_at(walltime) == pytest.approx(here, abs=2)


def test_a_run_directory_that_is_in_trouble_tells_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The end is then by this node's clock, and looked at again."""
    monkeypatch.setenv("PATH", fake_squeue(tmp_path / "bin", ("RUNNING", "NONE"), ahead_s=600)["PATH"])
    run, here = make_run(tmp_path / "run"), time.time() + 3600
    told = JOB | {"SLURM_JOB_END_TIME": str(int(here + 600))}
    Walltime(run, 1, told, on_slurm=True).look()

    def refuse(_: Path) -> float:
        raise StorageError("the disk is full")

    with monkeypatch.context() as trouble:
        trouble.setattr("launch.worker.walltime.filesystem_now", refuse)
        walltime = Walltime(run, 1, told, on_slurm=True)
        walltime.look()
    assert ends_at(walltime) == pytest.approx(here + 600, abs=2)
    look_again(walltime)
    assert ends_at(walltime) == pytest.approx(here, abs=2)


def test_without_slurm_a_variable_of_some_other_job_means_nothing(tmp_path: Path):
    variables = {**JOB, "SLURM_JOB_END_TIME": "1800000000"}
    walltime = Walltime(RunPaths(tmp_path), 1, variables, on_slurm=False)
    walltime.look()
    assert walltime.end is None


def order(tmp_path: Path, end: float, lead_s: float = 120) -> StopOrder:
    walltime = Walltime(RunPaths(tmp_path), 1, {}, on_slurm=True)
    walltime.end = end
    return StopOrder(lead_s, walltime)


def test_the_end_of_the_time_is_an_order_by_itself_and_only_once(tmp_path: Path):
    known = order(tmp_path, NOW + 600)
    assert known.warn_at == NOW + 480
    assert known.keep_time(NOW + 479) is Asked.NOTHING
    assert known.keep_time(NOW + 480) is Asked.DRAIN
    assert known.deadline == NOW + 585
    assert known.keep_time(NOW + 481) is Asked.NOTHING
    assert known.warn_at is None


def test_a_time_shorter_than_the_lead_leaves_what_there_is(tmp_path: Path):
    short = order(tmp_path, NOW + 60)
    assert short.keep_time(NOW) is Asked.DRAIN
    assert short.deadline == NOW + 45
    over = order(tmp_path, NOW - 60)
    assert over.keep_time(NOW) is Asked.DRAIN
    assert over.deadline == NOW + 5


@pytest.mark.process
def test_a_task_that_comes_when_all_is_done_starts_no_engine_and_ends_within_3_s(tmp_path: Path):
    run = build_run(tmp_path, num_tasks=4)
    assert run_task(run, 0)[0] == 0
    took = []
    for task in (1, 2, 3):  # the least of three: other tests compute beside them
        started = time.monotonic()
        assert finish(start_task(run, task))[0] == 0
        took.append(time.monotonic() - started)
        assert (ended(run, task=task)["reason"], ended(run, task=task)["slots"]) == ("empty", [])
    assert min(took) < 3.0
    files = {path.name for path in run.attempt(1, 1, 0).root.iterdir()}
    assert files == {"attempt.json", "events.jsonl", "heartbeat", "ended.json"}
