"""A machine that loses power keeps of a file what was fsynced, and may keep nothing else.

A run is worked on in two submissions. From what a power cut may leave of it (tests/power_cut.py) it goes on:
nothing that was reported done is lost, a merge says what is missing, and in the end the same is published.
"""

import os
import shutil
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.errors import IncompleteError
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import load_run, load_submission, run_config
from launch.rundir.rounds import add_round
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from launch.worker import writer as writer_module
from launch.worker.writer import ResultWriter
from tests.local_submit import digests
from tests.power_cut import PowerCuts
from tests.worker.build_run import build_run
from tests.worker.tasks import is_ended_well

pytestmark = pytest.mark.process  # seconds

NUM_ITEMS = 12
EVERY = 3
"""A change in three is tried: no step of the writer's is always left out."""


def generate(run: RunPaths, submission: int) -> bool:
    """One attempt of the only task; False when the engine failed in it."""
    attempt, _ = open_attempt(run, submission, 0)
    return is_ended_well(run, EngineStart(submission, 0, attempt, 0, 0))


def send_again(run: RunPaths) -> int:
    """What resume does about the files of a run; the submission."""
    config = run_config(load_run(run), load_submission(run, 1))
    return open_submission(run, config, Place(1001, None, 0)).submission


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return build_run(tmp_path, num_users=4, items_per_user=NUM_ITEMS // 4)


@pytest.fixture
def disk(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> PowerCuts:
    """The run worked on to its end: an engine failed in the middle, and what was missing was sent again."""
    writers: list[ResultWriter] = []
    init = ResultWriter.__init__

    def remembered(self: ResultWriter, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        writers.append(self)

    monkeypatch.setattr(ResultWriter, "__init__", remembered)
    monkeypatch.setattr(writer_module, "GATHER_S", 0.0)  # many small batches instead of one
    monkeypatch.setenv("VLLM_LAUNCH_STUB_SECONDS_PER_ITEM", "0.1")
    monkeypatch.setenv("VLLM_LAUNCH_STUB_FAIL", "step:7")
    with PowerCuts(run.root, lambda: sum(writer.num_done for writer in writers)) as disk:
        assert not generate(run, 1)
        monkeypatch.delenv("VLLM_LAUNCH_STUB_FAIL")
        add_round(run, 1, round_=0, num_missing=survey_settled(run).num_missing, sends=True, why="failed")
        assert generate(run, send_again(run))
    monkeypatch.undo()
    return disk


def test_from_any_power_cut_the_run_goes_on_and_nothing_reported_is_lost(
    run: RunPaths, disk: PowerCuts
) -> None:
    expected = digests(merge(run).output_dir)
    seen_between = set()
    for cut in disk.chosen(EVERY):
        cut.restore(run.root)
        shutil.rmtree(run.root.parent.parent / "leaderboards")
        settled = survey_settled(run)
        assert settled.num_done >= cut.reported, cut
        seen_between.add(settled.num_done)
        if settled.num_missing:
            missing = rf"{settled.num_missing} of {NUM_ITEMS} items are missing"
            with pytest.raises(IncompleteError, match=missing):
                merge(run)
            assert not (run.root.parent.parent / "leaderboards").exists()
            assert generate(run, send_again(run)), cut
        assert digests(merge(run).output_dir) == expected, cut
    assert len(seen_between) >= NUM_ITEMS // 3  # the cuts lie all over the run


def test_what_a_dead_engine_did_not_fsync_is_durable_before_its_chunks_are_marked_done(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PowerCuts(run.root) as disk:
        with monkeypatch.context() as patch:
            patch.setenv("VLLM_LAUNCH_STUB_FAIL", "step:7")
            patch.setattr(os, "fsync", lambda descriptor: None)
            assert not generate(run, 1)
        assert survey_settled(run).num_done
        for mark in run.submission(1).claims.glob("*.done"):
            mark.unlink()  # it had not come to that
        assert generate(run, 1)  # takes its claims over
    disk.least.restore(run.root)
    assert survey_settled(run).num_missing == 0
