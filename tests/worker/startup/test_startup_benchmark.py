"""benchmarks/startup.py keeps every engine start: one that failed says why, and what was done about it."""

from pathlib import Path

import pytest

from benchmarks.startup import engine_starts, ledgers_of, told
from tests.runs import make_run
from tests.worker.tasks import run_task

pytestmark = pytest.mark.process


def test_a_start_that_failed_is_kept_with_its_reason_and_what_followed(tmp_path: Path):
    run = make_run(tmp_path, settings={"data.limit_items": 8})
    assert run_task(run, VLLM_LAUNCH_STUB_FAIL="raise:Address already in use@0")[0] == 0
    failed, again = engine_starts(run, 1)
    assert [(row["task"], row["slot"], row["start"]) for row in (failed, again)] == [(0, 0, 0), (0, 0, 1)]
    assert (failed["said"], failed["ledger"]) == ("failed", None)
    assert "Address already in use" in failed["failure"]
    assert any("Address already in use" in line for line in failed["log"])
    (step,) = failed["ladder"]
    assert (step["class"], step["action"]) == ("port_in_use", "restart")
    assert told(failed) == f"task 0, start 0: not ready; failed: {failed['failure']}; port_in_use: restart"

    assert (again["said"], again["failure"], again["ladder"], again["log"]) == ("empty", None, [], [])
    assert [each["phase"] for each in again["events"] if each["event"] == "phase"][-1] == "draining"
    assert ledgers_of([failed, again]) == [again["ledger"]]
    assert told(again).startswith("task 0, start 1: ") and " s: " in told(again)
