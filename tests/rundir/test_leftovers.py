"""What killed makers of runs left is removed, and nothing that may be alive or another's."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launch.rundir import create
from launch.rundir.create import RunRequest, create_run
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from launch.rundir.leftovers import OLD_S, mark_maker, remove_leftovers
from launch.rundir.process_mark import mark_process
from tests.models import make_tiny_llama
from tests.runs import make_config


def begin(folder: Path, name: str = ".r.0123abcd", age_s: int = 0) -> RunPaths:
    """The beginning of a run, of so long ago."""
    partial = RunPaths(folder / name)
    partial.templates.mkdir(parents=True)
    (partial.templates / "dialogue.j2").touch()
    then = partial.root.stat().st_mtime - age_s
    os.utime(partial.root, (then, then))
    return partial


def mark_dead(partial: RunPaths, host: str | None = None) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        mark = mark_process(process.pid)
        process.kill()
    write_json(partial.maker, (mark if host is None else replace(mark, host=host)).as_json())


@pytest.mark.parametrize(
    ("mark", "age_s", "stays"),
    [
        (mark_dead, 0, False),
        (mark_maker, 2 * OLD_S, True),
        (lambda partial: mark_dead(partial, "elsewhere"), 0, True),
        (lambda partial: None, 0, True),
        (lambda partial: None, 2 * OLD_S, False),
        (lambda partial: (partial.root / "mine").touch(), 2 * OLD_S, True),
    ],
    ids=["dead", "alive", "of another host", "no mark", "no mark, old", "something else in it"],
)
def test_what_is_removed(tmp_path: Path, mark: Callable[[RunPaths], None], age_s: int, stays: bool) -> None:
    partial = begin(tmp_path)
    mark(partial)
    then = partial.root.stat().st_mtime - age_s
    os.utime(partial.root, (then, then))
    remove_leftovers(tmp_path)
    assert partial.root.exists() is stays


@pytest.mark.parametrize("name", ["r", ".r", ".git", ".r.0123abc", ".r.removed-0123abcd", "r.0123abcd"])
def test_another_name_is_not_ours(tmp_path: Path, name: str) -> None:
    begin(tmp_path, name, age_s=2 * OLD_S)
    remove_leftovers(tmp_path)
    assert (tmp_path / name).is_dir()


def test_the_next_run_removes_them_and_has_no_mark_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is killed when its plan is written: what a `finally` would remove stays."""
    config = make_config(make_tiny_llama(tmp_path / "model"))
    request = RunRequest(config, "quick_test", tmp_path / "runs", "r")
    with monkeypatch.context() as patch:
        patch.setattr(create, "write_plan", lambda *_: 1 / 0)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(ZeroDivisionError):
            create_run(request)
    (left,) = (tmp_path / "runs").iterdir()
    assert left.name.startswith(".r.") and RunPaths(left).maker.is_file()
    mark_dead(RunPaths(left))
    run = create_run(request)
    assert list((tmp_path / "runs").iterdir()) == [run.root] and not run.maker.exists()
