"""Merge jobs that send what is missing again, on a real Slurm."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from launch.rundir.journal import read_journal
from launch.rundir.layout import RunPaths
from tests.models import make_tiny_llama
from tests.slurm.private_slurm import PrivateSlurm
from tests.slurm.test_end_to_end import STUB_WAIT_S, Site, attempts

SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.2"}
WORK = ("--engine", "stub", "--dataset", "DMSC", "--limit-items", "24", "--num-tasks", "2")


@pytest.fixture
def site(slurm: PrivateSlurm, tmp_path: Path) -> Site:
    make_tiny_llama(tmp_path / "model")
    return Site(slurm, tmp_path, tmp_path / "model")


def kill_tasks(run: RunPaths, num_tasks: int, num_killed: int | None = None) -> None:
    """Kills batch shell and supervisor of tasks, of all unless told, once they run: FAILED, says Slurm."""
    deadline = time.monotonic() + STUB_WAIT_S
    while len(attempts(run)) < num_tasks or not any(
        path.stat().st_size for path in run.tasks.glob("*/*/*/*.commits.jsonl")
    ):
        assert time.monotonic() < deadline, "the tasks did not start"
        time.sleep(0.1)
    for attempt in attempts(run)[:num_killed]:
        with contextlib.suppress(psutil.NoSuchProcess):  # one may have helped the other out of all its work
            supervisor = psutil.Process(attempt["pid"])
            for process in (supervisor.parent(), supervisor):
                assert process is not None
                process.send_signal(signal.SIGKILL)


def wait_for_round(site: Site, run: RunPaths, submission: int) -> None:
    """Returns when a submission that a merge job opens has ended."""
    deadline = time.monotonic() + STUB_WAIT_S
    while not any(
        "job_id" in row and not row["size"] for row in read_journal(run.submission(submission).jobs)
    ):
        assert time.monotonic() < deadline, site.log(run)
        time.sleep(0.2)
    site.wait(run, STUB_WAIT_S, submission)


def test_what_was_lost_is_sent_again_and_published_without_anybody(site: Site) -> None:
    run = site.submit("lost", *WORK, extra=SLOW)
    kill_tasks(run, 2)
    site.wait(run, STUB_WAIT_S)
    wait_for_round(site, run, 2)
    site.published(run)
    (decision,) = read_journal(run.submission(1).rounds)
    assert decision["sends"] and re.search(
        r"\((2 tasks|task \d): ended without a word\)$", str(decision["why"])
    )
    num_missing = int(decision["num_missing"])
    assert 0 < num_missing < 24  # what was settled before is not generated again
    assert f"num_items: {num_missing}" in run.submission(2).submission_yaml.read_text()
    assert "round: 1" in run.submission(2).submission_yaml.read_text()
    said = site.log(run)
    assert f"round       1 of 3: {num_missing} items are missing" in said
    assert "submission 2, sent by a merge job in round 1" in site.launch("status", str(run.root))


def test_a_configuration_error_is_not_sent_again(site: Site) -> None:
    run = site.submit("wrong", *WORK, extra={"VLLM_LAUNCH_STUB_FAIL": "start"})
    site.wait(run, STUB_WAIT_S)
    assert "no further round: 24 items are missing, and no reason for it passes by itself" in site.log(run)
    assert "no further round: 24 items" in " ".join(site.launch("status", str(run.root)).split())
    assert not run.submission(2).root.exists()


def test_a_cancelled_task_is_not_sent_again(site: Site) -> None:
    run = site.submit("scancel", *WORK, extra={"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "2"})
    array = next(row["job_id"] for row in read_journal(run.submission(1).jobs) if "job_id" in row)
    deadline = time.monotonic() + STUB_WAIT_S
    while len(attempts(run)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    subprocess.run(["scancel", str(array)], env={**os.environ, **site.slurm.env}, check=True)
    site.wait(run, STUB_WAIT_S)
    assert "no further round:" in site.log(run) and "2 tasks: cancelled" in site.log(run)
    assert not run.submission(2).root.exists()


def test_what_the_canary_stopped_is_not_sent_again_although_a_task_was_lost(site: Site) -> None:
    """A lost task alone would bring a round."""
    strict = ("--max-tokens", "1", "--max-cut-rate", "0.1", "--canary", "stop", "--canary-items", "12")
    work = ("--engine", "stub", "--dataset", "Chameleons", "--limit-items", "60", "--num-tasks", "2")
    run = site.submit("canary", *work, *strict, extra=SLOW)
    kill_tasks(run, 2, num_killed=1)
    site.wait(run, STUB_WAIT_S)
    (decision,) = read_journal(run.submission(1).rounds)
    assert not decision["sends"] and "for the canary stopped the run: of the first 12" in decision["why"]
    assert "no further round:" in site.log(run) and not run.submission(2).root.exists()
    assert "stopped by its canary" in " ".join(site.launch("status", str(run.root)).split())


def test_follow_ups_queued_where_nodes_may_not_call_sbatch(site: Site) -> None:
    queued = ("--set", "resources.sbatch_on_nodes=false", "--set", "resources.max_rounds=2")
    run = site.submit("queued", *WORK, *queued, extra=SLOW)
    names = [row["name"] for row in read_journal(run.submission(1).jobs) if "job_id" in row]
    assert names == ["tasks-0", "merge", "tasks-0.r1", "merge.r1", "tasks-0.r2", "merge.r2"]
    kill_tasks(run, 2)
    site.wait(run, 2 * STUB_WAIT_S)
    site.published(run)
    (decision,) = read_journal(run.submission(1).rounds)
    assert decision["sends"] and decision["round"] == 0
    assert {each["attempt"] for each in attempts(run)} >= {0, 1}
    assert not run.submission(2).root.exists()


def test_arrays_one_after_another_with_follow_ups_queued(site: Site) -> None:
    """The second array takes over when the task of the first was killed; status and cancel know them all."""
    queued = ("--set", "resources.sbatch_on_nodes=false", "--set", "resources.max_rounds=1")
    chained = ("--set", "resources.max_array_size=1", "--max-concurrent", "1")
    run = site.submit("chained", *WORK, *queued, *chained, extra=SLOW)
    kill_tasks(run, 1)
    assert "Dependency: waits for other jobs of this run to end" in " ".join(
        site.launch("status", str(run.root)).split()
    )
    site.wait(run, 2 * STUB_WAIT_S)
    site.published(run)
    in_order = sorted(attempts(run), key=lambda each: each["started"])
    assert [(each["task"], each["attempt"]) for each in in_order][:2] == [(0, 0), (1, 0)]

    run = site.submit("cancelled", *WORK, *queued, *chained, extra=SLOW)
    site.launch("cancel", str(run.root))
    site.wait(run, STUB_WAIT_S)
    assert {each["task"] for each in attempts(run)} <= {0}
