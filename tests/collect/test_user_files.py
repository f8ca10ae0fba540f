"""What is published of each user: a file, a member of an archive, or nothing."""

import zipfile
from pathlib import Path

import pytest

from launch.collect import user_files
from launch.collect.merge import merge
from launch.collect.user_files import resolve_user_files
from launch.collect.verify import verify_published
from launch.config.schema import PublishConfig, UserFiles
from launch.errors import StorageError
from launch.rundir.layout import RunPaths
from tests.collect.builders import change_publish, make_generations, published, write_results


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name.startswith("users")}


@pytest.mark.parametrize(
    ("asked", "num_users", "form"),
    [
        (UserFiles.AUTO, 1_000, UserFiles.FILES),
        (UserFiles.AUTO, 1_001, UserFiles.ARCHIVE),
        (UserFiles.FILES, 1_001, UserFiles.FILES),
        (UserFiles.ARCHIVE, 1, UserFiles.ARCHIVE),
        (UserFiles.NONE, 1, UserFiles.NONE),
    ],
)
def test_the_form(asked: UserFiles, num_users: int, form: UserFiles) -> None:
    assert resolve_user_files(asked, num_users) is form


@pytest.mark.parametrize(("written", "read"), [(True, UserFiles.FILES), (False, UserFiles.NONE)])
def test_what_stood_in_a_submission_before_there_were_archives(written: bool, read: UserFiles) -> None:
    assert PublishConfig.model_validate({"user_files": written}).user_files is read


def test_auto_packs_the_users_of_a_large_run(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(run, make_generations(run))
    assert names_in(merge(run).output_dir) == {"users"}
    monkeypatch.setattr(user_files, "MAX_FILES", 3)
    other = RunPaths(run.root)
    change_publish(other, output_dir=run.root.parent.parent / "elsewhere")
    assert names_in(merge(other).output_dir) == {"users.zip"}


def test_an_archive_has_the_same_files_and_a_change_of_form_publishes_anew(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    directory = merge(run).output_dir
    files = {f"users/{path.name}": path.read_bytes() for path in (directory / "users").iterdir()}
    change_publish(run, user_files=UserFiles.ARCHIVE)
    manifest = merge(run).manifest
    assert names_in(directory) == {"users.zip"}
    with zipfile.ZipFile(directory / "users.zip") as archive:
        assert archive.namelist() == [f"users/u{number}.json" for number in range(4)], "in input order"
        assert {name: archive.read(name) for name in files} == files
    assert manifest.files["users.zip"].lines == 4
    assert [name for name in manifest.files if "user" in name] == ["users.zip"]
    assert not merge(run).is_new
    change_publish(run, user_files=UserFiles.NONE)
    assert names_in(merge(run).output_dir) == set()


def test_every_byte_of_an_archive_is_proven(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    change_publish(run, user_files=UserFiles.ARCHIVE)
    merge(run)
    path = published(run) / "users.zip"
    data = path.read_bytes()
    for place in range(0, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        problems = verify_published(published(run)).problems
        assert problems == ("users.zip: has other bytes than were published (sha256)",)
    path.unlink()
    assert verify_published(published(run)).problems == ("users.zip: is missing",)
    assert merge(run).is_new
    assert path.read_bytes() == data


def test_a_user_file_that_cannot_be_written_stops_the_merge(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written by threads; what stops one of them is what the merge says."""
    write_results(run, make_generations(run))
    write = user_files.write_digested

    def refuse(path: Path, data: bytes) -> object:
        if path.name == "u2.json":
            raise StorageError(f"{path}: cannot write: the disk is full.")
        return write(path, data)

    monkeypatch.setattr(user_files, "write_digested", refuse)
    for num_threads in (8, 0):  # seen at the end, or while others are still to be written
        monkeypatch.setattr(user_files, "NUM_THREADS", num_threads or 1)
        monkeypatch.setattr(user_files, "MAX_PENDING", 2 * num_threads)
        with pytest.raises(StorageError, match=r"u2\.json: cannot write"):
            merge(run)
    assert not published(run).parent.exists() or list(published(run).parent.iterdir()) == []
