"""Counts over the items of a run while they pass by, and names of those without samples."""

from collections import Counter
from dataclasses import dataclass, field

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

    def add(self, outcome: Outcome) -> None:
        """Takes one item."""
        self.num_items += 1
        if outcome.row is None:
            self.missing.append(outcome.number)
            self.missing_keys.append(outcome.key)
            return
        failure = outcome.failure
        if failure is not None:
            self.failed.append(
                FailedItem(key=outcome.key, failure_class=failure["class"], message=failure["message"])
            )
            return
        self.num_prompt_tokens += outcome.row["prompt_tokens"]
        for name, count in outcome.row["cuts"].items():
            if count:
                self.cuts[name] += 1
        for sample in outcome.samples:
            self.num_samples += 1
            self.num_empty_samples += not sample["text"]
            self.num_output_tokens += sample["tokens"]
            self.finish_reasons[sample["finish_reason"]] += 1
