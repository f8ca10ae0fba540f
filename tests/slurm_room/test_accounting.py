"""What sacct says, in the words of squeue."""

import os
from pathlib import Path

import pytest

from launch.errors import SchedulerError
from launch.slurm.accounting import (
    JobLife,
    list_accounted,
    list_jobs,
    list_lives,
    parse_accounting_line,
    parse_life,
)


def test_a_task_a_row() -> None:
    (row,) = parse_accounting_line("12_3|r.1.tasks-0|CANCELLED by 1000|n1")
    assert (row.job_id, row.array_task, row.name, row.state, row.node) == (
        "12",
        3,
        "r.1.tasks-0",
        "CANCELLED",
        "n1",
    )


def test_tasks_that_never_started_stand_together() -> None:
    rows = parse_accounting_line("12_[4-6,9%2]|n|x|PENDING|None assigned")
    assert [(row.array_task, row.name, row.state) for row in rows] == [
        (task, "n|x", "PENDING") for task in (4, 5, 6, 9)
    ]


def test_another_form_is_an_error() -> None:
    with pytest.raises(SchedulerError, match=r"sacct: expected JobID\|JobName"):
        parse_accounting_line("12_3 COMPLETED")


def command(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_the_queue_comes_before_accounting(path: Path) -> None:
    command(path, "squeue", "echo '12_1|n|RUNNING|None|n2|N/A'")
    command(path, "sacct", "echo '12_0|n|PREEMPTED|n1'; echo '12_1|n|PREEMPTED|n1'")
    assert [(row.array_task, row.state) for row in list_jobs(["12"])] == [(1, "RUNNING"), (0, "PREEMPTED")]


def test_what_the_controller_does_not_know_neither_runs_nor_waits(path: Path) -> None:
    command(path, "squeue", "echo '12_1|n|COMPLETED|None|n2|N/A'")
    command(path, "sacct", "printf '%s\\n' '12_0|n|RUNNING|n1' '12_2|n|PENDING|' '12_3|n|TIMEOUT|n1'")
    assert [(row.array_task, row.state) for row in list_jobs(["12"])] == [(1, "COMPLETED"), (3, "TIMEOUT")]


def test_no_accounting_is_no_error(path: Path) -> None:
    command(path, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert list_accounted(["12"]) == [] and list_accounted([]) == []


@pytest.mark.parametrize(
    ("line", "life"),
    [
        (
            "12_3|main|1700000000|1700000060|cpu=1,gres/gpu:h100=2,gres/gpu=2,node=1",
            JobLife("12", 3, "main", 1_700_000_000, 1_700_000_060, 2),
        ),
        ("12_3|main|1700000000|Unknown|cpu=1", JobLife("12", 3, "main", 1_700_000_000, None)),
        ("12_3|main|Unknown|1700000060|", None),
        ("12_[4-6]|main|Unknown|Unknown|", None),
        ("12|main|1700000000|1700000060|", None),
        ("12_3|main|None|None|", None),
    ],
)
def test_a_life_of_a_task(line: str, life: JobLife | None) -> None:
    assert parse_life(line) == life


def test_lives_are_asked_for_in_seconds_and_requeued_ones_too(path: Path) -> None:
    told = 'echo "$SLURM_TIME_FORMAT $*" >&2; [ "$SLURM_TIME_FORMAT" = %s ] || exit 1'
    command(
        path,
        "sacct",
        f"{told}; echo '12_0|c|10|20|'; echo '12_0|c|30|Unknown|'; echo '12_[1-2]|c|None|None|'",
    )
    assert list_lives(["12", "13"]) == [JobLife("12", 0, "c", 10, 20), JobLife("12", 0, "c", 30, None)]
    assert list_lives([]) == []


def test_no_lives_are_told_without_accounting(path: Path) -> None:
    command(path, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    with pytest.raises(SchedulerError, match="disabled"):
        list_lives(["12"])
    command(path, "sacct", "echo '12_0|c'")
    with pytest.raises(SchedulerError, match=r"expected JobID\|Cluster\|Start\|End\|Alloc"):
        list_lives(["12"])
