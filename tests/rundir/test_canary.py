"""The judgement on a run is made once, whoever else judges at the same moment."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from launch.rundir.canary import CanaryRecord, keep_canary, read_canary
from launch.rundir.layout import RunPaths


def record(submission: int = 1, *found: str, judged_by: str = "task 0") -> CanaryRecord:
    return CanaryRecord(submission, 5, {"max_empty_rate": 0.5}, found, bool(found), judged_by, 1.0)


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def test_what_is_kept_is_read_again(run: RunPaths) -> None:
    assert read_canary(run) is None
    kept = record(1, "50% of samples are empty", "all are alike")
    assert keep_canary(run, kept) is kept
    assert read_canary(run) == kept
    assert kept.sentence == "of the first 5 items 50% of samples are empty; all are alike"
    assert record().sentence == "the first 5 items are within the limits"


def test_it_stops_its_own_submission_alone() -> None:
    assert record(2, "bad").stops_submission(2)
    assert not record(2, "bad").stops_submission(3)
    assert not record(2).stops_submission(2)


def test_of_many_judges_one_counts_for_all(run: RunPaths) -> None:
    barrier = Barrier(8)

    def judge(task: int) -> CanaryRecord | None:
        barrier.wait()
        return keep_canary(run, record(judged_by=f"task {task}"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(judge, range(8)))
    counts = read_canary(run)
    assert counts is not None
    assert {answer.judged_by for answer in answers if answer is not None} == {counts.judged_by}


def test_one_that_a_kill_left_half_made_is_nobodys_after_a_minute(run: RunPaths) -> None:
    run.canary.write_bytes(b'{"submission":1,"num')
    assert read_canary(run) is None
    assert keep_canary(run, record()) is None
    long_ago = time.time() - 61
    os.utime(run.canary, (long_ago, long_ago))
    assert keep_canary(run, record()) == read_canary(run) == record()
