"""Scores of single users and items out of item_scores.jsonl, which has a line for each item with samples."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from launch.collect.manifest import ITEM_SCORES_FILE
from launch.collect.published import user_of
from launch.collect.run_page.samples import draw_rank
from launch.collect.scoring.kinds import KINDS, Form
from launch.rundir.journal import NUMBER

MAX_USERS = 5_000
MAX_NAME_CHARS = 64
SHOWN = tuple(
    kind for kind in KINDS if len(kind.columns) == 1 and kind.form is Form.MEAN and not kind.is_oracle
)
DECIMALS = 4


@dataclass(slots=True)
class _Sums:
    num_items: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        self.num_items += 1
        for kind in SHOWN:
            value = row.get(kind.columns[0])
            if isinstance(value, NUMBER):
                self.sums[kind.name] = self.sums.get(kind.name, 0.0) + value
                self.counts[kind.name] = self.counts.get(kind.name, 0) + 1

    def mean(self, name: str) -> float | None:
        count = self.counts.get(name)
        return round(self.sums[name] / count, DECIMALS) if count else None


@dataclass(frozen=True, slots=True)
class UserScores:
    """By user and score the mean over the user's items, and by item the scores of those that are shown."""

    by_user: dict[str, _Sums]
    by_item: dict[str, dict[str, float]]

    def as_json(self) -> dict[str, Any] | None:
        """Columns for the page's script: users in order of name, a list a score; None without users.

        Of more than MAX_USERS a fair draw, as of items; `num_users` says how many there are.
        """
        if not self.by_user:
            return None
        users = sorted(sorted(self.by_user, key=draw_rank)[:MAX_USERS])
        shown = [kind for kind in SHOWN if any(kind.name in each.counts for each in self.by_user.values())]
        return {
            "num_users": len(self.by_user),
            "users": [user[:MAX_NAME_CHARS] for user in users],
            "items": [self.by_user[user].num_items for user in users],
            "scores": [
                {
                    "name": kind.name,
                    "label": kind.label,
                    "decimals": kind.decimals,
                    "values": [self.by_user[user].mean(kind.name) for user in users],
                }
                for kind in shown
            ],
        }


def read_user_scores(directory: Path, keys: frozenset[str]) -> UserScores:
    """Reads item_scores.jsonl once; `keys` are the items whose own scores are kept."""
    by_user: dict[str, _Sums] = {}
    by_item: dict[str, dict[str, float]] = {}
    for row in _rows(directory / ITEM_SCORES_FILE):
        key = str(row["key"])
        by_user.setdefault(user_of(key), _Sums()).add(row)
        if key in keys:
            values = ((kind.name, row.get(kind.columns[0])) for kind in SHOWN if kind.is_main)
            by_item[key] = {name: round(value, DECIMALS) for name, value in values if value is not None}
    return UserScores(by_user, by_item)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as handle:
        for line in handle:
            row: dict[str, Any] = orjson.loads(line)
            yield row
