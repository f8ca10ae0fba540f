"""Two merges of a run are kept apart, and a dead one is no obstacle."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launch.collect.manifest import read_published
from launch.collect.merge import merge
from launch.collect.merge_claim import MergeBusyError, MergeClaim
from launch.collect.verify import verify_published
from launch.errors import RunError
from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import ProcessMark, mark_process
from tests.collect.builders import make_generations, published, same_bytes, write_results

LONG_AGO_S = 16 * 60


ELSEWHERE = ProcessMark("elsewhere", 1, 1, "another boot", 1)


def claim_by(run: RunPaths, process: ProcessMark, *, age_s: float = 0, **more: str) -> None:
    run.merge.mkdir(exist_ok=True)
    path = run.merge / "1"
    write_json(path, process.as_json() | more)
    os.utime(path, (time.time() - age_s, time.time() - age_s))


def test_a_living_merge_is_waited_for(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    with (
        MergeClaim(run),
        pytest.raises(RunError, match=rf"another merge is at work, process {os.getpid()} on"),
    ):
        merge(run)
    assert merge(run).is_new


@pytest.mark.process
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
    claim_by(run, ELSEWHERE, age_s=60)
    with pytest.raises(RunError, match="process 1 on elsewhere"):
        merge(run)
    claim_by(run, ELSEWHERE, age_s=LONG_AGO_S)
    assert merge(run).is_new
    assert (run.merge / "2.done").exists()


def test_a_process_that_is_gone_holds_nothing(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = mark_process(child.pid)
    child.communicate()
    claim_by(run, mark)
    assert merge(run).is_new


def test_another_process_of_the_same_number_holds_nothing(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    parent = mark_process(os.getppid())
    claim_by(run, parent)
    with pytest.raises(RunError, match="another merge is at work"):
        merge(run)
    claim_by(run, replace(parent, ticks=(parent.ticks or 0) - 100))
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


MERGE_THAT_STOPS = """
import os, signal, sys
from pathlib import Path
import launch.collect.merge as merging
from launch.cli.app import main

def stopped(call):
    def stop(*args):
        value = call(*args)
        os.kill(os.getpid(), signal.SIGSTOP)
        return value
    return stop

name = sys.argv.pop(1)
setattr(merging, name, stopped(getattr(merging, name)))
main()
"""


@pytest.fixture
def stopped_merge(run: RunPaths) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a merge that is stopped, as by Ctrl-Z, behind the call of this name."""
    merges: list[subprocess.Popen[str]] = []

    def start(behind: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", MERGE_THAT_STOPS, behind, "merge", str(run.root)]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        merges.append(process)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        return process

    yield start
    for process in merges:
        process.kill()
        process.communicate()


@pytest.mark.process
def test_a_merge_that_is_stopped_here_holds_the_run_however_long(
    run: RunPaths, stopped_merge: Callable[[str], subprocess.Popen[str]]
) -> None:
    """Ctrl-Z, a merge in another shell, then fg: both are told what is so, and the first one publishes."""
    write_results(run, make_generations(run))
    first = stopped_merge("open_partial")
    os.utime(run.merge / "1", (time.time() - LONG_AGO_S, time.time() - LONG_AGO_S))
    with pytest.raises(MergeBusyError) as refused:
        merge(run, assume_dead=True)
    assert str(refused.value) == (
        f"{run.root}: another merge is at work, process {first.pid} on {socket.gethostname()}. It is stopped:"
        f" let it go on (`fg` in its shell, or `kill -CONT {first.pid}`), or end it"
        f" (`kill -KILL {first.pid}`)."
    )
    first.send_signal(signal.SIGCONT)
    assert first.communicate(timeout=60)[1] == "" and first.returncode == 0
    assert verify_published(published(run)).is_whole
    assert not merge(run).is_new


@pytest.mark.process
@pytest.mark.parametrize("behind", ["open_partial", "_write", "write_damage", "check_complete"])
def test_a_merge_taken_for_dead_is_told_so_and_touches_nothing_of_its_successor(
    run: RunPaths, stopped_merge: Callable[[str], subprocess.Popen[str]], behind: str
) -> None:
    """As on another host: nobody there can tell that a process lives that has said nothing for 15 minutes."""
    write_results(run, make_generations(run))
    first = stopped_merge(behind)
    claim_by(run, ELSEWHERE, age_s=LONG_AGO_S)
    second = stopped_merge("_write")
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=60)[1]
    assert said == f"vllm-launch: {run.merge}: another merge has taken over; this one stops. Run it again.\n"
    assert first.returncode == 2
    second.send_signal(signal.SIGCONT)
    assert second.communicate(timeout=60)[1] == "" and second.returncode == 0
    assert verify_published(published(run)).is_whole
    assert [path.name for path in published(run).parent.iterdir() if path.is_dir()] == ["run"]


