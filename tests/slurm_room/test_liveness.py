"""The rule of dead and alive, every case of it in one table; and that a book of lives asks and remembers."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launch.rundir.attempts import open_attempt
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import pid_namespace
from launch.rundir.signs import Signs, SlurmJob, read_signs
from launch.slurm.liveness import Life, Lives, judge_life
from launch.slurm.shared_queue import JobRow, QueueAnswer, save_answer

BEAT = 10_000.0
QUIET = Signs(
    has_ended=False,
    is_followed=False,
    is_gone_from_here=False,
    beat=BEAT,
    beat_age_s=300.0,
    job=SlurmJob("12", 3, "big"),
    owner=7,
    host="n1",
)
FRESH = replace(QUIET, beat_age_s=20.0)
SILENT = replace(QUIET, beat_age_s=16 * 60.0)
NO_JOB = replace(QUIET, job=None)
ALIVE, DEAD, UNKNOWN = Life.ALIVE, Life.DEAD, Life.UNKNOWN


def said(state: str | None, *, index: int = 3, after_s: float = 290.0, **what: object) -> QueueAnswer:
    """An answer about array 12, by default 10 s old, in which a task has `state`, or is not listed."""
    rows = () if state is None else (JobRow("12", index, state, None),)
    values = {"number": 1, "host": "n2", "user": 7, "cluster": "big", "jobs": ("12", "13"), "error": None}
    return QueueAnswer(rows=rows, **{**values, "asked": BEAT + after_s, **what})


@pytest.mark.parametrize(
    ("signs", "answer", "can_ask", "life"),
    [
        # files decide before anyone is asked
        (replace(FRESH, has_ended=True), said("RUNNING"), True, DEAD),
        (replace(FRESH, is_followed=True), said("RUNNING"), True, DEAD),
        (replace(FRESH, is_gone_from_here=True), said("RUNNING"), True, DEAD),
        # Slurm's word
        (QUIET, said("RUNNING"), True, ALIVE),
        (SILENT, said("RUNNING", after_s=950), True, ALIVE),
        (QUIET, said("COMPLETING"), True, ALIVE),
        (QUIET, said("SUSPENDED"), True, ALIVE),
        (QUIET, said("A_STATE_OF_TOMORROW"), True, ALIVE),
        (QUIET, said("NODE_FAIL"), True, DEAD),
        (QUIET, said("CANCELLED by 7"), True, DEAD),
        (QUIET, said("PENDING"), True, DEAD),
        (QUIET, said("REQUEUED"), True, DEAD),
        (FRESH, said("OUT_OF_MEMORY", after_s=1), True, DEAD),
        # not listed: over, if the one who issued the id was asked about it
        (QUIET, said(None), True, DEAD),
        (QUIET, said("RUNNING", index=4), True, DEAD),
        (QUIET, said(None, cluster="small"), True, UNKNOWN),
        (QUIET, said(None, cluster=None), True, UNKNOWN),
        (replace(QUIET, job=SlurmJob("12", 3, None)), said(None), True, UNKNOWN),
        (QUIET, said(None, jobs=("13",)), True, UNKNOWN),
        (QUIET, said(None, user=8), True, UNKNOWN),
        (QUIET, said(None, user=0), True, DEAD),
        (QUIET, said("RUNNING", cluster="small"), True, UNKNOWN),
        (QUIET, said("COMPLETED", cluster="small"), True, UNKNOWN),
        # an answer older than the heartbeat proves no end, and an old one no life
        (FRESH, said(None, after_s=-1), True, ALIVE),
        (FRESH, said("PENDING", after_s=-1), True, ALIVE),
        (SILENT, said("RUNNING", after_s=700), True, UNKNOWN),
        (SILENT, said("RUNNING", after_s=700), False, DEAD),
        (SILENT, said(None, after_s=700), True, DEAD),
        # no answer
        (FRESH, said(None, error="squeue: no answer in 30 s"), True, ALIVE),
        (QUIET, said(None, error="squeue: no answer in 30 s"), True, UNKNOWN),
        (FRESH, None, True, ALIVE),
        (QUIET, None, True, UNKNOWN),
        (SILENT, None, True, UNKNOWN),
        # no squeue here, but another's answer
        (QUIET, said(None), False, DEAD),
        (QUIET, said("RUNNING"), False, ALIVE),
        # no squeue at all, or no array of ours: the heartbeat
        (QUIET, None, False, ALIVE),
        (SILENT, None, False, DEAD),
        (NO_JOB, None, True, ALIVE),
        (replace(SILENT, job=None), said(None), True, DEAD),
    ],
)
def test_the_rule(signs: Signs, answer: QueueAnswer | None, can_ask: bool, life: Life) -> None:
    assert judge_life(signs, answer, can_ask=can_ask) is life


def make_attempt(
    run: RunPaths, *, age_s: float, about: dict[str, object] | None = None, task: int = 0
) -> None:
    """Attempt 0 of a task of submission 1, its last heartbeat `age_s` old."""
    run.submission(1).root.mkdir(parents=True, exist_ok=True)
    _, paths = open_attempt(run, 1, task)
    slurm = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CLUSTER_NAME": "big"}
    write_json(paths.attempt_json, {"host": "elsewhere", "slurm": slurm, **(about or {})})
    paths.heartbeat.touch()
    then = paths.heartbeat.stat().st_mtime - age_s
    os.utime(paths.heartbeat, (then, then))


def test_signs_are_read_from_the_attempts_files(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    make_attempt(run, age_s=100)
    signs = read_signs(run, 1, 0, 0)
    assert not signs.is_over and 100 <= signs.beat_age_s < 130
    assert (signs.job, signs.host, signs.owner) == (SlurmJob("12", 3, "big"), "elsewhere", os.getuid())
    assert open_attempt(run, 1, 0)[0] == 1
    assert read_signs(run, 1, 0, 0).is_followed and not read_signs(run, 1, 0, 1).is_followed


@pytest.mark.parametrize(("namespace", "is_gone"), [(pid_namespace(), True), (1, False)])
def test_a_pid_is_looked_for_where_it_means_something(tmp_path: Path, namespace: int, is_gone: bool) -> None:
    about = {
        "host": os.uname().nodename,
        "pid": 2**22 + 1,
        "pid_namespace": namespace,
    }
    make_attempt(RunPaths(tmp_path), age_s=0, about=about)
    assert read_signs(RunPaths(tmp_path), 1, 0, 0).is_gone_from_here is is_gone


def test_what_was_found_holds_a_moment_and_a_death_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue
    run = RunPaths(tmp_path)
    make_attempt(run, age_s=16 * 60)
    lives = Lives(run, 1, on_slurm=True)
    assert lives.of(0, 0) is DEAD
    run.attempt(1, 0, 0).heartbeat.touch()
    assert lives.of(0, 0) is DEAD
    book = Lives(run, 1, on_slurm=True)
    assert book.of(0, 0) is ALIVE
    run.attempt(1, 0, 0).ended.touch()
    assert book.of(0, 0) is ALIVE
    assert Lives(run, 1, on_slurm=True).of(0, 0) is DEAD


def test_a_look_at_all_owners_asks_the_file_system_for_its_time_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask makes a file and removes it; between looks the time goes on."""
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue
    run, probes, touch, now = RunPaths(tmp_path), [], Path.touch, [1000.0]
    for task in range(300):
        make_attempt(run, age_s=(14 if task % 2 else 16) * 60, task=task)
    monkeypatch.setattr("launch.slurm.liveness.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Path, "touch", lambda path: (probes.append(path.name), touch(path)))
    lives = Lives(run, 1, on_slurm=False)
    assert [lives.of(task, 0) for task in range(300)] == [DEAD, ALIVE] * 150
    assert len(probes) == 1 and probes[0].startswith(".now.")
    now[0] += 4
    make_attempt(run, age_s=15 * 60 - 2, task=300)
    assert lives.of(300, 0) is DEAD and len(probes) == 2  # its own heartbeat is the second
    now[0] += 2
    assert [lives.of(task, 0) for task in range(300)] == [DEAD, ALIVE] * 150
    assert len(probes) == 3


def end(run: RunPaths) -> None:
    run.attempt(1, 0, 0).ended.touch()


def follow(run: RunPaths) -> None:
    """A requeue: the job of both is one, and it runs."""
    open_attempt(run, 1, 0)


def vanish(run: RunPaths) -> None:
    shutil.rmtree(run.attempt(1, 0, 0).root)


def lay_a_file(run: RunPaths) -> None:
    run.attempt(1, 0, 1).root.touch()


def damage(run: RunPaths) -> None:
    """It stays as it was read: a link to itself stands for a server that answers EIO."""
    path = run.attempt(1, 0, 0).attempt_json
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("happens", "life"),
    [(end, DEAD), (follow, DEAD), (vanish, UNKNOWN), (lay_a_file, ALIVE), (damage, ALIVE)],
)
@pytest.mark.parametrize("on_slurm", [True, False])
def test_a_second_look_reads_less_and_sees_as_much(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[RunPaths], None],
    life: Life,
    on_slurm: bool,
) -> None:
    now, run = [1000.0], RunPaths(tmp_path)
    monkeypatch.setattr("launch.slurm.liveness.time.monotonic", lambda: now[0])
    make_attempt(run, age_s=60, about={"pid": 1})
    asked = run.attempt(1, 0, 0).heartbeat.stat().st_mtime + 60
    save_answer(run.submission(1), said("RUNNING", asked=asked, user=os.getuid()))
    lives = Lives(run, 1, on_slurm=on_slurm)
    assert lives.of(0, 0) is ALIVE
    happens(run)
    now[0] += 10
    assert lives.of(0, 0) is life


def test_an_attempt_that_is_not_to_be_seen_is_dead_only_after_two_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory was deleted, or was made elsewhere a moment ago."""
    now = [1000.0]
    monkeypatch.setattr("launch.slurm.liveness.time.monotonic", lambda: now[0])
    lives = Lives(RunPaths(tmp_path), 1, on_slurm=False)
    for after_s, life in ((0, UNKNOWN), (60, UNKNOWN), (119, UNKNOWN), (130, DEAD)):
        now[0] = 1000.0 + after_s
        assert lives.of(0, 0) is life
    lives = Lives(RunPaths(tmp_path), 1, on_slurm=False)
    assert lives.of(0, 0) is UNKNOWN
    make_attempt(RunPaths(tmp_path), age_s=0)
    now[0] += 10
    assert lives.of(0, 0) is ALIVE
