"""Scores the items of a published directory: `score` returns the record, and writes a line for each item.

Items that failed or are missing have no samples and are in no score; the record counts and marks them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.collect.manifest import FileDigest
from launch.collect.metrics.answers import Scale, choose_scale
from launch.collect.metrics.bootstrap import CONFIDENCE, NUM_RESAMPLES, SEED
from launch.collect.published import Published
from launch.collect.reference_texts import ItemReferences
from launch.collect.referenced_items import SCORED_TYPES, ItemReference
from launch.collect.scoring.kinds import PLACES, SHOWN_COLUMNS
from launch.collect.scoring.notes import notes_of
from launch.collect.scoring.pool import num_processes, score_chunks
from launch.collect.scoring.record import (
    IntervalMethod,
    ReferencesUsed,
    ScoresRecord,
    item_scores,
    results_of,
)
from launch.collect.scoring.tally import DIGITS, TypeTally
from launch.collect.scoring.values import ItemScorer, Row, Rules
from launch.config.schema import Language
from launch.errors import RunError
from launch.rundir.journal import json_line
from launch.scenarios.records import ItemType

FORECAST_AFTER_S = 20.0
METHOD = "percentile bootstrap over users"


@dataclass(frozen=True, slots=True)
class Options:
    """How to score.

    `processes` None is as many as there are cores; `max_s` is the longest forecast to go on with; `tell`
    hears how many items are scored, of how many. `embeddings` and `bertscore` are directories of models.
    """

    processes: int | None = None
    max_s: float | None = None
    tell: Callable[[int, int], None] = lambda done, of: None
    embeddings: Path | None = None
    bertscore: Path | None = None


def score(published: Published, references: ItemReferences, options: Options) -> ScoresRecord:
    """The record of every score; the lines of items are written beside their place (record.item_scores).

    Memory: what is given out to processes, and sums by user; references are read as items come up. RunError
    when it would take longer than `max_s`.
    """
    rules = rules_of(published, references, options)
    scorer = ItemScorer(rules)
    entries = published.entries
    num_scored = sum(entry.has_samples for entry in entries.values())
    scored = ((item, entries[item.key]) for item in references if entries[item.key].has_samples)
    tallies = {item_type: TypeTally() for item_type in ItemType}
    watch = _Watch(published.path, num_scored, options)
    processes = 1 if rules.has_models else num_processes(num_scored, options.processes)
    with item_scores(published.path) as lines:
        for rows in score_chunks(published.path, scorer, scored, processes):
            for item, row in rows:
                tallies[item.item_type].add(item, row)
                lines.write(_line(item, row))
            watch.passed(len(rows))
    return _record(published, references, scorer, tallies, lines.digest)


def rules_of(published: Published, references: ItemReferences, options: Options) -> Rules:
    """Language and scales; a scale is chosen by all references of its type, those of failed items too."""
    numbers = references.numbers
    scales: dict[ItemType, Scale | None] = {
        item_type: None if item_type in SCORED_TYPES else choose_scale(item_type, numbers.get(item_type, ()))
        for item_type in ItemType
    }
    language = Language(published.summary["prompt"].get("language") or Language.ENGLISH)
    return Rules(language, scales, options.embeddings, options.bertscore)


class _Watch:
    """Tells how far the scoring is, and ends one that would take too long."""

    def __init__(self, directory: Path, num_items: int, options: Options) -> None:
        self._directory = directory
        self._num_items = num_items
        self._options = options
        self._num_done = 0
        self._began = time.monotonic()

    def passed(self, num_items: int) -> None:
        """Takes what was scored; RunError when the whole takes too long."""
        self._num_done += num_items
        self._options.tell(self._num_done, self._num_items)
        elapsed, limit = time.monotonic() - self._began, self._options.max_s
        forecast = elapsed * self._num_items / self._num_done
        if limit is not None and elapsed > FORECAST_AFTER_S and forecast > limit:
            raise RunError(
                f"{self._directory}: scoring would take {forecast / 60:.0f} min here, more than"
                f" {limit / 60:.0f}. Score it where there are more cores."
            )


def _line(item: ItemReference, row: Row) -> bytes:
    values = {name: row.values[PLACES[name]] for name in SHOWN_COLUMNS}
    shown = {name: round(value, DIGITS) for name, value in values.items() if value is not None}
    return json_line({"key": item.key, "type": item.item_type.value, **shown})


def _record(
    published: Published,
    references: ItemReferences,
    scorer: ItemScorer,
    tallies: dict[ItemType, TypeTally],
    lines: FileDigest,
) -> ScoresRecord:
    manifest, rules = published.manifest, scorer.rules
    found = {item_type: tally for item_type, tally in tallies.items() if tally.num_items}
    record = ScoresRecord(
        results=results_of(manifest),
        engine=manifest.engine,
        stub=manifest.stub,
        subset=manifest.subset,
        complete=manifest.complete,
        num_users=manifest.num_users,
        num_items=manifest.num_items,
        num_done=manifest.num_done,
        num_failed=manifest.num_failed,
        num_missing=manifest.num_missing,
        language=rules.language,
        num_samples_per_item=published.summary["num_samples_per_item"],
        references=_used(references, sum(tally.num_references for tally in found.values())),
        types={kind.value: tally.scores(rules.scales[kind]) for kind, tally in found.items()},
        signatures=scorer.signatures,
        intervals=IntervalMethod(
            method=METHOD, num_resamples=NUM_RESAMPLES, confidence=CONFIDENCE, seed=SEED
        ),
        notes=(),
        item_scores=lines,
    )
    num_clipped = sum(tally.num_clipped for tally in found.values())
    return record.model_copy(update={"notes": tuple(notes_of(record, num_clipped))})


def _used(references: ItemReferences, num_items: int) -> ReferencesUsed | None:
    """None where no item has one."""
    if not num_items:
        return None
    return ReferencesUsed(
        source="scenario" if references.path is None else "file",
        sha256=references.sha256,
        num_items=num_items,
        num_unplaced_users=references.num_unplaced_users,
    )
