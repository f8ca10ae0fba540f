"""What Slurm's commands are called with and what is made of their answers."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.errors import SchedulerError
from launch.slurm import commands
from launch.slurm.commands import (
    QueueRow,
    call,
    cancel_jobs,
    leaked_variables,
    list_queue,
    max_array_size,
    parse_queue_line,
    parse_tasks,
    parse_time,
    slurm_environment,
)

END = time.mktime((2026, 1, 2, 3, 4, 5, -1, -1, -1))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which commands are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def write_command(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_job_and_a_task_and_pending_tasks() -> None:
    assert parse_queue_line("12|demo.merge|PENDING|Dependency||N/A") == [
        QueueRow("12", None, "demo.merge", "PENDING", "Dependency", "")
    ]
    assert parse_queue_line("12_3|demo|RUNNING|None|n1|2026-01-02T03:04:05") == [
        QueueRow("12", 3, "demo", "RUNNING", "None", "n1", END)
    ]
    pending = parse_queue_line("12_[3-5,9%2]|demo|PENDING|Resources||N/A")
    assert [row.array_task for row in pending] == [3, 4, 5, 9]
    assert {(row.job_id, row.state, row.reason) for row in pending} == {("12", "PENDING", "Resources")}


@pytest.mark.parametrize("told", [1_792_888_200, 1_792_891_800])  # 00:30 and 01:30 UTC, 2026-10-25
def test_an_hour_that_comes_twice(monkeypatch: pytest.MonkeyPatch, told: int) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(told))
        assert text == "2026-10-25T02:30:00"
        assert parse_time(text, near=told - 600) == parse_time(text, near=told + 600) == told
        assert parse_time("2026-10-25T12:00:00", near=told) == 1_792_926_000  # a clock may be hours off
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("7", [7]),
        ("[7]", [7]),
        ("[3-7%2]", [3, 4, 5, 6, 7]),
        ("[1,4-6]", [1, 4, 5, 6]),
        ("[0-8:4]", [0, 4, 8]),
        ("[0-8:4,1%1]", [0, 1, 4, 8]),
    ],
)
def test_array_indices(text: str, tasks: list[int]) -> None:
    assert parse_tasks(text) == tasks


@given(st.sets(st.integers(0, 200), min_size=1))
def test_indices_written_as_slurm_does_come_back(tasks: set[int]) -> None:
    runs: list[list[int]] = []
    for task in sorted(tasks):
        if runs and runs[-1][-1] == task - 1:
            runs[-1].append(task)
        else:
            runs.append([task])
    text = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    assert parse_tasks(f"[{text}]") == sorted(tasks)


def test_a_list_cut_short_is_no_list() -> None:
    with pytest.raises(SchedulerError, match=r"cut its list of array tasks short: '\[1,3,\.\.\.\]'"):
        parse_tasks("[1,3,...]")


def test_a_wrapper_of_squeue_is_told() -> None:
    with pytest.raises(SchedulerError, match=r"squeue: expected .*, got 'Welcome to the cluster'"):
        parse_queue_line("Welcome to the cluster")


@pytest.mark.parametrize(
    "name",
    "SLURM_JOB_ID SBATCH_PARTITION SALLOC_ACCOUNT SRUN_CPUS_PER_TASK SQUEUE_FORMAT SCANCEL_STATE SCONTROL_ALL"
    " CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES GPU_DEVICE_ORDINAL".split(),
)
def test_what_others_set_does_not_reach_slurm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert name in leaked_variables() and name not in slurm_environment()


def test_what_says_where_slurm_is_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/elsewhere.conf")
    assert "SLURM_CONF" not in leaked_variables()
    assert slurm_environment()["SLURM_CONF"] == "/etc/elsewhere.conf"
    assert slurm_environment()["PATH"] == os.environ["PATH"]


def test_a_missing_command(path: Path) -> None:
    with pytest.raises(
        SchedulerError, match=r"^squeue: not found; this machine has no Slurm commands. Log in to a submit"
    ):
        list_queue(job_ids=["1"])


def test_a_command_that_cannot_be_started(path: Path) -> None:
    (path / "squeue").write_text("no program")
    (path / "squeue").chmod(0o755)
    with pytest.raises(SchedulerError, match=r"^squeue: cannot be started: Exec format error\.$"):
        list_queue(job_ids=["1"])


def test_a_command_takes_nothing_from_our_own_input(path: Path) -> None:
    write_command(path, "squeue", 'read -r line && echo "$line"; exit 0')
    ours, other_end = os.pipe()
    os.write(other_end, b"drain 12.5\n")
    before = os.dup(0)
    os.dup2(ours, 0)
    try:
        assert call(["squeue"]) == ""
    finally:
        os.dup2(before, 0)
        for descriptor in (before, ours, other_end):
            os.close(descriptor)


def test_a_refusal_has_the_words_of_the_command(path: Path) -> None:
    write_command(
        path, "scancel", "echo 'scancel: error: Kill job error on job id 5: Access denied' >&2; exit 1"
    )
    with pytest.raises(SchedulerError) as caught:
        cancel_jobs(["5"])
    assert str(caught.value) == "scancel: Kill job error on job id 5: Access denied."


def test_a_command_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "COMMAND_TIMEOUT_S", 0.2)
    write_command(path, "squeue", "exec /bin/sleep 60")
    with pytest.raises(SchedulerError, match=r"squeue: no answer in 0.2 s"):
        call(["squeue"])


def test_nothing_to_ask_for_asks_nothing(path: Path) -> None:
    write_command(path, "squeue", "exit 1")
    write_command(path, "scancel", "exit 1")
    assert list_queue() == []
    cancel_jobs([])


def test_jobs_that_are_forgotten_are_not_listed(path: Path) -> None:
    write_command(path, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert list_queue(job_ids=["5"]) == []


def test_an_answer_that_is_no_text_is_read(path: Path) -> None:
    write_command(path, "squeue", r"printf '5|demo|RUNNING|None|n\xff|NONE\n'")
    assert [row.state for row in list_queue(names=["demo"])] == ["RUNNING"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("echo 'MaxArraySize            = 5001'", 5001),
        ("echo 'MaxJobCount             = 5001'", 1001),
        ("exit 1", 1001),
        ("printf 'MaxArraySize = 5001\nSchedulerParameters = a=1,max_array_tasks=300,b=2\n'", 300),
        ("printf 'MaxArraySize = 5001\nSchedulerParameters = bf_interval=2\n'", 5001),
    ],
)
def test_the_size_of_arrays_is_asked_for(path: Path, text: str, size: int) -> None:
    write_command(path, "scontrol", text)
    assert max_array_size() == size


@pytest.mark.parametrize(
    "text", ["MaxArraySize = 0", "MaxArraySize = 1001\nSchedulerParameters = max_array_tasks=0"]
)
def test_a_cluster_without_arrays(path: Path, text: str) -> None:
    write_command(path, "scontrol", f"echo '{text}'")
    with pytest.raises(SchedulerError, match="takes no job arrays"):
        max_array_size()


def test_the_size_of_arrays_without_slurm(path: Path) -> None:
    assert max_array_size() == 1001
