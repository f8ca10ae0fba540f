"""What became of a run under fire, for the record."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.kinds import Kind


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: seconds since submit, victim, phase of its engine, what was missing once it had struck."""

    at_s: float
    kind: Kind
    victim: str
    num_missing: int
    phase: str | None = None


@dataclass(slots=True)
class Outcome:
    """What became of one run."""

    name: str
    kills: list[Kill] = field(default_factory=list)
    publishing_kills: list[str] = field(default_factory=list)
    num_resumes: int = 0
    num_merges_by_hand: int = 0
    num_submissions: int = 0
    num_attempts: int = 0
    num_items: int = 0
    num_generated: int = 0
    num_generated_again: int = 0
    num_allowed_again: int = 0
    num_equal_texts: int = 0
    """Items whose published texts are those of an undisturbed run."""
    num_publications_seen: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float = 0.0
    violations: list[str] = field(default_factory=list)

    def counts(self) -> Counter[Kind]:
        """Kills that struck while items were missing, by kind."""
        return Counter(kill.kind for kill in self.kills if kill.num_missing)

    def as_json(self) -> dict[str, object]:
        """For the record."""
        return asdict(self)
