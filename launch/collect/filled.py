"""Puts outcomes into a user's record, in the leaderboard's form, with a mark where something is not whole.

Marks: an item without samples has empty `continuations` and `failure` or `missing`; a record has `stub` when
its texts come from the stub engine, and `limited` when the run took a subset of the scenario. With a subset
only the chosen items are published; collections stay, empty ones too, so that item keys keep their meaning.
A published file may be another run's scenario: the marks that it came with are the earlier run's, and go.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from launch.collect.outcomes import Outcome
from launch.rundir.records import Subset
from launch.scenarios.formats import Place
from launch.scenarios.records import JsonObject
from launch.scenarios.stream import LEADERBOARD

Record = dict[str, Any]
_FORMS = {"failure": {"class", "message"}, "limited": Subset.model_fields.keys()}
_MARKS = ("missing", "failure", "stub", "limited")


def fill_record(record: JsonObject, outcomes: Sequence[Outcome], marks: Mapping[str, Any]) -> Record:
    """The record with `continuations` on the items of the run, without other items, and with its marks."""
    texts = {outcome.place: [sample["text"] for sample in outcome.samples] for outcome in outcomes}
    filled = LEADERBOARD.fill(record, texts)
    marked = {outcome.place: _mark(outcome) for outcome in outcomes}
    collections = [
        {**collection, "data": _published_items(number, collection.get("data") or (), marked)}
        for number, collection in enumerate(filled["task"]["task_behavior_collections"])
    ]
    task = {**filled["task"], "task_behavior_collections": collections}
    return {**_without_earlier_marks(filled), "task": task, **marks}


def _published_items(
    collection: int, data: Sequence[JsonObject], marked: Mapping[Place, Record]
) -> list[Record]:
    items = []
    for place, item in enumerate(data):
        mark = marked.get((collection, place))
        if mark is not None:
            items.append(_without_earlier_marks(item) | mark)
    return items


def _without_earlier_marks(value: JsonObject) -> Record:
    """A copy of a record or item but for what `fill_record` writes; of another form, such a field stays."""
    copy = dict(value)
    for name in _MARKS:
        if name in copy and _is_mark(name, copy[name]):
            del copy[name]
    return copy


def _is_mark(name: str, value: Any) -> bool:
    if name in _FORMS:
        return isinstance(value, dict) and value.keys() == _FORMS[name]
    return value is True


def _mark(outcome: Outcome) -> Record:
    row = outcome.row
    if row is None:
        return {"missing": True}
    return {"failure": row["failure"]} if "failure" in row else {}


def user_record(filled: Record, outcomes: Sequence[Outcome]) -> Record:
    """What users/<name>.json holds: the filled record, and `generated_samples` by item key.

    The items of the filled record are those of `outcomes`, both in input order.
    """
    collections = filled["task"]["task_behavior_collections"]
    items = (item for collection in collections for item in collection["data"])
    samples = [
        {"key": outcome.key, "continuations": item["continuations"], **_mark(outcome)}
        for outcome, item in zip(outcomes, items, strict=True)
    ]
    return {**filled, "generated_samples": samples}
