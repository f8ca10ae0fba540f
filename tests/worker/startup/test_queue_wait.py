"""How long a task waited in the queue, as its files tell."""

from pathlib import Path

from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from launch.worker.startup.queue_wait import queue_wait_s

SENT = {"name": "tasks-0", "job_name": "j", "offset": 0, "size": 4}


def make(tmp_path: Path, *rows: dict[str, object]) -> RunPaths:
    """A run whose submission 1 has these lines in jobs.jsonl."""
    run = RunPaths(tmp_path)
    run.submission(1).root.mkdir(parents=True)
    journal = Journal(run.submission(1).jobs)
    for row in rows:
        journal.append(row)
    journal.close()
    return run


def test_from_sbatchs_answer(tmp_path: Path):
    run = make(
        tmp_path,
        {**SENT, "time": 90.0},
        {**SENT, "time": 100.0, "job_id": "7"},
        {**SENT, "name": "tasks-1", "offset": 4, "time": 130.0, "job_id": "8"},
        {**SENT, "name": "tasks-0.r1", "round": 1, "time": 150.0, "job_id": "9"},
    )
    assert queue_wait_s(run, 1, 3, 0, 160.5) == 60.5
    assert queue_wait_s(run, 1, 4, 0, 160.5) == 30.5
    assert queue_wait_s(run, 1, 8, 0, 160.5) is None
    assert queue_wait_s(run, 1, 0, 0, 99.0) == 0  # clocks of two hosts


def test_a_later_attempt_waited_since_the_one_before_ended(tmp_path: Path):
    run = make(tmp_path, {**SENT, "time": 100.0, "job_id": "7"})
    assert queue_wait_s(run, 1, 0, 1, 500.0) is None  # it was killed without a word
    before = run.attempt(1, 0, 0)
    before.root.mkdir(parents=True)
    write_json(before.ended, {"code": 75, "reason": "drained", "ended": 450.0})
    assert queue_wait_s(run, 1, 0, 1, 500.0) == 50.0


def test_no_queue_no_wait(tmp_path: Path):
    run = make(tmp_path)
    assert queue_wait_s(run, 1, 0, 0, 1.0) is None
    before = run.attempt(1, 0, 0)
    before.root.mkdir(parents=True)
    write_json(before.ended, {"code": 75, "reason": "drained", "ended": 450.0})
    assert queue_wait_s(run, 1, 0, 1, 500.0) is None
