"""`vllm-launch verify` as it is typed: what it names, and how much of it."""

import zipfile
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.config.schema import UserFiles
from launch.rundir.layout import RunPaths
from tests.cli.commands import succeed, vllm_launch
from tests.collect.builders import change_publish, make_generations, plan_run, published, write_results

pytestmark = pytest.mark.process


@pytest.fixture
def run(tmp_path: Path, checkpoint: Path) -> RunPaths:
    """A published run with users.zip."""
    run = plan_run(tmp_path, checkpoint)
    write_results(run, make_generations(run))
    change_publish(run, user_files=UserFiles.ARCHIVE)
    merge(run)
    return run


def test_an_archive_that_was_unpacked_is_said_in_one_line_and_in_nobodys_way(
    run: RunPaths, tmp_path: Path
) -> None:
    directory = published(run)
    with zipfile.ZipFile(directory / "users.zip") as archive:
        archive.extractall(directory)
    said = succeed("verify", directory, cwd=tmp_path)
    assert said.notes == ["4 files in users/ are members of users.zip, unpacked: they may stay or be removed"]
    assert said.out.startswith(f"{directory}: 5 files as published")
    for words in (("score", directory), ("merge", run.root), ("compare", directory, directory)):
        succeed(*words, cwd=tmp_path)


def test_at_most_twenty_lines_and_how_many_more(run: RunPaths, tmp_path: Path) -> None:
    directory = published(run)
    (directory / "users.zip").unlink()
    for number in range(20):
        (directory / f"note{number:02}").touch()
    said = vllm_launch("verify", directory, cwd=tmp_path)
    assert (said.code, said.out) == (3, "") and said.errors[0] == "users.zip: is missing"
    assert said.errors[19:] == ["note18: is not in manifest.json", "and 1 more"]
    (directory / "note19").unlink()
    said = vllm_launch("verify", directory, cwd=tmp_path)
    assert said.errors[19:] == ["note18: is not in manifest.json"]
