"""References by item: from the scenario, from the demo's own files, for limited runs, and refused ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from launch.collect.manifest import LEADERBOARD_FILE
from launch.collect.published import Published, open_published
from launch.collect.reference_texts import known_references, references_from, references_of
from launch.errors import InputError, RunError
from tests.collect.comparing import publish, publish_demo
from tests.runs import SCENARIOS
from tests.scenarios.builders import dialogue_item, one_of_each_type, turn, user


def published(root: Path, checkpoint: Path, dataset: str, **settings: Any) -> Published:
    chosen = {name.replace("__", "."): value for name, value in settings.items()}
    return open_published(publish_demo(root, checkpoint, dataset, name="demo", settings=chosen))


@pytest.mark.parametrize("dataset", ["Chameleons", "DMSC"])
def test_the_demos_file_agrees_with_its_scenario(tmp_path: Path, checkpoint: Path, dataset: str) -> None:
    directory = published(tmp_path, checkpoint, dataset)
    own = references_of(directory).by_key
    file = references_from(SCENARIOS / dataset / "references.json", directory)
    assert file.num_unplaced_users == 0
    assert own and own.items() <= file.by_key.items()
    assert len(file.by_key) == {"Chameleons": 82, "DMSC": 26}[dataset], "texts, not ratings and answers"


def test_a_limited_run_has_the_references_of_its_own_items(tmp_path: Path, checkpoint: Path) -> None:
    directory = published(tmp_path, checkpoint, "Chameleons", data__limit_items=30)
    assert directory.manifest.subset is not None
    own = references_of(directory).by_key
    file = references_from(SCENARIOS / "Chameleons" / "references.json", directory)
    assert own and own.items() <= file.by_key.items()


def test_only_texts_and_without_their_prefix(tmp_path: Path, checkpoint: Path) -> None:
    record = one_of_each_type()
    review = record["task"]["task_behavior_collections"][1]["data"][0]
    review["continuation"] = f"{review['continuation_prefix']}Loud."
    found = references_of(open_published(publish(tmp_path, checkpoint, users=[record]))).by_key
    assert {key: reference.text for key, reference in found.items()} == {
        "a1#0.0": "the true answer",
        "a1#1.0": "Loud.",
    }
    assert found["a1#1.0"].samples_without_prefix(["钢铁侠1: Loud.", "Loud. 钢铁侠1: "]) == [
        "Loud.",
        "Loud. 钢铁侠1: ",
    ]


def test_missing_items_shift_nothing(tmp_path: Path, checkpoint: Path) -> None:
    items = [dialogue_item(turn("BEN", "Hello."), continuation=f"answer {place}") for place in range(4)]
    directory = open_published(
        publish(tmp_path, checkpoint, users=[user("a1", dialogue=items)], missing=[1], failed=[2])
    )
    expected = {"a1#0.0": "answer 0", "a1#0.2": "answer 2", "a1#0.3": "answer 3"}
    assert {key: each.text for key, each in references_of(directory).by_key.items()} == expected
    file = tmp_path / "references.json"
    file.write_text(json.dumps({"a1": [f"answer {place}" for place in range(4)], "other": []}))
    assert {key: each.text for key, each in references_from(file, directory).by_key.items()} == expected


def test_a_file_beside_the_scenario_that_has_none_of_its_users_is_passed_over(
    tmp_path: Path, checkpoint: Path
) -> None:
    """And a blank text is no reference, for compare as for score."""
    items = [dialogue_item(turn("BEN", "Hello."), continuation=text) for text in ("answer", " ")]
    directory = open_published(publish(tmp_path, checkpoint, users=[user("a1", dialogue=items)]))
    scenario = Path(str(directory.summary["scenario"]))
    (scenario / "references.json").write_text(json.dumps({"zz": ["text"]}))
    found = known_references(directory)
    assert [(item.key, item.is_known) for item in found] == [("a1#0.0", True), ("a1#0.1", False)]
    assert found.path is None
    assert list(references_of(directory).by_key) == ["a1#0.0"]


def test_a_list_that_cannot_be_placed_is_counted(tmp_path: Path, checkpoint: Path) -> None:
    directory = open_published(publish(tmp_path, checkpoint, users=[one_of_each_type(), user("b2")]))
    file = tmp_path / "references.json"
    file.write_text(json.dumps({"a1": ["one", "two"], "b2": ["three"]}))
    found = references_from(file, directory)
    assert found.num_unplaced_users == 1 and found.source == str(file)
    assert {key: each.text for key, each in found.by_key.items()} == {"b2#0.0": "three"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "not found; expected"),
        ("{", "references.json:1: no JSON; expected"),
        ("[]", 'expected {"user_hash": ['),
        ('{"a1": "text"}', 'expected {"user_hash": ['),
        ('{"a1": [1]}', 'expected {"user_hash": ['),
        ('{"zz": ["text"]}', "none of its users is in"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, checkpoint: Path, text: str | None, said: str
) -> None:
    directory = open_published(publish(tmp_path, checkpoint, users=[user("a1")]))
    file = tmp_path / "references.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as raised:
        references_from(file, directory)
    assert said in str(raised.value)


def test_a_leaderboard_of_other_items_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    directory = open_published(publish(tmp_path, checkpoint, users=[user("a1"), user("b2")]))
    path = directory.path / LEADERBOARD_FILE
    path.write_text(json.dumps([user("b2"), user("a1")]))
    with pytest.raises(RunError, match=r"test_leaderboard\.json:1: its items are not those of"):
        references_of(directory)
