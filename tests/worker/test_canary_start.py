"""What a task does at its start about a judgement on the first items that cannot be read."""

from pathlib import Path

import pytest

from launch.rundir.canary import CanaryRecord, keep_canary
from launch.rundir.progress import survey_settled
from tests.worker.build_run import build_run
from tests.worker.tasks import events, finish, run_task, start_task, wait_for_phase

pytestmark = pytest.mark.process
SAID = "the engines look again whether the run is stopped"


def test_it_keeps_no_task_from_its_start(tmp_path: Path) -> None:
    """A link to itself stands for a server that answers EIO or ESTALE."""
    run = build_run(tmp_path)
    run.canary.symlink_to(run.canary.name)
    assert run_task(run) == (0, "")
    assert survey_settled(run).num_missing == 0
    told = events(run, "canary")[0]["found"]
    assert told.startswith(f"{SAID}: {run.canary}: cannot read: ")


def test_and_stops_its_engine_when_it_can_be_read_again(tmp_path: Path) -> None:
    run = build_run(tmp_path, num_users=30, items_per_user=10)
    run.canary.symlink_to(run.canary.name)
    process = start_task(run, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.5")
    wait_for_phase(run, "generating")
    run.canary.unlink()
    keep_canary(run, CanaryRecord(1, 5, {}, ("all are alike",), True, "task 1", 1.0))
    code, errors = finish(process)
    assert code == 2 and "of the first 5 items all are alike. The run is stopped." in errors
    assert survey_settled(run).num_missing > 0


@pytest.mark.parametrize("content", [b"", b"\xff\x00{", b"[]", b'{"submission":1}'])
def test_rubbish_counts_as_none(tmp_path: Path, content: bytes) -> None:
    run = build_run(tmp_path, num_users=1, items_per_user=1)
    run.canary.write_bytes(content)
    assert run_task(run) == (0, "")
    assert events(run, "canary") == []
