"""A submission is opened whole or not at all."""

from pathlib import Path

import pytest

from launch.errors import RunError
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.submissions import write_whole


def write_one(paths: SubmissionPaths) -> None:
    paths.claims.mkdir()
    paths.submission_yaml.write_text("one")


def write_other(paths: SubmissionPaths) -> None:
    paths.submission_yaml.write_text("two")


def write_half(paths: SubmissionPaths) -> None:
    write_one(paths)
    raise KeyboardInterrupt


def names(run: RunPaths) -> list[str]:
    return sorted(path.name for path in run.submissions.iterdir())


def test_the_second_to_open_a_number_is_told_and_leaves_the_first(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    write_whole(run, 1, write_one)
    with pytest.raises(RunError, match=r"submissions/1: another resume has just opened it"):
        write_whole(run, 1, write_other)
    assert run.submission(1).submission_yaml.read_text() == "one" and names(run) == ["1"]


def test_a_break_leaves_nothing(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_whole(run, 1, write_half)
    assert names(run) == []
