"""A published file as the scenario of another run: its marks are of the earlier one."""

from pathlib import Path
from typing import Any

import pytest

from launch.collect.filled import fill_record
from launch.collect.merge import merge
from launch.collect.outcomes import Outcome
from launch.collect.published import open_published
from launch.collect.reference_texts import item_references
from tests.collect.builders import make_generations, make_users, plan_run, read_value, write_results

LIMITED = {"num_users": 2, "num_items": 4, "of_users": 3, "of_items": 6}


def items_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    (collection,) = record["task"]["task_behavior_collections"]
    return list(collection["data"])


def test_a_partial_publication_is_completed_by_a_run_of_its_file(tmp_path: Path, checkpoint: Path) -> None:
    first = plan_run(
        tmp_path / "first",
        checkpoint,
        make_users(3, 2),
        data={"limit_users": 2},
        publish={"allow_missing": True, "max_failed_items": 1},
    )
    write_results(first, make_generations(first, failed=[1])[1:])
    users = read_value(merge(first).output_dir / "test_leaderboard.json")
    assert users[0]["limited"] == LIMITED
    assert [sorted(item.keys() & {"missing", "failure"}) for item in items_of(users[0])] == [
        ["missing"],
        ["failure"],
    ]
    second = plan_run(tmp_path / "second", checkpoint, users, publish={"allow_missing": True})
    write_results(second, make_generations(second)[:-1])
    published = open_published(merge(second).output_dir)
    users = read_value(published.path / "test_leaderboard.json")
    assert not any("limited" in each for each in users)
    found = [item.keys() & {"missing", "failure"} for each in users for item in items_of(each)]
    assert found == [set(), set(), set(), {"missing"}]
    assert item_references(published).num_known == 3


@pytest.mark.parametrize("mark", [{"stub": "yes"}, {"limited": {"to": 3}}, {"limited": True}])
def test_a_field_of_such_a_name_and_another_form_stays(mark: dict[str, Any]) -> None:
    record = make_users(1, 1)[0]
    outcome = Outcome(0, "u0#0.0", (0, 0), None, {"samples": []})
    assert "stub" not in fill_record(record | {"stub": True}, [outcome], {})
    filled = fill_record(record | mark, [outcome], {})
    assert mark.items() <= filled.items()
    items_of(record)[0]["failure"] = "of the heating"
    assert items_of(fill_record(record, [outcome], {}))[0]["failure"] == "of the heating"
