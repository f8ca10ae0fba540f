"""Bins hold every value once, and are few and round."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from launch.collect.run_page.bins import (
    MAX_BINS,
    MAX_TIME_BINS,
    histogram,
    nice_width,
    summed,
    time_width_s,
)

VALUES = st.lists(st.integers(0, 200_000), min_size=1, max_size=50)


@given(VALUES, VALUES)
def test_every_value_is_in_one_bin_of_its_series(stop: list[int], length: list[int]) -> None:
    found = histogram({"stop": Counter(stop), "length": Counter(length)})
    assert found is not None
    pairs = list(zip(found.edges, found.edges[1:], strict=False))
    assert len(pairs) <= MAX_BINS and len({high - low for low, high in pairs}) == 1
    for name, values in (("stop", stop), ("length", length)):
        assert list(found.counts[name]) == [
            sum(low <= value < high for value in values) for low, high in pairs
        ]
        assert sum(found.counts[name]) == len(values)
    together = sorted([*stop, *length])
    assert found.median == together[(len(together) - 1) // 2]
    assert (found.largest, found.num_values) == (together[-1], len(together))


def test_widths_are_those_that_a_person_would_choose() -> None:
    assert [nice_width(0, high) for high in (0, 39, 40, 79, 80, 199, 200, 1500)] == [1, 1, 2, 2, 5, 5, 10, 50]
    assert [time_width_s(span) for span in (0, 400, 3600, 86_400, 40 * 86_400)] == [2, 2, 30, 600, 21_600]
    assert time_width_s(4000 * 86_400) % 86_400 == 0


@given(st.floats(0, 1e9))
def test_times_fit_into_their_bins(span: float) -> None:
    width = time_width_s(span)
    assert span // width + 1 <= MAX_TIME_BINS and width >= 2


def test_without_values_there_is_no_histogram() -> None:
    assert histogram({"stop": Counter()}) is None


def test_sums_are_by_time_and_what_lies_outside_counts_nowhere() -> None:
    assert summed([9.9, 10, 14.9, 15, 25], [1, 2, 4, 8, 16], 10, 5, 2) == [6, 8]