@pytest.mark.process
def test_a_merge_taken_for_dead_leaves_what_its_successor_has_published(
    run: RunPaths, stopped_merge: Callable[[str], subprocess.Popen[str]]
) -> None:
    write_results(run, make_generations(run))
    first = stopped_merge("_write")
    claim_by(run, ELSEWHERE, age_s=LONG_AGO_S)
    assert merge(run).is_new
    before = same_bytes(published(run))
    first.send_signal(signal.SIGCONT)
    assert "another merge has taken over" in first.communicate(timeout=60)[1]
    assert verify_published(published(run)).is_whole and same_bytes(published(run)) == before


def test_a_claim_that_beats_again_is_checked(run: RunPaths) -> None:
    """A merge that was stopped for long ends at once, not when all is written."""
    with MergeClaim(run) as claim:
        (run.merge / "2").touch()
        with pytest.raises(RunError, match="another merge has taken over"):
            claim.beat()


def test_a_claim_beats(run: RunPaths) -> None:
    with MergeClaim(run) as claim:
        os.utime(run.merge / "1", (0, 0))
        claim.beat()
        first = (run.merge / "1").stat().st_mtime
        os.utime(run.merge / "1", (0, 0))
        claim.beat()
        assert first > 0
        assert (run.merge / "1").stat().st_mtime == 0


def job_claim(run: RunPaths, bin_dir: Path, squeue: str, *, age_s: float) -> None:
    """A merge in job 9 of cluster big, on another host; a squeue that says `squeue`."""
    claim_by(run, ELSEWHERE, age_s=age_s, job="9", cluster="big")
    (bin_dir / "squeue").write_text(f"#!/bin/bash\n{squeue}\n")
    (bin_dir / "squeue").chmod(0o755)


@pytest.fixture
def on_big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node of cluster big; its own commands go here."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "big")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    return folder


def test_slurms_word_on_a_merge_job(run: RunPaths, on_big: Path) -> None:
    write_results(run, make_generations(run))
    job_claim(run, on_big, "echo '9|demo.merge|RUNNING|None|n1|NONE'", age_s=300)
    with pytest.raises(RunError, match="another merge is at work, process 1 on elsewhere"):
        merge(run)
    run.submission(1).queue.unlink()
    job_claim(run, on_big, "echo '9|demo.merge|NODE_FAIL|None|n1|NONE'", age_s=1)
    assert merge(run).is_new


def test_a_merge_of_which_nobody_knows_is_assumed_dead_only_when_asked_to(
    run: RunPaths, on_big: Path
) -> None:
    write_results(run, make_generations(run))
    job_claim(run, on_big, "echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1", age_s=300)
    with pytest.raises(RunError, match=r"nobody here can tell .*\(job 9\). If you know that it is dead"):
        merge(run)
    assert merge(run, assume_dead=True).is_new


def test_a_merge_job_that_was_requeued_takes_its_own_claim(
    run: RunPaths, on_big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(run, make_generations(run))
    job_claim(run, on_big, "echo '9|demo.merge|RUNNING|None|n1|NONE'", age_s=1)
    run.submission(1).jobs.write_text('{"name": "merge", "job_id": "9"}\n')
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert merge(run).is_new
    value = read_json(run.merge / "2")
    assert value is not None and (value["job"], value["cluster"]) == ("9", "big")


@pytest.mark.parametrize(
    "text", ["{}", "[1]", "\0\0\0", '{"host": 5, "pid": "x"}', '{"host":"n","pid":1,"job":5}']
)
def test_a_claim_that_no_merge_wrote_is_nobodys_after_a_minute(run: RunPaths, text: str) -> None:
    write_results(run, make_generations(run))
    run.merge.mkdir()
    for name in ("notes", "01", "3 (copy)"):
        (run.merge / name).write_text("mine")
    (run.merge / "1").write_text(text)
    with pytest.raises(RunError, match="which has just begun"):
        merge(run)
    os.utime(run.merge / "1", (time.time() - 61, time.time() - 61))
    assert merge(run).is_new
    assert (run.merge / "2.done").exists()
