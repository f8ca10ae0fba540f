"""What only tells of a task and cannot be written ends nothing: on real disks, with real supervisors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.errors import StorageError
from launch.rundir.attempts import HEARTBEAT_DEAD_S
from launch.rundir.journal import read_journal
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.progress import survey_settled
from launch.worker.attempt_record import Events
from launch.worker.monitoring import LOST_AFTER_S, UNSEEN_DRAIN_S, FailedWrites, Heartbeat
from tests.cli.disks import tiny_disk
from tests.runs import RUN_S
from tests.worker.build_run import build_run
from tests.worker.tasks import ROOT, ended, events, run_task

SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.2"}
IMPATIENT = """
import os, sys
from launch.worker import __main__ as worker, monitoring, recovery, watch
watch.HEARTBEAT_PERIOD_S, recovery.TROUBLE_WAIT_S = 0.2, 0.0
monitoring.LOST_AFTER_S = float(sys.argv[1])
os._exit(worker.main(sys.argv[2:]))
"""
"""A supervisor with a heart that beats fast."""


def in_container(script: str) -> dict[str, list[str]]:
    """Resources under which a shell script runs before the engine process."""
    return {"container": ["/bin/sh", "-c", f'{script}; exec "$@"', "sh"]}


def replaced_by_a_loop(path: Path) -> str:
    """A script that puts a link without an end in a file's place, in one step: it is touched all the time."""
    return f"ln -s {path}.loop {path}.loop; ln -s {path}.loop {path}.link; mv -T {path}.link {path}"


def run_impatiently(run: RunPaths, lost_after_s: float) -> tuple[int, str]:
    """A task whose heartbeat is due every 0.2 s, and is lost after so many seconds: exit code and stderr."""
    words = [str(run.root), "--submission", "1", "--task", "0"]
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, str(lost_after_s), *words],
        cwd=ROOT,
        env={**os.environ, **SLOW},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    return done.returncode, done.stderr


def attempt(tmp_path: Path) -> AttemptPaths:
    """The first attempt of the run that `build_run` will make there."""
    return RunPaths(tmp_path / "runs" / "run").attempt(1, 0, 0)


def test_events_wait_for_room_and_are_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    failed = FailedWrites(told.append)
    with tiny_disk(tmp_path / "disk", 64) as disk:
        paths = AttemptPaths(disk.root)
        log = Events(paths, failed)
        log.add("first")
        disk.fill(0)
        for number in range(3):
            log.add("while_full", number=number, pad="x" * 5000)
        assert failed.count == 3
        disk.clear()
        log.write_waiting()
        log.add("last")
        log.close()
        rows = [(row["event"], row.get("number")) for row in read_journal(paths.events)]
    assert rows == [("first", None), *(("while_full", number) for number in range(3)), ("last", None)]
    (line,) = told
    assert line.startswith("the task goes on, and tries again: ") and "the disk is full" in line


def test_a_journal_that_cannot_even_be_opened_waits_too(tmp_path: Path) -> None:
    paths = AttemptPaths(tmp_path)
    paths.events.symlink_to(paths.events)
    log = Events(paths, FailedWrites(lambda line: None))
    log.add("first")
    paths.events.unlink()
    log.add("second")
    log.close()
    assert [row["event"] for row in read_journal(paths.events)] == ["first", "second"]


def test_a_heart_that_cannot_beat_is_lost_before_others_say_so(tmp_path: Path) -> None:
    path, failed = tmp_path / "heartbeat", FailedWrites(lambda line: None)
    heartbeat = Heartbeat(path, failed, 0.0)
    path.unlink()
    path.symlink_to(path)
    heartbeat.beat(30.0)
    assert (failed.count, heartbeat.silent_s(30.0)) == (1, 30.0)
    assert not heartbeat.is_lost(LOST_AFTER_S - 1) and heartbeat.is_lost(LOST_AFTER_S)
    assert LOST_AFTER_S + UNSEEN_DRAIN_S < HEARTBEAT_DEAD_S - 30
    path.unlink()
    heartbeat.beat(LOST_AFTER_S)
    assert path.exists() and not heartbeat.is_lost(LOST_AFTER_S + 1)


