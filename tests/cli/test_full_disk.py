"""A disk that is full for real: a small tmpfs of our own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.collect.roomless_claim import RoomlessClaim
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from tests.cli.commands import submit_words, succeed, vllm_launch
from tests.cli.disks import Disk, tiny_disk
from tests.cli.refusals import contents

pytestmark = pytest.mark.process

FULL = "cannot write: the disk is full. Free space or choose another directory."


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with tiny_disk(tmp_path / "disk", 8192) as small:
        yield small


@pytest.mark.parametrize("leave_kib", [0, 24, 40, 52, 88])
def test_submitting_onto_a_full_disk(disk: Disk, checkpoint: Path, scenario: Path, leave_kib: int):
    words = [*submit_words(checkpoint, scenario), "--dry-run"]
    disk.fill(leave_kib)
    before = contents(disk.root)
    said = vllm_launch(*words, cwd=disk.root)
    if said.code == 0:  # the room was enough for a run, which is a whole one then
        assert leave_kib > 40
        disk.clear()
        succeed("resume", "r", cwd=disk.root)
        return
    assert said.code == 2 and leave_kib < 88
    assert len(said.errors) == 1 and said.errors[0].endswith(FULL)
    assert contents(disk.root) == before
    disk.clear()
    succeed(*words, cwd=disk.root)


def test_a_disk_that_fills_while_generating(disk: Disk, checkpoint: Path):
    slow = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.03"}
    more = ["--limit-items", "null", "--num-samples", "40", "--dry-run"]
    succeed(*submit_words(checkpoint), *more, cwd=disk.root)
    disk.fill(500)
    said = vllm_launch("resume", "r", cwd=disk.root, **slow)
    assert said.code == 2
    task, last = said.errors
    assert task.startswith("task 0 ended with 2: ") and FULL in task
    assert last.startswith("vllm-launch: ") and last.endswith(FULL)
    kept = survey_settled(RunPaths(disk.root / "outputs" / "runs" / "r"))
    assert 0 < kept.num_done < 92
    assert not (disk.root / "outputs" / "leaderboards").exists()
    disk.clear()
    said = succeed("resume", "r", cwd=disk.root)
    assert said.row("submission").startswith(f"3: {92 - kept.num_done} items")
    assert said.row("published").endswith("92 of 92 items done; texts of the stub engine, not of a model")
    succeed("verify", "outputs/leaderboards/r", cwd=disk.root)


def test_publishing_onto_a_full_disk(disk: Disk, tmp_path: Path, checkpoint: Path):
    """The run is elsewhere; the disk that results go to fills up while they are written."""
    disk.fill(64)
    published = disk.root / "results"
    words = [*submit_words(checkpoint), "--limit-items", "null", "--output-dir", str(published)]
    said = vllm_launch(*words, cwd=tmp_path)
    assert said.code == 2
    assert len(said.errors) == 1 and said.errors[0].endswith(FULL)
    assert contents(disk.root) == {Path("ballast")}
    disk.clear()
    assert (
        succeed("merge", "r", cwd=tmp_path).row("published")
        == f"{published}: 92 of 92 items done; texts of the stub engine, not of a model"
    )


def test_cleaning_a_full_disk(disk: Disk, tmp_path: Path, checkpoint: Path):
    """It is how room is made there, with its usual checks."""
    words = [*submit_words(checkpoint), "--limit-items", "null"]
    succeed(*words, "--output-dir", str(tmp_path / "results"), cwd=disk.root)
    run = RunPaths(disk.root / "outputs" / "runs" / "r")
    disk.fill(0)
    before = contents(run.root)
    with RoomlessClaim(run, tmp_path / "scratch") as claim:
        assert (run.merge / "2").read_bytes() == b""
        said = vllm_launch("clean", "r", cwd=disk.root)
        assert said.code == 2 and "another merge is at work, which has just begun. Wait" in said.errors[0]
        claim.check()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(disk.root))
        said = vllm_launch("clean", "r", cwd=disk.root)
    assert (said.code, len(said.errors)) == (2, 1)
    assert said.errors[0].endswith("Set TMPDIR to a directory with as much room as they take.")
    assert before <= contents(run.root)
    (results,) = run.root.glob("tasks/1/0/0/0.0.results.jsonl")
    data = results.read_bytes()
    with results.open("r+b") as file:
        file.write(data.replace(b'"text":"', b'"tixt":"', 1)[: len(data)])
    assert vllm_launch("clean", "r", cwd=disk.root).code in (2, 3) and run.root.is_dir()
    with results.open("r+b") as file:
        file.write(data)
    succeed("clean", "r", cwd=disk.root)
    assert not run.root.exists()
    succeed("verify", tmp_path / "results", cwd=tmp_path)
