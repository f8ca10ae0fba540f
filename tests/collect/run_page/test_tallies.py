"""What is counted over items, by hand."""

import pytest

from launch.collect.run_page.tallies import Tallies
from tests.collect.run_page.builders import item


@pytest.fixture
def tallies() -> Tallies:
    """Two items of two samples, 4 seconds apart; one that was recovered, one that failed, one missing."""
    made = Tallies()
    made.add(item("u1#0.0", ["abc", "abcde"], time=1001.0))
    made.add(item("u1#0.1", ["a", "ab"], time=1005.0, prompt_tokens=30))
    made.add(item("u1#0.2", ["abcd"], time=None))
    made.add(item("u2#0.0", row={"failure": {"class": "too_long", "message": "x"}}))
    made.add(item("u2#0.1", row={"missing": True}))
    return made


def test_items_and_samples(tallies: Tallies) -> None:
    assert (tallies.num_items, tallies.num_missing, tallies.failures) == (5, 1, {"too_long": 1})
    assert tallies.finish_reasons == {"stop": 3, "length": 2}
    assert tallies.cuts == {"history": 3}, "items whose prompt lost some, a cut of nothing is none"


def test_lengths(tallies: Tallies) -> None:
    found = tallies.lengths()
    assert found["prompt_tokens"]["edges"][0] == 10 and found["prompt_tokens"]["largest"] == 30
    assert sum(found["prompt_tokens"]["counts"]["items"]) == 3
    outputs = found["output_tokens"]
    assert outputs["edges"] == (1, 2, 3, 4, 5, 6)
    assert outputs["counts"] == {"stop": (1, 0, 1, 1, 0), "length": (0, 1, 0, 0, 1)}
    assert (outputs["mean"], outputs["median"]) == (3.0, 3)


def test_throughput_is_by_the_time_of_what_was_published(tallies: Tallies) -> None:
    found = tallies.throughput(None)
    assert found == {
        "begin": 1000.0,
        "bin_s": 2,
        "items": [1, 0, 1],
        "tokens": [8, 0, 3],
        "num_untimed": 1,
    }


def test_throughput_begins_with_the_run(tallies: Tallies) -> None:
    found = tallies.throughput(995.0)
    assert found is not None
    assert (found["begin"], found["items"]) == (994.0, [0, 0, 0, 1, 0, 1])
    late = tallies.throughput(1004.0)
    assert late is not None and late["begin"] == 1000.0, "a clock that disagrees loses no item"


def test_without_times_there_is_none() -> None:
    tallies = Tallies()
    tallies.add(item(time=None))
    assert tallies.throughput(0.0) is None
