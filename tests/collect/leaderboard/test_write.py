"""The three files of a folder: whole, the same for the same input, and nobody's run is lost."""

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from launch.collect.leaderboard import write
from launch.collect.leaderboard.page import as_page
from launch.collect.leaderboard.record import INDEX, LEADERBOARD, TABLE, Leaderboard
from launch.collect.leaderboard.write import write_leaderboard
from launch.collect.schemas import read_schema
from launch.errors import RunError
from tests.collect.leaderboard.publications import Publications

NAMES = (INDEX, LEADERBOARD, TABLE)


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_it_is_as_its_schema_says_and_can_be_read_again(publications: Publications, tmp_path: Path) -> None:
    publications.write(tmp_path / "a")
    publications.write(tmp_path / "b", has_scores=False, engine="stub")
    (tmp_path / "c").mkdir()
    written = write_leaderboard(tmp_path)
    value = json.loads((tmp_path / LEADERBOARD).read_text())
    Draft202012Validator(read_schema("leaderboard")).validate(value)
    assert Leaderboard.model_validate_json((tmp_path / LEADERBOARD).read_bytes()) == written
    assert [len(value[name]) for name in ("boards", "entries", "left_out")] == [1, 2, 1]


def test_copied_directories_give_the_same_bytes(publications: Publications, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "elsewhere" / "copied"
    for name in ("b", "a", "c"):
        publications.write(here / name, scores={"dialogue.chrf_mean": float(ord(name))})
    write_leaderboard(here)
    first = bytes_in(here)
    shutil.copytree(here, there, ignore=shutil.ignore_patterns(*NAMES))
    write_leaderboard(there)
    write_leaderboard(here)
    assert bytes_in(there) == first == bytes_in(here)
    assert sorted(first) == sorted(NAMES), "and nothing else is left there"


def test_what_is_removed_is_gone(publications: Publications, tmp_path: Path) -> None:
    for name in "ab":
        publications.write(tmp_path / name)
    write_leaderboard(tmp_path)
    shutil.rmtree(tmp_path / "a")
    assert [each.directory for each in write_leaderboard(tmp_path).entries] == ["b"]
    assert b"a</span>" not in (tmp_path / INDEX).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_others_is_not_replaced(publications: Publications, tmp_path: Path, name: str) -> None:
    publications.write(tmp_path / "a")
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=rf"{name}: is not of vllm-launch's making; nothing was written"):
        write_leaderboard(tmp_path)
    assert bytes_in(tmp_path) == {name: b"mine"}


def test_a_leaderboard_of_ours_that_was_damaged_is_made_again(
    publications: Publications, tmp_path: Path
) -> None:
    publications.write(tmp_path / "a")
    write_leaderboard(tmp_path)
    expected = bytes_in(tmp_path)
    (tmp_path / INDEX).write_bytes(b"")
    (tmp_path / TABLE).unlink()
    write_leaderboard(tmp_path)
    assert bytes_in(tmp_path) == expected


def test_what_is_published_while_it_writes_is_in_it(
    publications: Publications, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later merge may have written before this one does: this one looks again."""
    publications.write(tmp_path / "a")
    publish = iter("bc")

    def as_page_while_another_publishes(leaderboard: Leaderboard) -> bytes:
        for name in publish:
            publications.write(tmp_path / name)
            break
        return as_page(leaderboard)

    monkeypatch.setattr(write, "as_page", as_page_while_another_publishes)
    assert [each.directory for each in write_leaderboard(tmp_path).entries] == ["a", "b", "c"]
    assert b'"directory": "c"' in (tmp_path / LEADERBOARD).read_bytes()


def publish_and_write(original: Path, folder: Path, names: list[str], barrier) -> None:
    """What a merge does at its end, for several runs one after another."""
    publications = Publications(original)
    for name in names:
        publications.write(folder / f".{name}")
        barrier.wait()
        (folder / f".{name}").rename(folder / name)
        write_leaderboard(folder)


@pytest.mark.process
def test_merges_that_publish_at_the_same_time_lose_nobody(publications: Publications, tmp_path: Path) -> None:
    """Three processes publish a run each at the same moment, five times, beside runs that are there."""
    context = multiprocessing.get_context("fork")
    rounds, width = 5, 3
    barrier = context.Barrier(width)
    names = [[f"r{number}-{place}" for number in range(rounds)] for place in range(width)]
    processes = [
        context.Process(target=publish_and_write, args=(publications.original, tmp_path, each, barrier))
        for each in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * width
    value = json.loads((tmp_path / LEADERBOARD).read_text())
    everyone = sorted(name for each in names for name in each)
    assert [entry["directory"] for entry in value["entries"]] == everyone
    assert value["left_out"] == []
    page, table = (tmp_path / INDEX).read_text(), (tmp_path / TABLE).read_text("utf-8-sig")
    assert all(name in page and name in table for name in everyone)
    assert sorted(bytes_in(tmp_path)) == sorted(NAMES)
