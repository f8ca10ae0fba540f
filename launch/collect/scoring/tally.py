"""What is kept of all items of a type while their rows pass by, and the scores that come of it."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from launch.collect.metrics.answers import Scale
from launch.collect.metrics.bootstrap import ClusterSums, Matrix, estimate, num_users_with, resampled_sums
from launch.collect.published import user_of
from launch.collect.referenced_items import ItemReference
from launch.collect.scoring.kinds import COLUMNS, KINDS, ScoreKind, count_of, value_of
from launch.collect.scoring.record import Score, TypeScores
from launch.collect.scoring.values import Row, truth_of
from launch.scenarios.records import ItemType

DIGITS = 6  # of what is written: a sum's last bits depend on the processor


@dataclass(slots=True)
class TypeTally:
    """The items of one type; memory grows with users, not with items."""

    num_items: int = 0
    num_references: int = 0
    num_unusable: int = 0
    num_clipped: int = 0
    answer_kinds: Counter[str] = field(default_factory=Counter)
    _users: set[str] = field(default_factory=set)
    _sums: ClusterSums = field(default_factory=lambda: ClusterSums(len(COLUMNS)))

    def add(self, item: ItemReference, row: Row) -> None:
        """Takes one item that has samples."""
        user = user_of(item.key)
        self._users.add(user)
        self._sums.add(user, row.values)
        self.num_items += 1
        self.num_clipped += row.num_clipped
        if not item.is_known:
            return
        self.num_references += 1
        truth = truth_of(item)
        if truth is not None:
            self.answer_kinds[truth.kind.value] += 1
        self.num_unusable += truth is None and item.item_type is ItemType.MOVIE_RATING

    def scores(self, scale: Scale | None) -> TypeScores:
        """Every score that any item has a value for; all resamples are drawn at once, the same for all."""
        sums, counts = self._sums.matrices()
        resampled = resampled_sums(sums, counts)
        found = {kind.name: _score(kind, sums, counts, resampled) for kind in KINDS}
        return TypeScores(
            num_users=len(self._users),
            num_items=self.num_items,
            num_references=self.num_references,
            num_unusable_references=self.num_unusable,
            answer_kinds=dict(sorted(self.answer_kinds.items())),
            scale=None if scale is None else (scale.low, scale.high),
            scores={name: each for name, each in found.items() if each is not None},
        )


def _score(kind: ScoreKind, sums: Matrix, counts: Matrix, resampled: tuple[Matrix, Matrix]) -> Score | None:
    total, num_items = sums.sum(axis=0), counts.sum(axis=0)
    value = float(value_of(kind, total, num_items))
    if np.isnan(value):
        return None
    found = estimate(value, value_of(kind, *resampled), num_users_with(count_of(kind, counts)))
    assert found is not None
    return Score(
        value=round(found.value, DIGITS),
        low=None if found.low is None else round(found.low, DIGITS),
        high=None if found.high is None else round(found.high, DIGITS),
        num_items=int(count_of(kind, num_items)),
        oracle=kind.is_oracle,
    )
