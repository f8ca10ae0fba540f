"""What a call has written is there after a power cut at any later moment, under its name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from launch.rundir.attempts import list_attempts, open_attempt
from launch.rundir.canary import CanaryRecord, keep_canary, read_canary
from launch.rundir.durable import make_directory
from launch.rundir.journal import Journal, read_journal
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions
from launch.rundir.rounds import add_round, why_stopped
from launch.rundir.submissions import write_whole
from tests.power_cut import PowerCuts

JUDGED = CanaryRecord(1, 5, {}, (), stops=False, judged_by="task 0", time=1.0)


def append_durably(run: RunPaths) -> None:
    journal = Journal(run.root / "journal")
    journal.append({"line": 1}, durable=True)
    journal.append({"line": 2}, durable=True)
    journal.close()


def open_two_attempts(run: RunPaths) -> None:
    run.task(1, 3).mkdir(parents=True)  # another process has come so far
    open_attempt(run, 1, 3)
    open_attempt(run, 1, 3)


def end_rounds(run: RunPaths) -> None:
    make_directory(run.submission(1).root)
    add_round(run, 1, round_=0, num_missing=5, sends=False, why="enough")


@pytest.mark.parametrize(
    ("write", "is_there"),
    [
        (append_durably, lambda run: len(list(read_journal(run.root / "journal"))) == 2),
        (lambda run: make_directory(run.root / "a" / "b" / "c"), lambda run: (run.root / "a/b/c").is_dir()),
        (open_two_attempts, lambda run: list_attempts(run, 1, 3) == [0, 1]),
        (lambda run: keep_canary(run, JUDGED), lambda run: read_canary(run) == JUDGED),
        (end_rounds, lambda run: why_stopped(run, 1) == "enough"),
        (lambda run: write_whole(run, 1, lambda paths: None), lambda run: list_submissions(run) == [1]),
    ],
)
def test_what_was_written_is_there(
    tmp_path: Path, write: Callable[[RunPaths], object], is_there: Callable[[RunPaths], bool]
) -> None:
    run = RunPaths(tmp_path / "run")
    run.root.mkdir()
    with PowerCuts(run.root) as disk:
        write(run)
    assert disk.cuts[0].tree == {}
    disk.least.restore(run.root)
    assert is_there(run)
