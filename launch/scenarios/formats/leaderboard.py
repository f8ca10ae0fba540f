"""The leaderboard's form: items in task.task_behavior_collections[].data[], results in `continuations`."""

from collections.abc import Iterator, Mapping, Sequence

from launch.scenarios.formats import Place
from launch.scenarios.records import ItemType, JsonObject


class LeaderboardFormat:
    """test_leaderboard.json and train.json: a list of users (facts A1)."""

    def items(self, record: JsonObject) -> Iterator[tuple[Place, ItemType, JsonObject]]:
        """The items of a record in input order."""
        for number, collection in enumerate(record["task"].get("task_behavior_collections") or ()):
            item_type = ItemType(collection["type"])
            for place, item in enumerate(collection.get("data") or ()):
                yield (number, place), item_type, item

    def fill(self, record: JsonObject, continuations: Mapping[Place, Sequence[str]]) -> JsonObject:
        """The record with `continuations` on each item that has some, and nothing else changed.

        An item with a place in `continuations` loses what stood there before; one without is left as read.
        A sample that begins with the item's `continuation_prefix`, letter for letter, is published without
        it, because the format reads an item as prefix + continuation. That is the only thing ever taken
        off.
        """
        collections = list(record["task"].get("task_behavior_collections") or ())
        for number in sorted({number for number, _ in continuations}):
            data = list(collections[number]["data"])
            for place, item in enumerate(data):
                samples = continuations.get((number, place))
                if samples is not None:
                    prefix = item.get("continuation_prefix") or ""
                    data[place] = {**item, "continuations": [strip_prefix(text, prefix) for text in samples]}
            collections[number] = {**collections[number], "data": data}
        return {**record, "task": {**record["task"], "task_behavior_collections": collections}}


def strip_prefix(text: str, prefix: str) -> str:
    """The text without the prefix when it begins with it literally; any other text as it is."""
    return text.removeprefix(prefix)
