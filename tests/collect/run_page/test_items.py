"""The three files are read side by side, and must be of each other."""

from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.collect.run_page.items import read_items
from launch.errors import InputError, RunError
from launch.rundir.layout import RunPaths
from tests.collect.builders import change_publish, make_generations, read_lines, write_results


@pytest.fixture
def directory(run: RunPaths) -> Path:
    """Twelve items of four users; of those the third has failed and the last four are missing."""
    write_results(run, make_generations(run, failed=[2])[:8])
    change_publish(run, allow_missing=True, max_failed_items=1)
    return merge(run).output_dir


def test_every_item_with_what_was_asked_and_what_came(directory: Path) -> None:
    items = list(read_items(directory))
    assert [item.key for item in items] == [f"u{user}#0.{place}" for user in range(4) for place in range(3)]
    assert [len(item.samples) for item in items] == [2, 2, 0, 2, 2, 2, 2, 2, 0, 0, 0, 0]
    assert items[2].row["failure"]["class"] == "too_long" and items[9].row["missing"]
    assert (items[4].user, items[4].name, items[4].item_type) == ("u1", "ADA", "dialogue")
    assert items[4].data["context"][0]["content"] == "Hello 1."
    times = [row.get("time") for row in read_lines(directory / "provenance.jsonl")]
    assert [item.time for item in items] == times and times[:2] != [None, None]


@pytest.mark.parametrize("name", ["generations.jsonl", "provenance.jsonl"])
@pytest.mark.parametrize("change", ["swap", "less", "more", "torn", "other"])
def test_files_that_are_not_of_each_other_are_named(directory: Path, name: str, change: str) -> None:
    path = directory / name
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {
        "swap": [lines[1], lines[0], *lines[2:]],
        "less": lines[:-1],
        "more": [*lines, lines[-1]],
        "torn": [*lines[:-1], lines[-1][:9]],
        "other": [b"[1]\n", *lines[1:]],
    }
    path.write_bytes(b"".join(changed[change]))
    with pytest.raises(RunError, match="are not of each other"):
        list(read_items(directory))


@pytest.mark.parametrize("name", ["generations.jsonl", "provenance.jsonl", "test_leaderboard.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises((RunError, InputError), match=f"{name}: not found"):
        list(read_items(directory))
