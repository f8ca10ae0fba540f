"""The canary: what the first items of an engine look like, judged before the GPU-hours are gone.

A template that ends every text at once, a max_tokens that cuts them all, a sampler that says the same for
every item and prompts trimmed to nothing all run to the end without an error. Their rates are counted over
the first items that an engine finishes (`canary.num_items`); one over its limit warns or stops. Pure.
"""

from collections import Counter
from dataclasses import dataclass, field

from launch.config.schema import CanaryAction, CanaryConfig
from launch.errors import LaunchError
from launch.scenarios.records import Generation


class CanaryError(LaunchError):
    """The first items are such that going on would waste the rest: the user's to look at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rate over its limit, and what it means in words."""

    name: str
    rate: float
    limit: float
    meaning: str

    def __str__(self) -> str:
        return f"{self.rate:.0%} of {self.meaning} (canary.{self.name} allows {self.limit:.0%})"


@dataclass(slots=True)
class Canary:
    """Counts the first items, and judges them once."""

    config: CanaryConfig
    num_items: int = 0
    _num_samples: int = 0
    _num_empty: int = 0
    _num_cut: int = 0
    _num_trimmed: int = 0
    _texts: Counter[str] = field(default_factory=Counter)

    def take(self, generation: Generation) -> tuple[Finding, ...]:
        """Counts an item; the findings when it is the last of those that are judged, else none.

        An item that failed has no samples to judge and is not counted: it is told of elsewhere.
        """
        if self.config.action is CanaryAction.NONE or self.num_items >= self.config.num_items:
            return ()
        if generation.failure is not None:
            return ()
        self.num_items += 1
        self._num_trimmed += bool(generation.cuts.history or generation.cuts.context)
        for sample in generation.samples:
            self._num_samples += 1
            self._num_empty += not sample.text.strip()
            self._num_cut += sample.finish_reason == "length"
            self._texts[sample.text.strip()] += 1
        if self.num_items < self.config.num_items:
            return ()
        return self._findings()

    def _findings(self) -> tuple[Finding, ...]:
        samples = max(1, self._num_samples)
        repeated = sum(count - 1 for text, count in self._texts.items() if text)
        self._texts.clear()
        rates = (
            ("max_empty_rate", self._num_empty / samples, "samples are empty"),
            ("max_cut_rate", self._num_cut / samples, "samples were cut at max_tokens"),
            ("max_duplicate_rate", repeated / samples, "samples repeat the text of another one"),
            ("max_trimmed_rate", self._num_trimmed / self.num_items, "prompts lost history or context"),
        )
        limits = self.config.model_dump()
        return tuple(
            Finding(name, rate, limits[name], meaning)
            for name, rate, meaning in rates
            if limits[name] is not None and rate > limits[name]
        )


def describe(findings: tuple[Finding, ...], num_items: int) -> str:
    """One sentence for people."""
    return f"of the first {num_items} items {'; '.join(map(str, findings))}"
