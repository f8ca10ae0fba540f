"""Which of the lives that Slurm's accounting tells is that of an attempt."""

import itertools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.collect.ledger.allocations import Allocation, allocation_of, ask_slurm, by_job, read_lives
from launch.collect.ledger.spans import match_spans
from launch.collect.ledger.times import AttemptTimes
from launch.collect.ledger.unattended import Unattended, sent_arrays, unattended
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from launch.slurm.accounting import JobLife
from tests.collect.ledger.test_spans import TIMES

SLURM = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CLUSTER_NAME": "main"}
JOB = replace(TIMES, slurm=SLURM, began=1000, started=1005, ended=1099, shell_ended=1100, last_sign=1100)
KILLED: dict[str, Any] = {"ended": None, "shell_ended": None}
LIFE = JobLife("12", 3, "main", 999, 1101, 2)


@pytest.mark.parametrize(
    ("life", "is_its"),
    [
        (LIFE, True),
        (replace(LIFE, end=None), True),
        (replace(LIFE, begin=1004), True),
        (replace(LIFE, begin=1010), False),
        (replace(LIFE, end=990), False),
        (replace(LIFE, job="13"), False),
        (replace(LIFE, index=4), False),
        (replace(LIFE, cluster="other"), False),
    ],
)
def test_it_is_that_in_which_the_batch_shell_began(life: JobLife, is_its: bool) -> None:
    assert allocation_of(JOB, by_job([life])) == (Allocation(life.begin, life.end) if is_its else None)
    assert allocation_of(replace(JOB, slurm={}), by_job([life])) is None


def test_of_two_that_touch_it_is_the_later() -> None:
    before = replace(LIFE, begin=900, end=999)
    assert allocation_of(JOB, by_job([LIFE, before])) == Allocation(999, 1101)


def test_a_requeue_waited_since_slurm_took_the_gpus_of_the_killed_one() -> None:
    killed = replace(JOB, **KILLED, seen=1090, last_sign=1090)
    again = replace(JOB, began=1130, started=1131, ended=1199, shell_ended=1200, queue_wait_s=None)
    lives = by_job([LIFE, replace(LIFE, begin=1125, end=1201)])
    first, second = match_spans({(1, 3, 0): killed, (1, 3, 1): again}, lives)
    assert (first.end, first.end_by, second.queued_s) == (1101, "sacct", 24)
    (alone,) = match_spans({(1, 3, 1): again}, lives)
    assert alone.queued_s is None


def test_a_gap_that_is_longer_than_a_heartbeat_nobody_explains() -> None:
    killed = replace(JOB, **KILLED, seen=1050, last_sign=1050, slots=())
    (found,) = match_spans({(1, 3, 0): killed}, by_job([LIFE]))
    assert found.spans[-1].end == 1082 and found.end == 1101


@pytest.fixture
def sacct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sacct that says what a test writes into the file that stands for it."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "run" / "merge").mkdir(parents=True)
    path = tmp_path / "sacct"
    path.touch(0o755)
    return path


def ask(sacct: Path, script: str, times: AttemptTimes = JOB) -> tuple[str | None, list[JobLife]]:
    """Why nothing was told, and what was."""
    sacct.write_text(f"#!/bin/sh\n{script}\n")
    run = RunPaths(sacct.parent / "run")
    return ask_slurm(run, [times]), read_lives(run)


