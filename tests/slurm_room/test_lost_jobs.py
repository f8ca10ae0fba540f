"""No job is in the queue that nobody knows: whatever happens to jobs.jsonl, and whenever the disk is full."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.errors import StorageError
from launch.rundir.attempts import open_attempt
from launch.slurm.submission import cancel_submission, send_submission, sent_jobs
from tests.slurm_room.sent_run import make_sent_run
from tests.worker.distorted.full_disk import FullDisk

SBATCH = """
name=$(sed -n 's/^#SBATCH --job-name=//p' "${@: -1}")
id=$((100 + $(find "$QUEUE" "$QUEUE.gone" -type f | wc -l)))
echo "$name" >"$QUEUE/$id"
echo "Submitted batch job $id"
"""
SQUEUE = """
for id in $(ls "$QUEUE"); do
    name=$(cat "$QUEUE/$id")
    for word; do
        [[ ,${word#--jobs=}, == *,$id,* || ,${word#--name=}, == *,$name,* ]] || continue
        echo "$id|$name|PENDING|None||N/A"
    done
done
exit 0
"""
SCANCEL = """
for id; do [[ $id == --* ]] || mv "$QUEUE/$id" "$QUEUE.gone/"; done
"""


class Queue:
    """sbatch, squeue and scancel as bash scripts; a file for each job in the queue."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "queue"
        self.gone = root / "queue.gone"
        commands = {
            "sbatch": SBATCH,
            "squeue": SQUEUE,
            "scancel": SCANCEL,
            "srun": "exit 1",
            "scontrol": "exit 1",
        }
        for folder in (self.folder, self.gone, root / "bin"):
            folder.mkdir()
        for name, text in commands.items():
            (root / "bin" / name).write_text(f"#!/bin/bash\n{text}")
            (root / "bin" / name).chmod(0o755)

    @property
    def jobs(self) -> set[str]:
        """Ids of what waits."""
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    return Queue(tmp_path)


def keep_first_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])


def forget_an_id(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row.get("job_id") != "100"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: None,
        lambda path: path.write_bytes(bytes(4096)),
        lambda path: path.write_text('{"a": 1}\n[]\n{"name": "tasks-0", "job_id": "100"}\n'),
        keep_first_line,
        forget_an_id,
        lambda path: path.unlink(),
    ],
)
def test_jobs_are_found_by_name_and_cancelled(
    tmp_path: Path, queue: Queue, damage: Callable[[Path], object]
) -> None:
    run = make_sent_run(tmp_path / "runs", [(0, 2), (2, 1)])
    sent = send_submission(run, 1, tmp_path / "logs")
    assert queue.jobs == {"100", "101", "102"}
    open_attempt(run, 1, 0)  # one has begun
    damage(run.submission(1).jobs)
    assert sent_jobs(run.submission(1)) == sent
    assert {job.job_id for job in cancel_submission(run, 1)} == {"100", "101", "102"}
    assert queue.jobs == set()


def test_of_a_dry_run_nobody_is_asked(tmp_path: Path, queue: Queue) -> None:
    run = make_sent_run(tmp_path / "runs")
    send_submission(run, 1, tmp_path / "logs")
    run.submission(1).jobs.unlink()  # as a dry run leaves it: texts, and no task that has begun
    assert sent_jobs(run.submission(1)) == []


@pytest.mark.process
def test_a_disk_that_is_full_at_any_write_of_a_sending(
    tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(root: Path, at: int | None = None) -> FullDisk:
        run = make_sent_run(root / "runs", [(0, 2), (2, 1)])
        (root / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(root / "tmp"))
        with FullDisk(str(root), at) as disk:
            send_submission(run, 1, root / "logs")
        return disk

    total = len(send(tmp_path / "room").calls)
    known = queue.jobs
    assert len(known) == 3 and total > 20
    for at in range(1, total + 1):
        with pytest.raises(StorageError, match="the disk is full"):
            send(tmp_path / str(at), at)
        assert queue.jobs == known, f"a job stayed in the queue, call {at}"
