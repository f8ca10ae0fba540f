"""Which directories of a folder are looked at, and whether a folder is one for published directories."""

import os
import shutil
from pathlib import Path

import pytest

from launch.collect.leaderboard.folder import directories_in, holds_only_ours, read_directories
from tests.collect.leaderboard.publications import Publications


def names_in(folder: Path) -> list[str]:
    return [each.name for each in directories_in(folder)]


def test_runs_files_and_what_is_being_published_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "run.run", "b.partial12-b", "b.old-b", "gone.old-gone", "a.older-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "run.run" / "run.yaml").touch()
    (tmp_path / "index.html").touch()
    assert names_in(tmp_path) == ["a", "a.older-x", "b", "gone.old-gone"]


def test_what_a_cut_publication_left_is_named(publications: Publications, tmp_path: Path) -> None:
    publications.write(tmp_path / "gone.old-gone", manifest={"run_id": "gone"})
    (left,) = read_directories(directories_in(tmp_path), tmp_path).left_out
    assert "publication left that was cut off" in left.why


def test_a_run_may_have_a_name_of_that_form(publications: Publications, tmp_path: Path) -> None:
    """Only what ends in its own run's id is on its way."""
    for name in ("mistral", "mistral.old-prompts", "llama.partial-users"):
        publications.write(tmp_path / name, manifest={"run_id": "m1"})
    for kind in ("old", "partial", "partial12"):
        publications.write(tmp_path / f"mistral.{kind}-m1", manifest={"run_id": "m1"})
    assert names_in(tmp_path) == ["llama.partial-users", "mistral", "mistral.old-prompts"]


def test_what_is_not_ours_is_named_and_left_out(publications: Publications, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "manifest.json").mkdir()
    publications.write(tmp_path / "run")
    found = read_directories(directories_in(tmp_path), tmp_path)
    assert [entry.directory for entry in found.entries] == ["run"]
    assert [(each.directory, each.why[:16]) for each in found.left_out] == [
        ("file", "manifest.json: n"),
        ("notes", "no manifest.json"),
    ]


def test_a_name_that_is_no_utf8_is_named_so_that_it_can_be_read(
    publications: Publications, tmp_path: Path
) -> None:
    publications.write(tmp_path / "run")
    os.rename(tmp_path / "run", os.fsencode(tmp_path) + b"/run\xff\n")
    ((name, why),) = [
        (e.directory, e.why) for e in read_directories(directories_in(tmp_path), tmp_path).left_out
    ]
    assert name == "run\\U0000DCFF\\U0000000A" and why.startswith("its path is no UTF-8")


def test_the_same_results_count_once(publications: Publications, tmp_path: Path) -> None:
    publications.write(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    found = read_directories(directories_in(tmp_path), tmp_path)
    assert [entry.directory for entry in found.entries] == ["one"]
    assert [each.why for each in found.left_out] == ["holds the same results of the same run as one."]


@pytest.mark.parametrize(
    ("also", "expected"),
    [
        ((), True),
        (("index.html", "plotly.min.js", ".DS_Store", "a.run/run.yaml", "a.partial1-a/x"), True),
        (("notes.txt",), False),
        (("src/main.py",), False),
        (("notes.txt", "leaderboard.json"), True),
    ],
    ids=["nothing else", "ours", "a file", "a folder", "asked for before"],
)
def test_pages_are_made_by_themselves_only_where_nothing_else_lies(
    publications: Publications, tmp_path: Path, also: tuple[str, ...], expected: bool
) -> None:
    publications.write(tmp_path / "a")
    for name in also:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert holds_only_ours(tmp_path) is expected
