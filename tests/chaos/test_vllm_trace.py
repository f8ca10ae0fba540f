"""The sums of a trace of real engines, and the committed records of campaigns."""

import json
from pathlib import Path

import pytest

from tests.chaos.vllm_trace import read_trace, sum_up
from tests.chaos.vllm_work import KINDS, VLLM
from tests.runs import REPOSITORY

RECORDS = REPOSITORY / "benchmarks" / "results" / "chaos"

TRACE = """
100.000 7 begun 1
100.000 7 begun 2
100.000 7 begun 3
101.000 7 finished 1
102.500 7 finished 2
103.000 7 begun 4
110.000 8 begun 2
110.000 8 begun 3
110.000 8 begun 4
111.000 8 finished 2
111.500 8 finished 3
112.500 8 finished 4
"""


def test_what_was_lost_is_counted_with_its_age(tmp_path: Path) -> None:
    """Engine 7 was killed at 103 s: item 2 was finished and not written, 3 and 4 were in work."""
    path = tmp_path / "trace"
    path.write_text(TRACE.lstrip())
    found = sum_up(read_trace(path))
    assert (found.num_engines, found.num_begun, found.num_begun_again) == (2, 7, 3)
    assert (found.num_finished, found.num_finished_again) == (5, 1)
    assert (found.most_in_2_s, found.oldest_lost_s) == (3, 0.5)


def test_a_kill_that_costs_too_much_is_a_violation(tmp_path: Path) -> None:
    late = TRACE.replace("103.000 7 begun 4", "105.000 7 begun 4")
    path = tmp_path / "trace"
    path.write_text(late.lstrip())
    found = VLLM.weigh(VLLM, None, path, 1)  # type: ignore[arg-type]
    assert found.problems == ("an item was lost 2.5 s after it was finished",)
    assert (found.num_again, found.num_allowed_again) == (3, VLLM.window + 3)
    assert VLLM.weigh(VLLM, None, path, 0).problems[0] == "1 finished items were generated again"  # type: ignore[arg-type]


@pytest.mark.parametrize("record", sorted(RECORDS.glob("*/*.json")), ids=lambda path: path.parent.name)
def test_no_record_has_a_violation(record: Path) -> None:
    found = json.loads(record.read_text())
    assert found["violations"] == [] and found["num_kills"] > 0


def test_the_records_of_real_vllm_have_every_kind() -> None:
    records = [json.loads(path.read_text()) for path in RECORDS.glob("vllm-*/*.json")]
    kills = {kind: sum(record["kills"][kind.value] for record in records) for kind in KINDS}
    assert sum(kills.values()) >= 20 and min(kills.values()) >= 2
