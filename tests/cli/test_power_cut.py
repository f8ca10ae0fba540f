"""A power cut at any moment of `submit`: the run is whole, or it is refused and submitting it anew works."""

import shutil
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_run, load_submission
from launch.worker.unchanged import check_unchanged
from tests.cli.commands import Said, submit_words, vllm_launch
from tests.local_submit import digests
from tests.power_cut import PowerCuts
from tests.worker.test_unsynced_bytes import generate

pytestmark = pytest.mark.process  # seconds

NEVER_SUBMITTED = "was never submitted to the end. Remove it and submit anew."


def test_from_any_power_cut_a_submitted_run_is_whole_or_refused(
    checkpoint: Path, scenario: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    words = [*submit_words(checkpoint, scenario), "--dry-run"]
    run = RunPaths(here / "outputs" / "runs" / "r")
    said: list[Said] = []
    with PowerCuts(here, lambda: len(said)) as disk:
        said.append(vllm_launch(*words, cwd=here))
    assert said[0].code == 0
    expected = publish(run)
    refusals = []
    for cut in disk.chosen(2):
        cut.restore(here)
        again = vllm_launch("resume", "r", "--dry-run", cwd=here)
        if again.code:
            assert not cut.reported, cut
            (refusal,) = again.errors
            refusals.append(refusal)
            if run.root.exists():
                shutil.rmtree(run.root)  # as it says
            assert vllm_launch(*words, cwd=here).code == 0, cut
        assert publish(run) == expected, cut
    assert any(refusal.endswith(NEVER_SUBMITTED) for refusal in refusals)
    assert all(refusal.endswith(NEVER_SUBMITTED) or ": no run here; " in refusal for refusal in refusals)


def publish(run: RunPaths) -> dict[str, str]:
    """Works on the newest submission as a task does, which checks the run first; what is published then."""
    submission = list_submissions(run)[-1]
    check_unchanged(run, load_run(run), load_submission(run, submission))
    assert generate(run, submission)
    return digests(merge(run).output_dir)
