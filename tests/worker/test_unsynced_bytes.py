"""A machine that loses power keeps of a file what was fsynced, and may keep nothing else.

Every write and fsync of a run is recorded. At each of them the run directory is rebuilt as it would be found
after a power cut: every file cut to what had been fsynced, unsynced files empty. From each of these the run
has to go on: nothing that was reported done is lost, and in the end the same is published.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from launch.collect.merge import merge
from launch.errors import IncompleteError
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import load_run, load_submission, run_config
from launch.rundir.submissions import Place, open_submission
from launch.worker import writer as writer_module
from launch.worker.caution import Caution
from launch.worker.engine_process import work
from launch.worker.writer import ResultWriter
from tests.local_submit import digests
from tests.worker.build_run import build_run
from tests.worker.test_elastic_resume import SilentChannel

pytestmark = pytest.mark.process  # seconds

NUM_ITEMS = 12


@dataclass
class Disk:
    """What would be left of a run directory at each moment, copied beside it: `cuts` in order of time."""

    run: RunPaths
    place: Path
    synced: dict[int, int] = field(default_factory=dict)
    old: set[int] = field(default_factory=set)
    cuts: list[tuple[Path, int]] = field(default_factory=list)
    writer: ResultWriter | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)  # one copy at a time

    def start(self) -> None:
        """What is there now was synced long ago."""
        self.old = {path.stat().st_ino for path in self.files()}

    def files(self) -> Iterator[Path]:
        """Every file of the run."""
        return (path for path in self.run.root.rglob("*") if path.is_file())

    def sync(self, descriptor: int) -> None:
        """The file is on the disk as it is now."""
        status = os.fstat(descriptor)
        self.synced[status.st_ino] = status.st_size

    def cut(self) -> None:
        """Copies what a power cut would leave now, and notes how many items are reported done."""
        with self.lock:
            copy = self.place / f"cut{len(self.cuts)}" / "runs" / "run"
            for path in self.files():
                target = copy / path.relative_to(self.run.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                inode, data = path.stat().st_ino, path.read_bytes()
                target.write_bytes(data if inode in self.old else data[: self.synced.get(inode, 0)])
            num_done = 0 if self.writer is None else self.writer.num_done
            self.cuts.append((copy, num_done))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A run of one task that was worked on to its end while every write and fsync was recorded."""
    run = build_run(tmp_path / "base", num_users=4, items_per_user=NUM_ITEMS // 4)
    disk = Disk(run, tmp_path)
    disk.start()
    write, fsync = os.write, os.fsync

    def recorded_write(descriptor: int, data: Any) -> int:
        count = write(descriptor, data)
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(run.root):
            disk.cut()
        return count

    def recorded_fsync(descriptor: int) -> None:
        disk.cut()
        fsync(descriptor)
        disk.sync(descriptor)
        disk.cut()

    init = ResultWriter.__init__

    def remembered(self: ResultWriter, *arguments: Any) -> None:
        disk.writer = self
        init(self, *arguments)

    monkeypatch.setattr(ResultWriter, "__init__", remembered)
    monkeypatch.setattr(writer_module, "GATHER_S", 0.0)  # many small batches instead of one
    monkeypatch.setenv("VLLM_LAUNCH_STUB_SECONDS_PER_ITEM", "0.1")
    monkeypatch.setattr(os, "write", recorded_write)
    monkeypatch.setattr(os, "fsync", recorded_fsync)
    attempt, _ = open_attempt(run, 1, 0)
    work(run, EngineStart(1, 0, attempt, 0, 0), SilentChannel(), {}, Caution())  # type: ignore[arg-type]
    monkeypatch.undo()
    disk.cut()
    return disk


def test_from_any_power_cut_the_run_goes_on_and_nothing_reported_is_lost(disk: Disk) -> None:
    expected = digests(merge(disk.run).output_dir)
    assert len(disk.cuts) > 2 * NUM_ITEMS
    seen_between = set()
    for root, num_reported in disk.cuts:
        run = RunPaths(root)
        settled = survey_settled(run)
        assert settled.num_done >= num_reported, root
        seen_between.add(settled.num_done)
        if settled.num_missing:
            with pytest.raises(
                IncompleteError, match=rf"{settled.num_missing} of {NUM_ITEMS} items are missing"
            ):
                merge(run)
            assert not (root.parent.parent / "leaderboards").exists()
            go_on(run)
        assert digests(merge(run).output_dir) == expected
        shutil.rmtree(root.parent.parent)
    assert len(seen_between) >= NUM_ITEMS // 3  # the cuts lie all over the run


def go_on(run: RunPaths) -> None:
    """resume, and its one task."""
    open_submission(run, run_config(load_run(run), load_submission(run, 1)), Place(1001, None, 0))
    attempt, _ = open_attempt(run, 2, 0)
    work(run, EngineStart(2, 0, attempt, 0, 0), SilentChannel(), {}, Caution())  # type: ignore[arg-type]