def test_a_task_without_a_heartbeat_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="a part of the path is a file"):
        Heartbeat(Path("/dev/null/heartbeat"), FailedWrites(), 0.0)


@pytest.mark.process
def test_a_task_goes_on_when_its_events_cannot_be_written(tmp_path: Path) -> None:
    """The supervisor may write no file beyond 50,000 bytes, and its events are longer."""
    limit = "import resource, sys; resource.prlimit(int(sys.argv[1]), resource.RLIMIT_FSIZE, (50000, -1))"
    path = attempt(tmp_path).events
    script = f"yes '' | head -c 100000 >> {path}; {sys.executable} -c '{limit}' $PPID"
    run = build_run(tmp_path, resources=in_container(script))
    code, errors = run_task(run)
    assert code == 0, errors
    assert errors == f"the task goes on, and tries again: {path}: cannot write: File too large\n"
    assert survey_settled(run).num_done == ended(run)["counts"]["done"] == 12
    assert len(events(run, "started")) == 1 and events(run, "ended") == []


@pytest.mark.process
def test_a_task_goes_on_when_its_heartbeat_cannot_be_written(tmp_path: Path) -> None:
    path = attempt(tmp_path).heartbeat
    run = build_run(tmp_path, resources=in_container(replaced_by_a_loop(path)))
    code, errors = run_impatiently(run, 600)
    assert code == 0, errors
    assert errors.count("\n") == 1 and "Too many levels of symbolic links" in errors
    assert survey_settled(run).num_done == 12
    assert events(run, "ended")[0]["failed_writes"] > 3


@pytest.mark.process
def test_a_task_that_others_would_take_for_dead_drains_and_continues(tmp_path: Path) -> None:
    path = attempt(tmp_path).heartbeat
    run = build_run(tmp_path, num_users=10, resources=in_container(replaced_by_a_loop(path)))
    code, errors = run_impatiently(run, 3)
    assert (code, ended(run)["reason"]) == (75, "drained"), errors
    assert "others would soon take this task for dead: it finishes what it has" in errors.splitlines()[-1]
    assert len(events(run, "heartbeat_lost")) == 1 and events(run, "kill") == []
    assert 0 < survey_settled(run).num_done < 30
    assert run_impatiently(run, 600) == (0, "")
    assert survey_settled(run).num_done == 30


@pytest.mark.process
def test_a_start_that_cannot_be_opened_fails_alone(tmp_path: Path) -> None:
    """The log of the second start of each slot is a directory; the slot that crashes needs it."""
    root = attempt(tmp_path).root
    run = build_run(
        tmp_path,
        num_users=40,
        items_per_user=5,
        engine={"engines_per_node": 2},
        resources=in_container(f"mkdir -p {root}/0.1.log {root}/1.1.log"),
    )
    code, errors = run_task(
        run, VLLM_LAUNCH_STUB_FAIL="die:user0#0.3@0", VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.01"
    )
    assert code == 1 and "Is a directory" in errors
    ends = {(slot["slot"], slot["start"]): slot for slot in ended(run)["slots"]}
    assert len(ends) == 3 and sorted(str(end["said"]) for end in ends.values()) == ["None", "empty", "failed"]
    (unopened,) = [end for end in ends.values() if end["said"] is None]
    assert unopened["failure"]["class"] == "IsADirectoryError"
    assert survey_settled(run).num_done > 100, "the other slot went on"
    assert [event["code"] for event in events(run, "engine_end")] == [1, 1, 0]


@pytest.mark.process
def test_trouble_of_a_file_system_in_an_engine_process_is_tried_again(tmp_path: Path) -> None:
    """Writing to the commits of its first start is EIO; reading them, too, until the second start."""
    path, seen = attempt(tmp_path).engine(0, 0).commits, tmp_path / "seen"
    script = f"if [ -e {seen} ]; then rm -f {path}; else touch {seen}; ln -s /proc/self/mem {path}; fi"
    run = build_run(tmp_path, resources=in_container(script))
    code, errors = run_impatiently(run, 600)
    assert (code, errors) == (0, "")
    (step,) = events(run, "ladder")
    assert (step["class"], step["action"]) == ("storage_trouble", "restart")
    assert survey_settled(run).num_done == 12
