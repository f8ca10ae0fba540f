"""Two merges of a run are kept apart, and a dead one is no obstacle."""

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from launch.collect.manifest import read_published
from launch.collect.merge import merge
from launch.collect.merge_claim import MergeClaim
from launch.errors import RunError
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from tests.collect.builders import make_generations, published, write_results

LONG_AGO_S = 16 * 60


def claim_by(run: RunPaths, host: str, pid: int, started: float, *, age_s: float = 0) -> None:
    run.merge.mkdir(exist_ok=True)
    path = run.merge / "1"
    write_json(path, {"host": host, "pid": pid, "started": started})
    os.utime(path, (time.time() - age_s, time.time() - age_s))


def test_a_living_merge_is_waited_for(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    with (
        MergeClaim(run),
        pytest.raises(RunError, match=rf"another merge is at work, process {os.getpid()} on"),
    ):
        merge(run)
    assert merge(run).is_new


def test_a_merge_job_waits_for_a_merge_by_hand_and_publishes_what_that_one_did_not_see(run: RunPaths) -> None:
    """Nobody repeats a merge job: refused, it would leave a run whole and never published."""
    write_results(run, make_generations(run))
    words = [sys.executable, "-m", "launch.cli.app", "merge", str(run.root), "--after", "1"]
    with MergeClaim(run):
        job = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert job.stderr is not None
        assert "waits, because" in next(line for line in job.stderr if "another merge is at work" in line)
        assert job.poll() is None
        assert not published(run).exists()
    assert job.communicate(timeout=60) and job.returncode == 0
    assert read_published(published(run)) is not None


def test_a_merge_on_another_host_lives_while_it_beats(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    claim_by(run, "elsewhere", 1, 0.0, age_s=60)
    with pytest.raises(RunError, match="process 1 on elsewhere"):
        merge(run)
    claim_by(run, "elsewhere", 1, 0.0, age_s=LONG_AGO_S)
    assert merge(run).is_new
    assert (run.merge / "2.done").exists()


def test_a_process_that_is_gone_holds_nothing(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    claim_by(run, socket.gethostname(), child.pid, time.time())
    assert merge(run).is_new


def test_another_process_of_the_same_number_holds_nothing(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    started = psutil.Process(os.getppid()).create_time()
    claim_by(run, socket.gethostname(), os.getppid(), started)
    with pytest.raises(RunError, match="another merge is at work"):
        merge(run)
    claim_by(run, socket.gethostname(), os.getppid(), started - 1000)
    assert merge(run).is_new


def test_an_empty_claim_is_nobodys_after_a_minute(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    run.merge.mkdir()
    (run.merge / "1").touch()
    with pytest.raises(RunError, match="which has just begun"):
        merge(run)
    os.utime(run.merge / "1", (time.time() - 61, time.time() - 61))
    assert merge(run).is_new


def test_a_merge_taken_for_dead_stops_before_it_publishes(run: RunPaths) -> None:
    with MergeClaim(run) as claim:
        claim.check()
        (run.merge / "2").touch()
        with pytest.raises(RunError, match="another merge has taken over"):
            claim.check()


def test_a_claim_beats(run: RunPaths) -> None:
    with MergeClaim(run) as claim:
        os.utime(run.merge / "1", (0, 0))
        claim.beat()
        first = (run.merge / "1").stat().st_mtime
        os.utime(run.merge / "1", (0, 0))
        claim.beat()
        assert first > 0
        assert (run.merge / "1").stat().st_mtime == 0
