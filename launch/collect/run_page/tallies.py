"""What a run page counts while the items pass by: lengths, finish reasons, failures, output over time."""

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from launch.collect.run_page.bins import histogram, summed, time_width_s
from launch.collect.run_page.items import PublishedItem


@dataclass(slots=True)
class Tallies:
    """Takes every item once; keeps counts, and of items with a time three numbers."""

    num_items: int = 0
    num_missing: int = 0
    num_untimed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    prompt_tokens: Counter[int] = field(default_factory=Counter)
    output_tokens: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _times: "array[float]" = field(default_factory=lambda: array("d"))
    _tokens: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, item: PublishedItem) -> None:
        """Takes one item."""
        self.num_items += 1
        self.types[item.item_type] += 1
        if item.row.get("missing"):
            self.num_missing += 1
            return
        failure = item.row.get("failure")
        if failure is not None:
            self.failures[failure["class"]] += 1
            return
        self.prompt_tokens[item.row["prompt_tokens"]] += 1
        self.cuts.update(name for name, count in item.row["cuts"].items() if count)
        for sample in item.samples:
            reason = sample["finish_reason"]
            self.finish_reasons[reason] += 1
            self.output_tokens[reason][sample["tokens"]] += 1
        self._add_time(item)

    def _add_time(self, item: PublishedItem) -> None:
        if item.time is None:
            self.num_untimed += 1
        else:
            self._times.append(item.time)
            self._tokens.append(sum(sample["tokens"] for sample in item.samples))

    def lengths(self) -> dict[str, Any]:
        """Histograms of prompt tokens by item, and of output tokens by sample and finish reason."""
        prompts = histogram({"items": self.prompt_tokens})
        outputs = histogram(dict(sorted(self.output_tokens.items(), reverse=True)))
        return {
            "prompt_tokens": None if prompts is None else prompts.as_json(),
            "output_tokens": None if outputs is None else outputs.as_json(),
        }

    def throughput(self, begin: float | None) -> dict[str, Any] | None:
        """Items and output tokens that became durable in each bin, from `begin` or the first of them.

        Each item counts once, when the line that was published became durable: what was generated twice is
        not in it. None where no item has a time.
        """
        if not self._times:
            return None
        first = min(self._times)
        first = first if begin is None else min(begin, first)
        width = time_width_s(max(self._times) - first)
        start = first // width * width
        num = int((max(self._times) - start) // width) + 1
        ones = array("q", [1]) * len(self._times)
        return {
            "begin": start,
            "bin_s": width,
            "items": summed(self._times, ones, start, width, num),
            "tokens": summed(self._times, self._tokens, start, width, num),
            "num_untimed": self.num_untimed,
        }
