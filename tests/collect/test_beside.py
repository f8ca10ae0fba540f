"""users.zip unpacked where it lies: its members are ours, everything else there is somebody's own."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from launch.collect.beside import Beside, look_beside
from launch.collect.manifest import read_published
from launch.collect.merge import merge
from launch.collect.published import open_published
from launch.collect.verify import verify_published
from launch.config.schema import UserFiles
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from tests.collect.builders import change_publish, make_generations, published, write_results


@pytest.fixture
def unpacked(run: RunPaths) -> RunPaths:
    """A run whose users.zip was unpacked in the published directory; an item is still missing."""
    write_results(run, make_generations(run)[:-1])
    change_publish(run, user_files=UserFiles.ARCHIVE, allow_missing=True)
    merge(run)
    unzip(published(run))
    return run


def unzip(directory: Path) -> None:
    with zipfile.ZipFile(directory / "users.zip") as archive:
        archive.extractall(directory)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def beside(directory: Path) -> Beside:
    manifest = read_published(directory)
    assert manifest is not None
    return look_beside(directory, manifest)


def test_members_that_lie_beside_their_archive_are_no_change(unpacked: RunPaths) -> None:
    directory = published(unpacked)
    report = verify_published(directory)
    assert report.is_whole and report.num_unpacked == 4
    assert len(open_published(directory).entries) == 11
    assert not merge(unpacked).is_new, "as published"
    assert beside(directory) == Beside((), 4)
    (directory / "users" / "u0.json").unlink()
    assert verify_published(directory).is_whole, "some of them are as good as all"


@pytest.mark.parametrize("form", [UserFiles.ARCHIVE, UserFiles.FILES, UserFiles.NONE])
def test_a_merge_replaces_members_that_were_unpacked(unpacked: RunPaths, form: UserFiles) -> None:
    write_results(unpacked, make_generations(unpacked)[-1:], task=1)
    change_publish(unpacked, user_files=form)
    directory = merge(unpacked).output_dir
    assert verify_published(directory).is_whole and beside(directory) == Beside(())
    assert (directory / "users").exists() == (form is UserFiles.FILES), "none is of the earlier results"


def replace_by_link(path: Path) -> None:
    elsewhere = path.rename(path.parent.parent.parent / "mine.json")
    path.symlink_to(elsewhere)


def swap_byte(path: Path) -> None:
    path.write_bytes(b" " + path.read_bytes()[1:])


OWN: list[tuple[str, Callable[[Path], object]]] = [
    ("users/u1.json", lambda path: path.write_bytes(path.read_bytes() + b"my note")),
    ("users/u1.json", swap_byte),
    ("users/u1.json", replace_by_link),
    ("users/notes.txt", lambda path: path.write_text("mine")),
    ("users/u1.json/deeper", lambda path: (path.parent.unlink(), path.parent.mkdir(), path.touch())),
    ("u1.json", lambda path: path.write_bytes((path.parent / "users" / "u1.json").read_bytes())),
]


@pytest.mark.parametrize(("name", "do"), OWN)
def test_what_is_somebodys_own_is_not_touched(
    unpacked: RunPaths, name: str, do: Callable[[Path], object]
) -> None:
    directory = published(unpacked)
    do(directory / name)
    before = contents(directory)
    write_results(unpacked, make_generations(unpacked)[-1:], task=1)
    with pytest.raises(RunError, match=f": holds {name}, which vllm-launch did not publish; nothing was"):
        merge(unpacked)
    assert verify_published(directory).problems == (f"{name}: is not in manifest.json",)
    assert contents(directory) == before
    (directory / name).rename(directory.parent / "kept")
    if not name.endswith("deeper"):
        assert merge(unpacked).manifest.complete


def test_files_that_cannot_be_read_are_not_known_to_be_ours(
    unpacked: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "u2.json":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert beside(published(unpacked)) == Beside(("users/u2.json",), 3)


def test_an_archive_that_was_changed_vouches_for_nothing(unpacked: RunPaths) -> None:
    """Somebody packed files of their own under its name, say."""
    directory = published(unpacked)
    with zipfile.ZipFile(directory / "users.zip", "w") as archive:
        for path in sorted((directory / "users").iterdir()):
            path.write_text("mine")
            archive.write(path, f"users/{path.name}")
    with pytest.raises(RunError, match=r"holds users/u0\.json and 3 more, which vllm-launch did not publish"):
        merge(unpacked)
    assert (directory / "users" / "u0.json").read_text() == "mine"


def test_a_manifest_that_gives_the_archives_name_to_another_file(unpacked: RunPaths) -> None:
    directory = published(unpacked)
    value = orjson.loads((directory / "manifest.json").read_bytes())
    value["files"]["users.zip"] = value["files"]["generations.jsonl"]
    (directory / "manifest.json").write_bytes(orjson.dumps(value))
    (directory / "users.zip").write_bytes((directory / "generations.jsonl").read_bytes())
    assert len(beside(directory).foreign) == 4
