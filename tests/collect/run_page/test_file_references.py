"""References of a file reach the items that are shown."""

import json
from pathlib import Path

import pytest

from launch.collect.run_page import file_references as module
from launch.collect.run_page.file_references import place_references, references_file
from launch.errors import InputError
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run
from tests.collect.builders import change_publish
from tests.collect.run_page.builders import item

ITEMS = [
    item(f"{user}#0.{place}", data={"continuation_prefix": "So: "}) for user in "ab" for place in range(2)
]
KEYS = frozenset({"a#0.0", "a#0.1", "b#0.0"})


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_by_order_without_their_prefix_and_only_what_is_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", {"a": ["So: one", "two"], "b": ["x", "y"], "stranger": ["z"]})
    assert place_references(path, ITEMS, KEYS) == {"a#0.0": "one", "a#0.1": "two", "b#0.0": "x"}


def test_a_list_that_fits_no_user_s_items_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", {"a": ["too few"], "b": ["of", "b", "and more: by place"]})
    assert place_references(path, ITEMS, KEYS) == {"b#0.0": "of"}


def test_they_take_no_more_than_their_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 700)
    path = write(tmp_path / "r.json", {"a": ["x" * 500] * 2, "b": ["y" * 500] * 2})
    assert len(place_references(path, ITEMS, KEYS)) == 1


def test_another_shape_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Mend the file"):
        place_references(write(tmp_path / "r.json", ["x"]), ITEMS, KEYS)


def test_the_file_is_what_was_given_else_the_one_beside_the_scenario(run: RunPaths, tmp_path: Path) -> None:
    assert references_file(run) is None
    scenario = load_run(run).data.scenario_path
    assert scenario is not None
    beside = write(scenario / "references.json", {})
    try:
        assert references_file(run) == beside
        change_publish(run, references=tmp_path / "given.json")
        assert references_file(run) == tmp_path / "given.json"
    finally:
        beside.unlink()  # the scenario is shared by the tests of this room
