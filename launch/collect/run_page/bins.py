"""Numbers put into at most so many bins of a width that a person would have chosen."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MAX_BINS = 40
MAX_TIME_BINS = 240
_TIMES_S = (2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


def nice_width(low: int, high: int, max_bins: int = MAX_BINS) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... whose multiples cut low to high into at most `max_bins`."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            width = digit * power
            if high // width - low // width < max_bins:
                return width
        power *= 10


def time_width_s(span_s: float) -> int:
    """Seconds of a bin, a round part of a minute, hour or day, so that at most MAX_TIME_BINS cover the span.

    No less than 2: results become durable once in 2 seconds at least, and shorter bins would show that.
    """
    for width in _TIMES_S:
        if span_s / width < MAX_TIME_BINS:
            return width
    return _TIMES_S[-1] * nice_width(0, int(span_s / _TIMES_S[-1]), MAX_TIME_BINS)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bin i holds values v with edges[i] <= v < edges[i + 1]; `counts` has a row of bins for each series."""

    edges: tuple[int, ...]
    counts: dict[str, tuple[int, ...]]
    num_values: int
    mean: float
    median: int
    largest: int

    def as_json(self) -> dict[str, object]:
        """As the page's script takes it."""
        return {
            "edges": self.edges,
            "counts": self.counts,
            "num_values": self.num_values,
            "mean": round(self.mean, 2),
            "median": self.median,
            "largest": self.largest,
        }


def histogram(series: Mapping[str, Counter[int]]) -> Histogram | None:
    """Whole numbers of at least 0, each series counted by value, in common bins; None where there are none.

    The median is the lower one of an even number of values.
    """
    together: Counter[int] = sum(series.values(), Counter())
    if not together:
        return None
    low, high = min(together), max(together)
    width = nice_width(low, high)
    start = low // width * width
    edges = tuple(range(start, high + width + 1, width))
    num_values = together.total()
    total = sum(value * count for value, count in together.items())
    return Histogram(
        edges=edges,
        counts={name: _binned(each, start, width, len(edges) - 1) for name, each in series.items()},
        num_values=num_values,
        mean=total / num_values,
        median=_at(sorted(together.items()), (num_values - 1) // 2),
        largest=high,
    )


def _binned(values: Counter[int], start: int, width: int, num_bins: int) -> tuple[int, ...]:
    row = [0] * num_bins
    for value, count in values.items():
        row[(value - start) // width] += count
    return tuple(row)


def _at(pairs: Iterable[tuple[int, int]], place: int) -> int:
    """The value at a place, from 0, of values in order, each with its count."""
    for value, count in pairs:
        place -= count
        if place < 0:
            return value
    raise IndexError(place)


def summed(times: Sequence[float], weights: Sequence[int], begin: float, width: int, num: int) -> list[int]:
    """Sums of weights in `num` bins of `width` seconds from `begin`; what lies outside counts nowhere."""
    row = [0] * num
    for time, weight in zip(times, weights, strict=True):
        place = int((time - begin) // width)
        if 0 <= place < num:
            row[place] += weight
    return row
