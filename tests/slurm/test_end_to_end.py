"""From submit to a published leaderboard on a real Slurm, with the stub engine and with real vLLM."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import psutil
import pytest

from launch.rundir.journal import read_journal, read_json, write_json
from launch.rundir.layout import RunPaths
from launch.slurm.shared_queue import load_answer
from tests.collect.test_schemas import check_directory
from tests.models import make_tiny_llama
from tests.runs import REPOSITORY, SCENARIOS
from tests.slurm.private_slurm import PrivateSlurm

STUB_WAIT_S = 120.0
VLLM_WAIT_S = 280.0
INVARIANT = ("test_leaderboard.json", "generations.jsonl")


@dataclass(frozen=True)
class Site:
    """A login node of the private Slurm: where a test types its commands."""

    slurm: PrivateSlurm
    home: Path
    checkpoint: Path

    def launch(self, *words: str, code: int = 0, extra: Mapping[str, str] | None = None) -> str:
        """Runs `vllm-launch WORDS` as a user would; what it printed, both streams."""
        environment = {**os.environ, **self.slurm.env, **(extra or {})}
        done = subprocess.run(
            [sys.executable, "-m", "launch.cli.app", *words],
            cwd=self.home,
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{said}\n{self.slurm.logs()}"
        return said

    def submit(
        self, name: str, *words: str, code: int = 0, extra: Mapping[str, str] | None = None
    ) -> RunPaths:
        """Submits a demo dataset on the private Slurm with the stub engine unless told otherwise."""
        self.launch(
            *("submit", "--preset", "quick_test", "--cluster", "slurm", "--name", name),
            *("--checkpoint", str(self.checkpoint), "--data-root", str(SCENARIOS), "--cpus-per-task", "1"),
            *("--set", "resources.merge.partition=cpu", "--set", "resources.merge.mem=null"),
            *("--set", "resources.merge.cpus_per_task=1", "--partition", "gpu", "--time", "10"),
            *words,
            extra=extra,
        )
        return RunPaths(self.home / "outputs" / "runs" / name)

    def wait(self, run: RunPaths, timeout_s: float, submission: int = 1) -> None:
        """Returns when every job of a submission has ended."""
        rows = read_journal(run.submission(submission).jobs)
        ids = [row["job_id"] for row in rows if "job_id" in row]
        assert ids, "no job was sent"
        for job in ids:
            self.slurm.wait(job, timeout_s)

    def log(self, run: RunPaths) -> str:
        """All logs of a run's jobs and engines, for a message."""
        places = [self.home / "slurm_logs" / run.root.name, run.tasks]
        files = [path for place in places for path in sorted(place.rglob("*log"))]
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in files)

    def published(self, run: RunPaths) -> Path:
        """The published directory, which must be there."""
        directory = self.home / "outputs" / "leaderboards" / run.root.name
        assert (directory / "manifest.json").is_file(), self.log(run)
        return directory


@pytest.fixture
def site(slurm: PrivateSlurm, tmp_path: Path) -> Site:
    checkpoint = tmp_path / "model"
    make_tiny_llama(checkpoint)
    return Site(slurm, tmp_path, checkpoint)


def attempts(run: RunPaths, submission: int = 1) -> list[dict[str, Any]]:
    """attempt.json of every attempt, by task and attempt."""
    found = [read_json(path) for path in run.tasks.glob(f"{submission}/*/*/attempt.json")]
    return sorted((each for each in found if each), key=lambda each: (each["task"], each["attempt"]))


def digests(directory: Path) -> dict[str, str]:
    """sha256 of every published file that may not depend on how the work was shared."""
    files = [directory / name for name in INVARIANT] + sorted((directory / "users").iterdir())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_two_and_eight_tasks_publish_the_same_bytes(site: Site) -> None:
    runs = {
        num_tasks: site.submit(
            f"stub-{num_tasks}",
            *("--engine", "stub", "--dataset", "Chameleons", "--limit-items", "null"),
            *("--num-tasks", str(num_tasks)),
        )
        for num_tasks in (1, 2, 8)
    }
    found = {}
    for num_tasks, run in runs.items():
        site.wait(run, STUB_WAIT_S)
        found[num_tasks] = digests(site.published(run))
        assert len(attempts(run)) == num_tasks
    assert found[1] == found[2] == found[8]
    summary = json.loads((site.published(runs[8]) / "inference_summary.json").read_text())
    assert summary["engine"] == "stub" and summary["stub"] is True


def test_with_slurmdbd_it_is_the_same(slurm_with_slurmdbd: PrivateSlurm, tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "model")
    site = Site(slurm_with_slurmdbd, tmp_path, tmp_path / "model")
    run = site.submit(
        "accounted", "--engine", "stub", "--dataset", "DMSC", "--num-tasks", "2", "--limit-items", "20"
    )
    site.wait(run, STUB_WAIT_S)
    assert "20" in site.launch("status", str(run.root))
    assert json.loads((site.published(run) / "manifest.json").read_text())["num_done"] == 20


