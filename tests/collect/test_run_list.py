"""The runs of a directory: states from files alone, damaged ones in a line."""

import os
import time
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.collect.run_list import RunState, list_runs
from launch.errors import RunError
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from tests.collect.builders import change_publish, copy_run, make_generations, write_results
from tests.collect.large_run import send_to_slurm


def only(run: RunPaths) -> tuple[RunState, int, int]:
    (line,) = list_runs(run.root.parent)
    return line.state, line.num_done, line.num_failed


def test_states_of_a_run(run: RunPaths) -> None:
    assert only(run) == (RunState.UNSENT, 0, 0)
    write_results(run, make_generations(run, failed=[3])[:5])
    run.attempt(1, 0, 0).heartbeat.touch()
    assert only(run) == (RunState.RUNNING, 4, 1)
    old = time.time() - 3600
    os.utime(run.attempt(1, 0, 0).heartbeat, (old, old))
    assert only(run) == (RunState.STOPPED, 4, 1)
    send_to_slurm(run, 2)
    assert only(run) == (RunState.SENT, 4, 1)


def test_published_ones_are_counted_by_their_manifest(run: RunPaths) -> None:
    everything = make_generations(run)
    start = write_results(run, everything[:-1])
    write_json(run.attempt(1, 0, start.attempt).ended, {"code": 0, "reason": "empty"})
    change_publish(run, allow_missing=True)
    merge(run)
    assert only(run) == (RunState.INCOMPLETE, 11, 0)
    write_results(run, everything[-1:], task=1)
    merge(run)
    assert only(run) == (RunState.PUBLISHED, 12, 0)
    start.paths(run).commits.unlink()  # nobody asks
    assert only(run) == (RunState.PUBLISHED, 12, 0)


def test_a_published_run_whose_directory_has_another_name(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    merge(run)
    assert only(RunPaths(run.root.rename(run.root.with_name("results.run")))) == (RunState.PUBLISHED, 12, 0)


def test_newest_first_and_damaged_ones_in_a_line(planned: RunPaths, tmp_path: Path) -> None:
    run = copy_run(planned, tmp_path)
    runs = run.root.parent
    for name in ("hostile\x1b[31m\u202e", "empty", ".run.tmp"):
        (runs / name).mkdir()
    (runs / "hostile\x1b[31m\u202e" / "tasks").mkdir()
    (runs / "file").touch()
    damaged = copy_run(planned, tmp_path / "other").root.rename(runs / "torn")
    (damaged / "plan" / "plan.json").write_text("{")
    lines = list_runs(runs)
    assert [line.run_id for line in lines] == ["run", "hostile\\U0000202E", "torn"]
    assert (lines[0].preset, lines[0].marks, lines[0].num_items) == ("test", ("stub",), 12)
    assert lines[0].age_s is not None and 0 <= lines[0].age_s < 3600
    for line in lines[1:]:
        assert line.state is RunState.DAMAGED and line.trouble and line.trouble.isprintable()
    assert "plan.json" in str(lines[2].trouble)


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file or directory"):
        list_runs(tmp_path / "none")
    assert list_runs(tmp_path) == []
