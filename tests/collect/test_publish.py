"""A published directory is whole or absent, whatever ends a merge, and never another's files are touched."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.collect import digested_file, edited
from launch.collect.manifest import FileDigest, read_published
from launch.collect.merge import merge
from launch.collect.publish import check_output_dir
from launch.collect.verify import verify_published
from launch.errors import RunError, StorageError
from launch.rundir.layout import RunPaths
from tests.collect.builders import (
    change_publish,
    copy_run,
    make_generations,
    make_users,
    plan_run,
    published,
    same_bytes,
    write_results,
)

STEPS = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> RunPaths:
    """One user with two items, so that there are few steps to be killed at."""
    return plan_run(tmp_path_factory.mktemp("small"), checkpoint, make_users(1, 2), num_tasks=1)


def merge_killed_at(run: RunPaths, step: int) -> bool:
    """Merges in a process that SIGKILLs itself before its `step`-th change on disk; whether it did."""
    child = os.fork()
    if not child:
        try:
            _kill_at(step)
            merge(run)
        finally:
            os._exit(0)
    _, waited = os.waitpid(child, 0)
    return os.WIFSIGNALED(waited) and os.WTERMSIG(waited) == signal.SIGKILL


def _kill_at(step: int) -> None:
    done = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def assert_tidy(run: RunPaths) -> None:
    """Only the published directory is left, and no scratch."""
    assert [path.name for path in published(run).parent.iterdir()] == ["run"]
    assert not list(run.merge.glob("*.scratch"))


@pytest.mark.process
def test_killed_at_any_step_the_first_publication_is_completed(small: RunPaths, tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        step += 1
        run = copy_run(small, tmp_path / str(step))
        everything = make_generations(run)
        write_results(run, everything)
        killed = merge_killed_at(run, step)
        if published(run).exists():
            assert verify_published(published(run)).is_whole
        assert merge(run).manifest.complete
        assert verify_published(published(run)).is_whole
        assert_tidy(run)
        shutil.rmtree(tmp_path / str(step))
    assert step > 12


@pytest.mark.process
def test_killed_at_any_step_a_replacement_is_completed(small: RunPaths, tmp_path: Path) -> None:
    step, killed, absent = 0, True, 0
    while killed:
        step += 1
        run = copy_run(small, tmp_path / str(step))
        everything = make_generations(run)
        write_results(run, everything[:-1])
        change_publish(run, allow_missing=True)
        merge(run)
        write_results(run, everything[-1:])
        killed = merge_killed_at(run, step)
        absent += not published(run).exists()
        if published(run).exists():
            assert verify_published(published(run)).is_whole
        assert merge(run).manifest.complete
        assert verify_published(published(run)).is_whole
        assert len(same_bytes(published(run))) == 3
        assert_tidy(run)
        shutil.rmtree(tmp_path / str(step))
    assert step > 20
    assert absent == 1  # between the two renames


def test_a_cut_between_the_renames_without_a_whole_new_directory_brings_the_old_one_back(
    run: RunPaths,
) -> None:
    write_results(run, make_generations(run))
    directory = merge(run).output_dir
    before = same_bytes(directory)
    directory.rename(directory.with_name("run.old-run"))
    directory.with_name("run.partial1-run").mkdir()
    result = merge(run)
    assert not result.is_new
    assert same_bytes(directory) == before
    assert_tidy(run)


def test_only_what_earlier_claims_wrote_is_a_leftover(run: RunPaths) -> None:
    """A later one is another merge's at work; a name of another form is somebody's own."""
    write_results(run, make_generations(run))
    others = {"run.partial7-run", "run.partial1-runs", "run.partial01-run", "run.partialx-run"}
    for name in others | {"run.partial-run", "run.partial1-run"}:
        (published(run).parent / name).mkdir(parents=True)
    assert merge(run).is_new
    assert {path.name for path in published(run).parent.iterdir()} == others | {"run"}


def hold_open(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """`directory` cannot be removed, as on NFS while a process of this node has a file of it open."""
    rmdir = os.rmdir

    def refuse(path: Any, **options: Any) -> None:
        if Path(path).name == directory.name:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", refuse)


def test_an_old_directory_whose_files_are_open_goes_with_a_later_merge(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = make_generations(run)
    change_publish(run, allow_missing=True)
    write_results(run, everything[:-2])
    old = merge(run).output_dir.with_name("run.old-run")
    write_results(run, everything[-2:-1])
    hold_open(monkeypatch, old)
    assert merge(run).is_new and old.exists()
    assert verify_published(published(run)).is_whole
    assert not merge(run).is_new, "nothing new: what is left of the old one is in nobody's way"
    write_results(run, everything[-1:])
    before = same_bytes(published(run))
    with pytest.raises(StorageError, match=r"still open somewhere .*; nothing was replaced"):
        merge(run)
    assert same_bytes(published(run)) == before
    monkeypatch.undo()
    assert merge(run).manifest.complete
    assert_tidy(run)


def test_what_is_left_of_an_old_directory_is_no_publication(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    published(run).parent.mkdir()
    old = published(run).with_name("run.old-run")
    old.mkdir()
    (old / ".nfs0001").touch()
    assert merge(run).is_new
    assert_tidy(run)


def test_a_full_disk_is_one_line_and_leaves_nothing(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(run, make_generations(run))
    published(run).parent.mkdir()
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(published(run).parent):
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        merge(run)
    monkeypatch.undo()
    assert not list(published(run).parent.iterdir())
    assert merge(run).manifest.complete


@pytest.mark.parametrize("name", ["users/u1.json", "generations.jsonl", "inference_summary.json"])
def test_what_somebody_edited_is_not_published_over(run: RunPaths, name: str) -> None:
    everything = make_generations(run)
    change_publish(run, allow_missing=True)
    write_results(run, everything[:-1])
    directory = merge(run).output_dir
    (directory / name).write_text("mine")
    write_results(run, everything[-1:], task=1)
    message = (
        rf"{name} changed after publishing; nothing was touched\. Move what you changed away, or remove it"
    )
    with pytest.raises(RunError, match=message):
        merge(run)
    assert (directory / name).read_text() == "mine"
    (directory / name).rename(directory.parent / "mine")
    assert merge(run).manifest.complete and verify_published(directory).is_whole


def test_an_edit_is_known_by_its_size_or_time_and_nothing_else_is_read(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge of a million items looks at what it replaces and reads none of it."""
    write_results(run, make_generations(run))
    directory = merge(run).output_dir
    manifest = read_published(directory)
    assert manifest is not None
    for number, name in enumerate(manifest.files):
        os.utime(directory / name, (number, number))
    read: list[str] = []

    def difference(path: Path, expected: FileDigest) -> str | None:
        read.append(str(path.relative_to(directory)))
        return digested_file.difference(path, expected)

    monkeypatch.setattr(edited, "difference", difference)
    assert (edited.edited_files(directory, manifest), read) == ([], [])
    path = directory / "users" / "u1.json"
    path.touch()
    assert (edited.edited_files(directory, manifest), read) == ([], ["users/u1.json"])
    path.write_bytes(path.read_bytes().replace(b"text", b"TEXT"))
    assert edited.edited_files(directory, manifest) == ["users/u1.json"]
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, (1, 1))
    assert edited.edited_files(directory, manifest) == ["users/u1.json"]
    path.write_bytes(b"")  # a crash of a machine, nobody's work
    assert edited.edited_files(directory, manifest) == []


