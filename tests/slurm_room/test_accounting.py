"""What sacct says, in the words of squeue."""

import os
from pathlib import Path

import pytest

from launch.errors import SchedulerError
from launch.slurm.accounting import list_accounted, list_jobs, parse_accounting_line


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


def test_no_accounting_is_no_error(path: Path) -> None:
    command(path, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert list_accounted(["12"]) == [] and list_accounted([]) == []
