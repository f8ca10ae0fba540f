"""`vllm-launch verify` as it is typed: what it names, and how much of it."""

import shutil
import zipfile
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.config.schema import UserFiles
from launch.rundir.layout import RunPaths
from tests.cli.commands import succeed, vllm_launch
from tests.cli.damages import edit_json
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


def test_a_run_is_as_sound_as_what_is_published_of_it(run: RunPaths, tmp_path: Path) -> None:
    directory = published(run)
    succeed("merge", run.root, "--user-files", "files", cwd=tmp_path)
    said = succeed("verify", run.root, cwd=tmp_path)
    assert said.out.startswith(f"{run.root}: 12 items, every line sound; 8 files as published")

    def problem() -> str:
        said = vllm_launch("verify", run.root, cwd=tmp_path)
        assert (said.code, said.out, len(said.errors)) == (3, "", 1)
        return said.errors[0]

    (directory / "users" / "u1.json").unlink()
    assert problem() == f"{directory}: users/u1.json: is missing"
    succeed("merge", run.root, cwd=tmp_path)
    (directory / "notes.txt").touch()
    assert problem() == f"{directory}: notes.txt: is not in manifest.json"
    (directory / "manifest.json").rename(tmp_path / "manifest.json")
    assert problem().startswith(f"{directory}: no manifest.json of vllm-launch here.")
    edit_json(tmp_path / "manifest.json", run_id="other")
    (tmp_path / "manifest.json").rename(directory / "manifest.json")
    assert problem() == f"{directory}: holds the results of run other"
    shutil.rmtree(directory)
    assert problem() == (
        f"{directory}: what was published there is gone. Publish it again with `vllm-launch merge`."
    )
    succeed("merge", run.root, cwd=tmp_path)
    succeed("verify", run.root, cwd=tmp_path)


def test_a_run_that_was_never_published_is_said_to_be(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint)
    write_results(run, make_generations(run))
    said = succeed("verify", run.root, cwd=tmp_path)
    assert said.out == f"{run.root}: 12 items, every line sound; not published in {published(run)}\n"


def test_what_is_gone_is_said_of_a_run_that_was_moved_as_well(run: RunPaths, tmp_path: Path) -> None:
    directory = published(run)
    succeed("merge", run.root, cwd=tmp_path)
    moved = RunPaths(tmp_path / "archive" / "of" / "runs" / "run")
    moved.root.parent.mkdir(parents=True)
    run.root.rename(moved.root)
    succeed("verify", moved.root, cwd=tmp_path)
    shutil.rmtree(directory)
    said = vllm_launch("verify", moved.root, cwd=tmp_path)
    gone = f"{directory}: what was published there is gone. Publish it again with `vllm-launch merge`."
    assert (said.code, said.errors) == (3, [gone])


def test_a_canary_that_cannot_be_read_keeps_nothing_from_being_published(
    run: RunPaths, tmp_path: Path
) -> None:
    shutil.rmtree(published(run))
    run.canary.unlink(missing_ok=True)
    run.canary.symlink_to(run.canary.name)
    said = succeed("merge", run.root, cwd=tmp_path)
    assert any(note.startswith(f"{run.canary}: cannot read: ") for note in said.notes)
    succeed("verify", published(run), cwd=tmp_path)


def test_a_run_and_its_publication_that_were_moved_together(run: RunPaths, tmp_path: Path) -> None:
    succeed("merge", run.root, cwd=tmp_path)
    archive = tmp_path / "archive"
    moved, place = [archive / path.relative_to(tmp_path) for path in (run.root, published(run))]
    archive.mkdir()
    for folder in ("runs", "published"):
        (tmp_path / folder).rename(archive / folder)
    said = succeed("verify", moved, cwd=tmp_path)
    assert f" and {place} holds what this run published." in said.err and "not published" not in said.out
    (place / "users.zip").unlink()
    said = vllm_launch("verify", moved, cwd=tmp_path)
    assert said.code == 3 and said.errors[-1] == f"{place}: users.zip: is missing"


def test_a_run_that_is_published_elsewhere_from_now_on(run: RunPaths, tmp_path: Path) -> None:
    before, other = published(run), tmp_path / "other"
    succeed("merge", run.root, cwd=tmp_path)
    change_publish(run, output_dir=other)

    def where() -> str:
        return succeed("verify", run.root, cwd=tmp_path).out.partition("; ")[2].strip()

    assert where() == f"not published in {other}, but before in {before}"
    shutil.rmtree(before)
    assert where() == f"not published in {other}, but before in {before}, which is gone"
    succeed("merge", run.root, cwd=tmp_path)
    assert "published in" not in where()


def test_a_partial_publication_is_said_to_be(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint)
    change_publish(run, allow_missing=True)
    write_results(run, make_generations(run)[2:])
    end = "; texts of the stub engine, not of a model\n"
    merge(run)
    said = succeed("verify", published(run), cwd=tmp_path)
    assert said.out == (f"{published(run)}: 8 files as published; partial: 2 of 12 items missing{end}")
    write_results(run, make_generations(run, failed=[0])[:1], task=1)
    change_publish(run, allow_missing=True, max_failed_items=1)
    merge(run)
    said = succeed("verify", published(run), cwd=tmp_path)
    assert said.out == (
        f"{published(run)}: 8 files as published; partial: 1 of 12 items missing, 1 failed{end}"
    )
