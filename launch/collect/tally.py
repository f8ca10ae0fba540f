"""Counts over the items of a run while they pass by, and names of those without samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch.collect.manifest import FailedItem
from launch.collect.outcomes import Outcome


@dataclass(slots=True)
class Tally:
    """What was found in one pass over all items; only items without samples are kept by name."""

    num_users: int = 0
    num_items: int = 0
    num_samples: int = 0
    num_empty_samples: int = 0
    num_prompt_tokens: int = 0
    num_output_tokens: int = 0
    finish_reasons: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    failed: list[FailedItem] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    missing_keys: list[str] = field(default_factory=list)

    @property
    def num_done(self) -> int:
        """Items with samples."""
        return self.num_items - len(self.failed) - len(self.missing)

    def add_user(self, outcomes: Sequence[Outcome]) -> None:
        """Takes the items of one user."""
        self.num_users += 1
        self.num_items += len(outcomes)
        samples: list[dict[str, Any]] = []
        for outcome in outcomes:
            row, failure = outcome.row, outcome.failure
            if row is None:
                self.missing.append(outcome.number)
                self.missing_keys.append(outcome.key)
            elif failure is not None:
                self.failed.append(
                    FailedItem(key=outcome.key, failure_class=failure["class"], message=failure["message"])
                )
            else:
                self.num_prompt_tokens += row["prompt_tokens"]
                if any(row["cuts"].values()):
                    self.cuts.update(name for name, count in row["cuts"].items() if count)
                samples += row["samples"]
        self._add_samples(samples)

    def _add_samples(self, samples: Sequence[Mapping[str, Any]]) -> None:
        self.num_samples += len(samples)
        self.num_empty_samples += [sample["text"] for sample in samples].count("")
        self.num_output_tokens += sum([sample["tokens"] for sample in samples])
        self.finish_reasons.update([sample["finish_reason"] for sample in samples])
