"""What the queue says of a run: one question for all, reasons in words, and when files have to do."""

import os
import time
from pathlib import Path

import pytest

from launch.collect.queue_look import OLD_S, QueueLook
from launch.collect.queue_look import look_at_queue as look_at_queue_for
from launch.collect.status import status
from launch.collect.task_status import TaskState
from launch.rundir.layout import RunPaths
from launch.slurm.shared_queue import SHARED_FOR_S
from tests.collect.builders import make_generations, write_results
from tests.collect.large_run import JOB, names_called, older, send_to_slurm, write_fake_slurm

pytestmark = pytest.mark.process

SLOW_S = 8


def look_at_queue(run: RunPaths, wait_s: float = 30.0) -> tuple[QueueLook | None, str | None]:
    """With time for a machine that is busy."""
    return look_at_queue_for(run, wait_s)


@pytest.fixture
def calls(run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run is sent to a cluster of fake commands, where task 0 runs and task 1 waits; what was called."""
    send_to_slurm(run, 2)
    calls = write_fake_slurm(tmp_path / "bin", 2)
    say(tmp_path, f"{JOB}_0|x|RUNNING|None|n1|N/A", f"{JOB}_[1%8]|x|PENDING|QOSMaxGRESPerUser||N/A")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return calls


def say(tmp_path: Path, *rows: str) -> None:
    (tmp_path / "bin" / "rows").write_text("".join(f"{row}\n" for row in rows))


def test_one_call_of_squeue_in_thirty_seconds_and_one_of_scontrol(run: RunPaths, calls: Path) -> None:
    looks = [look_at_queue(run) for _ in range(5)]
    assert names_called(calls).count("squeue") == 1
    assert all(note is None for _, note in looks) and len({look.asked for look, _ in looks if look}) == 1
    older(run, SHARED_FOR_S + 1)
    look_at_queue(run)
    assert names_called(calls).count("squeue") == 2
    assert names_called(calls).count("sacctmgr") == 3, "user, association and QOS, once in ten minutes"
    assert names_called(calls).count("scontrol") == 1, "for the cluster's name and its clock"


def test_reasons_in_words_with_the_number_of_the_limit(run: RunPaths, calls: Path) -> None:
    look, _ = look_at_queue(run)
    found = status(run, look)
    assert [task.state for task in found.tasks] == [TaskState.WAITING] * 2
    assert found.tasks[1].waits_for == "QOSMaxGRESPerUser: your QOS allows 8 GPUs per user"
    assert found.tasks[1].message == "PENDING (QOSMaxGRESPerUser)"
    assert found.queue_age_s is not None and found.queue_age_s < 30
    assert calls.exists()


def test_a_sign_of_life_after_the_answer_counts_more(run: RunPaths, calls: Path) -> None:
    look_at_queue(run)
    write_results(run, make_generations(run)[:1], task=1)
    beat = run.attempt(1, 1, 0).heartbeat
    beat.touch()
    os.utime(beat, (beat.stat().st_mtime + 5, beat.stat().st_mtime + 5))
    look, _ = look_at_queue(run)
    assert status(run, look).tasks[1].state is TaskState.RUNNING, "as of the answer it waited"
    assert names_called(calls).count("squeue") == 1


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("missing", "squeue: not found; this machine has no Slurm commands."),
        ("error", "squeue: Socket timed out"),
        ("newer", "jobs were sent after Slurm's queue was asked last."),
    ],
)
def test_when_files_have_to_do(
    run: RunPaths, calls: Path, monkeypatch: pytest.MonkeyPatch, change: str, note: str
) -> None:
    if change == "missing":
        monkeypatch.setenv("PATH", "/nowhere")
    elif change == "error":
        (calls.parent / "squeue").write_text(
            "#!/bin/bash\necho 'squeue: error: Socket timed out' >&2; exit 1\n"
        )
    else:
        look_at_queue(run)
        with run.submission(1).jobs.open("a") as journal:
            journal.write('{"name":"merge.r1","job_name":"x","offset":0,"size":0,"job_id":"9999"}\n')
    look, said = look_at_queue(run)
    assert look is None and said is not None and said.startswith(note)
    assert [task.state for task in status(run, look).tasks] == [TaskState.WAITING] * 2


def test_a_run_of_another_that_may_only_be_read(
    run: RunPaths, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, who may write everywhere: what the system says to others is said here."""
    look_at_queue(run)

    def refuse(*_: object) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    look, note = look_at_queue(run)
    assert look is not None and note is None, "the answer that is there is used"
    assert status(run, look).num_items == 12
    assert names_called(calls).count("squeue") == 1


def test_nobody_waits_for_a_slow_squeue_and_its_answer_comes_all_the_same(run: RunPaths, calls: Path) -> None:
    """One question is put, however many look meanwhile, and no view's haste is an answer for others."""
    squeue = calls.parent / "squeue"
    squeue.write_text(squeue.read_text().replace("cat ", f"sleep {SLOW_S}; cat "))
    began = time.monotonic()
    looks = [look_at_queue(run, 0.5) for _ in range(2)]
    assert time.monotonic() - began < SLOW_S - 1
    assert looks == [(None, "Slurm has not answered within 0.5 s.")] * 2
    look, note = look_at_queue(run)
    assert look is not None and note is None
    assert names_called(calls).count("squeue") == 1


@pytest.mark.parametrize("name", ["scontrol", "sacctmgr"])
def test_nobody_waits_for_the_other_commands(run: RunPaths, calls: Path, name: str) -> None:
    command = calls.parent / name
    command.write_text(f"#!/bin/bash\nexec sleep {SLOW_S}\n")
    began = time.monotonic()
    look, note = look_at_queue(run, 1.0)
    assert time.monotonic() - began < SLOW_S - 1
    if name == "scontrol":
        assert (look, note) == (None, "Slurm has not answered within 1 s.")


def test_an_answer_that_is_not_old_is_shown_and_dated(run: RunPaths, calls: Path) -> None:
    look_at_queue(run)
    (calls.parent / "squeue").write_text(f"#!/bin/bash\nexec sleep {SLOW_S}\n")
    older(run, SHARED_FOR_S + 1)
    look, note = look_at_queue(run, 0.5)
    assert look is not None and note is not None
    assert note == "Slurm has not answered within 0.5 s; its queue is shown as it was told last."
    older(run, OLD_S)
    assert look_at_queue(run, 0.5) == (None, "Slurm has not answered within 0.5 s.")


def test_without_slurm_nothing_is_asked(run: RunPaths) -> None:
    assert look_at_queue(run) == (None, None)