def test_the_answer_is_kept_and_an_error_leaves_the_last_one(sacct: Path) -> None:
    assert ask(sacct, "echo '12_3|main|999|1101|gres/gpu=2'") == (None, [LIFE])
    why, lives = ask(sacct, "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert why is not None and "disabled" in why and lives == [LIFE]


def test_nobody_is_asked_about_what_was_no_job(sacct: Path) -> None:
    assert ask(sacct, "exit 9", replace(JOB, slurm={})) == ("no attempt was a job of Slurm", [])


def test_an_end_that_slurm_has_not_heard_of_yet_is_asked_for_again(
    sacct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.collect.ledger.allocations.LATE_S", 0.0)
    script = '[ -e asked ] && end=1101; touch asked; echo "12_3|main|999|${end:-Unknown}|gres/gpu=2"'
    monkeypatch.chdir(sacct.parent)
    assert ask(sacct, script, replace(JOB, **KILLED)) == (None, [LIFE])


def test_what_is_damaged_in_the_kept_answer_is_not_taken(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    run.merge.mkdir()
    write_json(
        run.lives, {"lives": [3, {"job": 12}, {"job": "12", "index": 3, "cluster": "main", "begin": 999}]}
    )
    assert read_lives(run) == [replace(LIFE, end=None, num_gpus=0)]
    write_json(run.lives, {"lives": "none"})
    assert read_lives(run) == []


@pytest.fixture
def sent(tmp_path: Path) -> RunPaths:
    """A run whose array 12 has the tasks 100 to 108; the batch shell of 103 told that it ran once."""
    run = RunPaths(tmp_path)
    run.submission(1).root.mkdir(parents=True)
    run.task(1, 103).mkdir(parents=True)
    journal = Journal(run.submission(1).jobs)
    journal.append({"name": "tasks-0", "offset": 100, "size": 9, "time": 1.0, "job_id": "12"})
    journal.append({"name": "merge", "offset": 0, "size": 0, "time": 1.0, "job_id": "13"})
    journal.close()
    shells = Journal(run.shells(1, 103))
    shells.append({"job": "12_3", "began": 500.5, "ended": 509, "code": 1})
    shells.close()
    return run


def test_lives_that_are_no_attempts(sent: RunPaths) -> None:
    """One whose shell told that it ran, and one that nobody knows of; the others are none."""
    lives = [
        LIFE,
        replace(LIFE, begin=500, end=510),
        replace(LIFE, index=4, begin=600, end=630, num_gpus=1),
        replace(LIFE, index=5, end=None),
        replace(LIFE, index=6, num_gpus=0),
        replace(LIFE, job="99"),
    ]
    assert list(sent_arrays(sent)) == ["12"]
    assert list(unattended(sent, by_job(lives), {(1, 103, 0): JOB})) == [
        Unattended(1, 103, 10, 2, setup_s=10),
        Unattended(1, 104, 30, 1, setup_s=0),
    ]


def test_what_a_job_held_after_its_shell_ended_nobody_explains(sent: RunPaths) -> None:
    (found,) = unattended(sent, by_job([replace(LIFE, begin=500, end=600)]), {})
    assert (found.seconds, found.setup_s) == (100, 9)


def test_an_attempt_that_names_no_job_is_no_setup_of_the_life_in_which_it_was(sent: RunPaths) -> None:
    """Its attempt.json is damaged: its batch shell ran, and what for nobody knows."""
    nameless = replace(JOB, slurm={}, began=502, last_sign=508)
    life = replace(LIFE, begin=500, end=510)
    (found,) = unattended(sent, by_job([life]), {(1, 103, 0): nameless})
    assert (found.seconds, found.setup_s) == (10, 0)
    (found,) = unattended(sent, by_job([life]), {(1, 103, 0): replace(nameless, began=702, last_sign=708)})
    assert found.setup_s == 10


def test_a_thousand_tasks_with_ten_attempts_each_are_matched_in_no_time(sent: RunPaths) -> None:
    """0.1 s; it took 9 s where every attempt looked through all lives."""
    found, lives = {}, []
    for task, attempt in itertools.product(range(1000), range(10)):
        began = 1000.0 * (1 + attempt)
        slurm = SLURM | {"SLURM_ARRAY_TASK_ID": str(task)}
        found[1, task, attempt] = replace(JOB, slurm=slurm if attempt else {}, began=began)
        lives.append(JobLife("12", task, "main", began - 1, began + 99, 2))
    spent = time.process_time()
    unowned = list(unattended(sent, by_job(lives), found))
    assert time.process_time() - spent < 3
    assert [life.task for life in unowned] == [100 + task for task in range(1000)]