def test_a_directory_of_another_run_is_not_touched(planned: RunPaths, tmp_path: Path) -> None:
    run = copy_run(planned, tmp_path)
    write_results(run, make_generations(run))
    directory = merge(run).output_dir
    before = same_bytes(directory)
    with pytest.raises(RunError, match="holds the results of run run; nothing was touched"):
        check_output_dir(directory, "another")
    check_output_dir(directory, "run")
    assert same_bytes(directory) == before


def test_a_foreign_directory_is_not_touched(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    published(run).mkdir(parents=True)
    (published(run) / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="holds files that vllm-launch did not publish"):
        merge(run)
    assert (published(run) / "thesis.tex").read_text() == "years of work"
    assert_tidy(run)


def test_a_link_that_somebody_put_there_is_not_lost(run: RunPaths, tmp_path: Path) -> None:
    """Publishing anew replaces the whole directory."""
    everything = make_generations(run)
    write_results(run, everything)
    merge(run)
    (tmp_path / "plots").mkdir()
    write_results(run, everything, task=1)
    for name in (tmp_path / "plots", tmp_path / "nowhere"):
        (published(run) / "mine").symlink_to(name)
        with pytest.raises(RunError, match="holds mine, which vllm-launch did not publish"):
            merge(run)
        assert verify_published(published(run)).problems == ("mine: is not in manifest.json",)
        (published(run) / "mine").unlink()
    (published(run) / "users").rename(tmp_path / "users")
    (published(run) / "users").symlink_to(tmp_path / "users")
    assert verify_published(published(run)).is_whole
    assert merge(run).is_new and not (published(run) / "users").is_symlink()


@pytest.mark.parametrize("text", ["{", "[]", '{"run_id": "run"}'])
def test_a_manifest_that_is_not_ours_is_an_error(run: RunPaths, text: str) -> None:
    published(run).mkdir(parents=True)
    (published(run) / "manifest.json").write_text(text)
    with pytest.raises(RunError, match="Move the directory away"):
        check_output_dir(published(run), "run")


def test_an_empty_directory_is_taken(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    published(run).mkdir(parents=True)
    assert merge(run).is_new
    assert_tidy(run)


def test_files_in_the_way_are_errors(run: RunPaths) -> None:
    published(run).parent.write_text("a file")
    with pytest.raises(RunError, match="is not a directory"):
        check_output_dir(published(run), "run")
    with pytest.raises(RunError, match="is not a directory"):
        check_output_dir(published(run).parent, "run")


def test_a_place_that_cannot_be_written_is_an_error(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match="writing is not allowed"):
        check_output_dir(published(run), "run")


def test_a_link_to_a_directory_is_followed(run: RunPaths, tmp_path: Path) -> None:
    write_results(run, make_generations(run))
    disk = tmp_path / "big_disk"
    disk.mkdir()
    published(run).parent.mkdir()
    published(run).symlink_to(disk)
    merge(run)
    assert (tmp_path / "published" / "run").is_symlink()
    manifest = read_published(disk)
    assert manifest is not None
    assert manifest.complete
