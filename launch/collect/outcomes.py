"""What became of every item: the line that counts, after every check, and what was wrong on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from launch.collect.buckets import Buckets, Line
from launch.collect.verify import LineCheck
from launch.rundir.attempts import EngineStart
from launch.rundir.plan import IndexEntry

MAX_NAMED = 10


class Outcome(NamedTuple):
    """One item: its line and the parsed line, or neither when it is missing."""

    number: int
    key: str
    place: tuple[int, int]
    line: Line | None = None
    row: dict[str, Any] | None = None

    @property
    def failure(self) -> dict[str, str] | None:
        """Class and message when the item failed for good."""
        return None if self.row is None else self.row.get("failure")

    @property
    def samples(self) -> list[dict[str, Any]]:
        """The samples; none for an item that failed or is missing."""
        return [] if self.row is None else self.row.get("samples", [])


@dataclass(slots=True)
class Findings:
    """What was wrong or double: counts, and sentences for the first of each kind."""

    num_damaged: int = 0
    num_duplicates: int = 0
    num_differing: int = 0
    num_superseded: int = 0
    num_unused_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    damaged_lines: list[Line] = field(default_factory=list)
    not_counted: dict[int, set[int]] = field(default_factory=dict)
    """By index of the engine start, offsets of lines that were generated for nothing."""

    def add_damaged(self, line: Line, where: str, why: str) -> None:
        """A committed line that does not stand its checks."""
        self.num_damaged += 1
        self.damaged_lines.append(line)
        self.not_counted.setdefault(line.source, set()).add(line.offset)
        _name(self.damaged, f"{where}: {why}")

    def add_duplicate(self, key: str, kept: Line, other: Line, where: str) -> None:
        """A second whole line of an item; the first one counts."""
        self.not_counted.setdefault(other.source, set()).add(other.offset)
        if other.failed and not kept.failed:
            self.num_superseded += 1
            return
        self.num_duplicates += 1
        if other.data != kept.data:
            self.num_differing += 1
            _name(self.differing, f"{where}: another text for {key!r}")

    def add_unused(self, num_bytes: int) -> None:
        """Bytes of a results file that are no line of this run: torn by a kill, or foreign."""
        self.num_unused_bytes += num_bytes

    def as_json(self) -> dict[str, Any]:
        """As the summary holds it."""
        return {
            "damaged_lines": self.num_damaged,
            "duplicate_lines": self.num_duplicates,
            "duplicates_with_other_text": self.num_differing,
            "failures_superseded": self.num_superseded,
            "unused_bytes": self.num_unused_bytes,
            "first_damaged": list(self.damaged),
            "first_with_other_text": list(self.differing),
        }


def _name(sentences: list[str], sentence: str) -> None:
    if len(sentences) < MAX_NAMED:
        sentences.append(sentence)


def read_outcomes(
    index: Iterator[IndexEntry],
    buckets: Buckets,
    starts: Sequence[EngineStart],
    check: LineCheck,
    findings: Findings,
) -> Iterator[tuple[IndexEntry, list[Outcome]]]:
    """Every user of a run in input order with the outcomes of its items; `findings` grows on the way."""
    by_number = groupby(buckets.read(), key=itemgetter(0))
    none_left: tuple[None, Iterator[Line]] = (None, iter(()))
    number, lines = next(by_number, none_left)
    for entry in index:
        outcomes = []
        items = zip(entry.keys, entry.digests, entry.places, strict=True)
        for item, (key, digest, place) in enumerate(items, entry.first_item):
            line = row = None
            if number == item:
                line, row = _choose(key, digest, lines, starts, check, findings)
                number, lines = next(by_number, none_left)
            outcomes.append(Outcome(item, key, place, line, row))
        yield entry, outcomes


def _choose(
    key: str,
    digest: str,
    lines: Iterator[Line],
    starts: Sequence[EngineStart],
    check: LineCheck,
    findings: Findings,
) -> tuple[Line, dict[str, Any]] | tuple[None, None]:
    """The first line by rank that stands the checks, and parsed; each line is parsed at most once."""
    kept: tuple[Line, dict[str, Any]] | tuple[None, None] = (None, None)
    for line in lines:
        first = kept[0]
        if first is not None and first.data == line.data:
            findings.add_duplicate(key, first, line, _where(starts, line))
            continue
        row = check.check(line, key, digest)
        if isinstance(row, str):
            findings.add_damaged(line, _where(starts, line), row)
        elif first is not None:
            findings.add_duplicate(key, first, line, _where(starts, line))
        else:
            kept = (line, row)
    return kept


def _where(starts: Sequence[EngineStart], line: Line) -> str:
    start = starts[line.source]
    return (
        f"submission {start.submission}, task {start.task}, attempt {start.attempt},"
        f" slot {start.slot}, start {start.start}, offset {line.offset}"
    )