def test_failed_tasks_are_named_and_resume_completes(site: Site) -> None:
    run = site.submit(
        "broken",
        *("--engine", "stub", "--dataset", "DMSC", "--limit-items", "null", "--num-tasks", "4"),
        extra={"VLLM_LAUNCH_STUB_FAIL": "step:3"},  # each task: a task that fails alone is helped out
    )
    site.wait(run, STUB_WAIT_S)
    assert not (site.home / "outputs" / "leaderboards" / "broken").exists()
    said = site.launch("merge", str(run.root), code=3)
    assert "missing" in said and re.search(r"task \d failed: ", said)  # one that starts late may have no work
    assert "failed" in site.launch("status", str(run.root))
    site.launch("resume", str(run.root))
    site.wait(run, STUB_WAIT_S, submission=2)
    published = json.loads((site.published(run) / "test_leaderboard.json").read_text())
    items = [
        item
        for user in published
        for group in user["task"]["task_behavior_collections"]
        for item in group["data"]
    ]
    assert len(items) == 41 and all(len(item["continuations"]) == 1 for item in items)


def test_cancel_takes_the_merge_job_along_and_resume_is_refused_meanwhile(site: Site) -> None:
    run = site.submit(
        "cancelled",
        *("--engine", "stub", "--dataset", "DMSC", "--limit-items", "null", "--num-tasks", "2"),
        extra={"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "2"},
    )
    assert "still has" in site.launch("resume", str(run.root), code=2)
    said = site.launch("cancel", str(run.root))
    assert "merge" in said and "tasks-0" in said
    site.wait(run, STUB_WAIT_S)
    assert not (site.home / "outputs" / "leaderboards" / "cancelled").exists()


def test_foreground_waits_until_it_is_published(site: Site) -> None:
    words = (
        "--engine",
        "stub",
        "--dataset",
        "DMSC",
        "--limit-items",
        "8",
        "--num-tasks",
        "2",
        "--foreground",
    )
    run = site.submit("foreground", *words)
    assert json.loads((site.published(run) / "manifest.json").read_text())["num_done"] == 8


def test_replace_cancels_what_is_queued_and_sends_the_rest(site: Site) -> None:
    words = ("--engine", "stub", "--dataset", "DMSC", "--limit-items", "null", "--num-tasks", "2")
    run = site.submit("replaced", *words, extra={"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "2"})
    wait_for_commits(run, 0, STUB_WAIT_S, site)
    said = site.launch("resume", str(run.root), "--replace")
    assert "submission  2: " in said and "submission  2: 41 items" not in said
    site.wait(run, STUB_WAIT_S, submission=2)
    assert json.loads((site.published(run) / "manifest.json").read_text())["num_done"] == 41


def test_a_task_refuses_a_checkpoint_that_changed_while_it_was_queued(site: Site) -> None:
    run = site.submit(
        "changed", "--engine", "stub", "--dataset", "DMSC", "--set", "resources.extra_sbatch.hold=true"
    )
    config = site.checkpoint / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps"', '"rms_norm_eps" '))
    for row in read_journal(run.submission(1).jobs):
        if "job_id" in row and row["size"]:
            site.slurm.scontrol("release", row["job_id"])
    site.wait(run, STUB_WAIT_S)
    ended = read_json(run.attempt(1, 0, 0).ended)
    assert ended is not None and ended["failure"]["class"] == "changed"
    assert "(config.json: " in ended["failure"]["message"]


def test_what_a_killed_task_held_is_taken_over_on_slurms_word(site: Site) -> None:
    """Well before its heartbeat is 15 min old: squeue says that it is gone, and another task goes on."""
    run = site.submit(
        "stolen",
        *("--engine", "stub", "--dataset", "DMSC", "--limit-items", "null", "--num-tasks", "2"),
        extra={"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "2.5"},
    )
    job = next(row["job_id"] for row in read_journal(run.submission(1).jobs) if "job_id" in row)
    victim = run.attempt(1, 1, 0)
    for task in (0, 1):
        commits = run.attempt(1, task, 0).engine(0, 0).commits
        wait_until(commits.exists, STUB_WAIT_S, site, run)
    about = read_json(victim.attempt_json)
    assert about is not None and about["slurm"]["SLURM_CLUSTER_NAME"] == "private"
    write_json(
        victim.attempt_json, about | {"host": "n2"}
    )  # all nodes are this host, where pids could be seen
    held = [
        path for path in run.submission(1).claims.glob("*.1") if json.loads(path.read_text())["task"] == 1
    ]
    assert json.loads(held[0].read_text())["job"] == f"{job}_1"
    os.kill(about["pid"], signal.SIGKILL)  # not by scancel: slurmd sends TERM first, and it tells its end
    killed = time.monotonic()
    wait_until(lambda: list(run.submission(1).claims.glob("*.2")), 60.0, site, run)
    assert time.monotonic() - killed < 45.0
    assert not victim.ended.exists()
    answer = load_answer(run.submission(1))
    assert answer is not None and (answer.cluster, answer.error) == ("private", None)
    states = {row.index: row.state for row in answer.rows if row.job == job}
    assert states == {0: "RUNNING", 1: "FAILED"}
    end = next(row.end_time for row in answer.rows if row.job == job and row.index == 0)
    assert end is not None and 400 < end - time.time() < 600, "the end of its time, --time 10"
    site.launch("cancel", str(run.root))
    site.wait(run, STUB_WAIT_S)


def test_a_task_drains_before_its_time_is_over_without_slurms_warning(site: Site) -> None:
    """A setup line makes the shell deaf; 22.05 sets no SLURM_JOB_END_TIME, so squeue has told the end."""
    run = site.submit(
        "unwarned",
        *(
            "--engine",
            "stub",
            "--dataset",
            "DMSC",
            "--limit-items",
            "null",
            "--num-tasks",
            "1",
            "--time",
            "1",
        ),
        *("--signal-lead-s", "45", "--set", 'resources.setup=["trap() { builtin trap -- \\"\\" USR2; }"]'),
        extra={"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "1"},
    )
    first = run.attempt(1, 0, 0)
    wait_until(first.ended.exists, 60.0, site, run)
    ended = read_json(first.ended)
    assert ended is not None and (ended["code"], ended["reason"]) == (75, "drained"), site.log(run)
    assert 0 < ended["counts"]["done"] < 41
    assert ended["ended"] - ended["started"] < 50
    events = [event["event"] for event in read_journal(first.events)]
    assert "walltime" in events and "signal" not in events
    site.launch("cancel", str(run.root))
    site.wait(run, STUB_WAIT_S)


@pytest.mark.engine
def test_four_tasks_of_real_vllm_each_on_its_own_gpu(site: Site) -> None:
    run = site.submit(
        "vllm",
        *(
            "--engine",
            "vllm",
            "--dtype",
            "float32",
            "--dataset",
            "Chameleons",
            "--limit-items",
            "16",
            "--num-tasks",
            "4",
        ),
        *("--max-concurrent", "2", "--max-model-len", "1024", "--set", "resources.extra_sbatch.nodelist=n1"),
        *("--max-num-seqs", "16"),
    )
    site.wait(run, VLLM_WAIT_S)
    published = site.published(run)
    lines = [json.loads(line) for line in (published / "generations.jsonl").read_bytes().splitlines()]
    assert len(lines) == 16
    assert {sample["finish_reason"] for line in lines for sample in line["samples"]} <= {"stop", "length"}
    lives = attempts(run)
    assert [life["task"] for life in lives] == [0, 1, 2, 3]
    assert {tuple(life["gpus"]) for life in lives} == {("0",), ("1",)}
    spans = [read_json(run.attempt(1, life["task"], life["attempt"]).ended) or {} for life in lives]
    for (one, first), (other, second) in combinations(zip(lives, spans, strict=True), 2):
        apart = first["ended"] <= second["started"] or second["ended"] <= first["started"]
        assert apart or one["gpus"] != other["gpus"], "two tasks at once on one GPU"
    assert json.loads((published / "inference_summary.json").read_text())["engine"] == "vllm"
    check_directory(published)


@pytest.mark.engine
def test_usr2_and_then_scancel_in_the_middle_of_real_generation(site: Site) -> None:
    """USR2 drains and the task is requeued; scancel ends it; what is published ended by stop or length."""
    run = site.submit(
        "drained",
        *(
            "--engine",
            "vllm",
            "--dtype",
            "float32",
            "--dataset",
            "Chameleons",
            "--limit-items",
            "null",
            "--num-tasks",
            "1",
        ),
        *("--max-model-len", "2048", "--max-num-seqs", "4", "--max-tokens", "96", "--signal-lead-s", "40"),
        *("--allow-missing", "true"),
    )
    job = next(row["job_id"] for row in read_journal(run.submission(1).jobs) if "job_id" in row)
    wait_for_commits(run, 0, VLLM_WAIT_S, site)
    site.slurm.run("scancel", "--signal=USR2", "--batch", f"{job}_0")
    wait_until(run.attempt(1, 0, 0).ended.exists, 60.0, site, run)
    first = read_json(run.attempt(1, 0, 0).ended)
    assert first is not None and (first["code"], first["reason"]) == (75, "drained"), site.log(run)
    wait_for_commits(run, 1, VLLM_WAIT_S, site)
    processes = site.slurm.processes(job)
    site.slurm.run("scancel", job)
    deadline = time.monotonic() + 30
    while alive := [process for process in processes if not is_gone(process)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.5)
    site.wait(run, STUB_WAIT_S)
    published = site.published(run)
    manifest = json.loads((published / "manifest.json").read_text())
    assert not manifest["complete"] and manifest["num_missing"] > 0
    lines = [json.loads(line) for line in (published / "generations.jsonl").read_bytes().splitlines()]
    done = [line for line in lines if "missing" not in line]
    assert len(done) == manifest["num_done"] > 0
    assert len(lines) - len(done) == manifest["num_missing"]
    assert {sample["finish_reason"] for line in done for sample in line["samples"]} <= {"stop", "length"}


@pytest.mark.engine
def test_nothing_outlives_a_supervisor_that_is_killed(site: Site) -> None:
    """kill -9 of the supervisor in the middle of real generation: engine, core, workers are gone in 10 s."""
    run = site.submit(
        "killed",
        *(
            "--engine",
            "vllm",
            "--dtype",
            "float32",
            "--dataset",
            "Chameleons",
            "--limit-items",
            "null",
            "--num-tasks",
            "1",
        ),
        *("--max-model-len", "1024", "--max-num-seqs", "4", "--max-tokens", "192"),
    )
    wait_for_commits(run, 0, VLLM_WAIT_S, site)
    supervisor = psutil.Process(attempts(run)[0]["pid"])
    below = supervisor.children(recursive=True)
    assert len(below) >= 3, "engine process, engine core and worker were expected"
    supervisor.send_signal(signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, below)), 10.0, site, run)
    site.launch("cancel", str(run.root))
    site.wait(run, STUB_WAIT_S)


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_commits(run: RunPaths, attempt: int, timeout_s: float, site: Site) -> None:
    """Returns when an attempt of task 0 has committed something."""
    path = run.attempt(1, 0, attempt).engine(0, 0).commits
    wait_until(lambda: path.exists() and path.stat().st_size > 0, timeout_s, site, run)


def wait_until(is_true: Any, timeout_s: float, site: Site, run: RunPaths) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, f"{site.log(run)}\n{site.slurm.logs()}"
        time.sleep(0.3)


def test_a_task_that_blames_its_node_goes_on_elsewhere(site: Site) -> None:
    """The first life sees a broken GPU; what the user excluded stays excluded. Setup lines may be strict."""
    broken = 'export VLLM_LAUNCH_STUB_FAIL="raise:uncorrectable ECC error"'
    setup = json.dumps(["set -eu", f"[[ ${{SLURM_RESTART_COUNT:-0}} != 0 ]] || {broken}"])
    kept = site.slurm.spec.node_names[-1]
    run = site.submit(
        "elsewhere",
        *("--engine", "stub", "--dataset", "DMSC", "--limit-items", "20", "--num-tasks", "1"),
        *("--set", f"resources.setup={setup}", "--set", f"resources.extra_sbatch.exclude={kept}"),
    )
    site.wait(run, STUB_WAIT_S)
    summary = json.loads((site.published(run) / "inference_summary.json").read_text())
    assert [(step["class"], step["action"]) for step in summary["ladder"]] == [("device_fault", "elsewhere")]
    first, second = (each["slurm"]["SLURM_JOB_NODELIST"] for each in attempts(run))
    assert first != second, site.log(run)
    assert run.excluded(1, 0).read_text() == f"{first}\n"
    job = next(row["job_id"] for row in read_journal(run.submission(1).jobs) if "job_id" in row)
    told = site.slurm.scontrol("show", "job", f"{job}_0")
    (excluded,) = re.findall(r"ExcNodeList=(\S+)", told)
    assert set(site.slurm.scontrol("show", "hostnames", excluded).split()) == {first, kept}


def test_two_attempts_on_bad_nodes_are_the_last(slurm_with_slurmdbd: PrivateSlurm, tmp_path: Path) -> None:
    """Two nodes, both bad: the second attempt without a commit is the last."""
    make_tiny_llama(tmp_path / "model")
    site = Site(slurm_with_slurmdbd, tmp_path, tmp_path / "model")
    run = site.submit(
        "nowhere",
        *("--engine", "stub", "--dataset", "DMSC", "--limit-items", "20", "--num-tasks", "1"),
        extra={"VLLM_LAUNCH_STUB_FAIL": "raise:uncorrectable ECC error"},
    )
    site.wait(run, STUB_WAIT_S)
    found = [read_json(run.attempt(1, 0, number).ended) or {} for number in range(2)]
    assert [each["code"] for each in found] == [75, 1]
    assert found[1]["failure"]["class"] == "no_progress"
    assert len(attempts(run)) == 2
