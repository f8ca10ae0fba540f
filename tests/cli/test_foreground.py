"""`--foreground` follows a submission through the answer of squeue that its tasks share."""

import os
import shutil
from pathlib import Path

import pytest

from launch.cli import sending
from launch.rundir.layout import RunPaths
from launch.slurm.shared_queue import load_answer
from tests.cli.commands import submit_words, vllm_launch

SBATCH = "echo 'Submitted batch job 12'"


def commands(folder: Path, **texts: str) -> str:
    """A PATH with these commands, those that sending needs, and nothing else."""
    folder.mkdir()
    for name in ("bash", "env", "timeout"):
        (folder / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    for name, text in {"srun": "exit 0", "sbatch": SBATCH, "scontrol": "exit 1", **texts}.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def submit(root: Path, checkpoint: Path, path: str) -> list[str]:
    """What a submission in the foreground complains about."""
    words = ("--cluster", "slurm", "--limit-items", "4", "--num-tasks", "1", "--foreground")
    said = vllm_launch(*submit_words(checkpoint), *words, cwd=root, PATH=path)
    assert said.code != 0, "no task has run, so nothing can be published"
    return said.errors


def test_it_waits_until_no_job_is_open_and_then_merges(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FOLLOW_PERIOD_S", 0.1)
    monkeypatch.setattr("launch.slurm.shared_queue.SHARED_FOR_S", 0.2)
    calls = tmp_path / "calls"
    states = f"echo >>'{calls}'; n=$(wc -l <'{calls}'); ((n == 1)) && exit 1; ((n == 2)) && state=PENDING"
    squeue = f'{states} || state=COMPLETED; echo "12_0|demo|$state|None||NONE"'
    path = f"{commands(tmp_path / 'bin', squeue=squeue)}:{os.environ['PATH']}"
    assert "4 items are missing" in submit(tmp_path, checkpoint, path)[0]
    answer = load_answer(RunPaths(tmp_path / "outputs" / "runs" / "r").submission(1))
    assert answer is not None and answer.rows[0].state == "COMPLETED"
    assert answer.number >= 3, "one that failed, one of a job that waits; on a busy machine a view asks again"


def test_without_squeue_there_is_nothing_to_follow(tmp_path: Path, checkpoint: Path) -> None:
    said = submit(tmp_path, checkpoint, commands(tmp_path / "bin"))
    assert len(said) == 1 and said[0].startswith("vllm-launch: squeue: not found; this machine has no Slurm")
