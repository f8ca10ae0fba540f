"""Puts outcomes into a user's record, in the leaderboard's form, with a mark where something is not whole.

Marks: an item without samples has empty `continuations` and `failure` or `missing`; a record has `stub` when
its texts come from the stub engine, and `limited` when the run took a subset of the scenario. With a subset
only the chosen items are published; collections stay, empty ones too, so that item keys keep their meaning.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from launch.collect.outcomes import Outcome
from launch.scenarios.formats import Place
from launch.scenarios.records import JsonObject
from launch.scenarios.stream import LEADERBOARD

Record = dict[str, Any]


def fill_record(record: JsonObject, outcomes: Sequence[Outcome], marks: Mapping[str, Any]) -> Record:
    """The record with `continuations` on the items of the run, without other items, and with its marks."""
    texts = {outcome.place: [sample["text"] for sample in outcome.samples] for outcome in outcomes}
    filled = LEADERBOARD.fill(record, texts)
    by_place = {outcome.place: outcome for outcome in outcomes}
    collections = [
        {**collection, "data": _published_items(number, collection.get("data") or (), by_place)}
        for number, collection in enumerate(filled["task"]["task_behavior_collections"])
    ]
    return {**filled, "task": {**filled["task"], "task_behavior_collections": collections}, **marks}


def _published_items(
    collection: int, data: Sequence[JsonObject], outcomes: Mapping[Place, Outcome]
) -> list[Record]:
    return [
        {**item, **_mark(outcomes[collection, place])}
        for place, item in enumerate(data)
        if (collection, place) in outcomes
    ]


def _mark(outcome: Outcome) -> Record:
    if outcome.is_missing:
        return {"missing": True}
    return {} if outcome.failure is None else {"failure": outcome.failure}


def user_record(filled: Record, outcomes: Sequence[Outcome]) -> Record:
    """What users/<name>.json holds: the filled record, and `generated_samples` by item key."""
    collections = filled["task"]["task_behavior_collections"]
    kept = _places_kept(outcomes)
    samples = []
    for outcome in outcomes:
        collection, place = kept[outcome.place]
        continuations = collections[collection]["data"][place]["continuations"]
        samples.append({"key": outcome.key, "continuations": continuations, **_mark(outcome)})
    return {**filled, "generated_samples": samples}


def _places_kept(outcomes: Sequence[Outcome]) -> dict[Place, Place]:
    """Where the items of a run stand once those outside its subset are left out."""
    places: dict[Place, Place] = {}
    counts: dict[int, int] = {}
    for collection, place in sorted(outcome.place for outcome in outcomes):
        places[collection, place] = (collection, counts.get(collection, 0))
        counts[collection] = counts.get(collection, 0) + 1
    return places


def dump(value: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8. Not orjson: a record keeps integers of any size."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
