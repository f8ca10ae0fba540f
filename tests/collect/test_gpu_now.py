"""What GPUs do now: the newest samples, as the sampler writes them."""

import time
from pathlib import Path
from typing import Any

import pytest

from launch.collect.gpu_now import GpuNow, read_gpus
from launch.collect.status import status
from launch.rundir.attempts import open_attempt
from launch.rundir.journal import Journal
from launch.rundir.layout import AttemptPaths
from tests.worker.build_run import build_run
from tests.worker.tasks import run_task


def attempt(root: Path, *rows: dict[str, Any]) -> AttemptPaths:
    root.mkdir()
    paths = AttemptPaths(root)
    journal = Journal(paths.gpu)
    for row in rows:
        journal.append(row)
    journal.close()
    return paths


def sample(at: float, *gpus: tuple[float | None, float, float | None]) -> dict[str, Any]:
    names = ("utilization_percent", "memory_used_mib", "power_w")
    return {"time": at, "gpus": [dict(zip(names, gpu, strict=True)) for gpu in gpus]}


def test_the_newest_of_each_task_together(tmp_path: Path) -> None:
    first = attempt(tmp_path / "0", sample(10, (0, 0, 0)), sample(99, (90, 1024, 400), (70, 1024, 300)))
    second = attempt(tmp_path / "1", sample(1000, (20, 2048, 100)), {"time": 1001, "failed": {"gpu": "0"}})
    # the second node's clock is 900 s ahead
    found = read_gpus([(first, 100.0), (second, 1000.0)])
    assert found == GpuNow(3, 2, (20, 60, 90), 4.0, 800)


def test_lines_that_hold_what_changed_are_put_together(tmp_path: Path) -> None:
    changed = [
        {"time": 99.0, "gpus": [{"power_w": 350}, {}]},
        {"time": 99.5, "gpus": [{}, {"power_w": None}]},
    ]
    paths = attempt(tmp_path / "0", sample(98, (90, 1024, 400), (70, 1024, 300)), *changed)
    assert read_gpus([(paths, 100.0)]) == GpuNow(2, 1, (70, 80, 90), 2.0, 350)


def test_what_a_gpu_does_not_tell_is_no_zero(tmp_path: Path) -> None:
    found = read_gpus([(attempt(tmp_path / "0", sample(100, (None, 512, None))), 100.0)])
    assert found == GpuNow(1, 1, None, 0.5, None, num_silent=1)


def test_a_mig_device_beside_a_gpu_is_counted_as_silent(tmp_path: Path) -> None:
    paths = attempt(tmp_path / "0", sample(100, (60, 1024, 300), (None, 3072, None)))
    assert read_gpus([(paths, 100.0)]) == GpuNow(2, 1, (60, 60, 60), 4.0, 300, num_silent=1)


def test_no_gpu_says_why(tmp_path: Path) -> None:
    paths = attempt(tmp_path / "0", {"time": 1, "no_gpu": "no GPU is visible to this task"})
    assert read_gpus([(paths, 500.0)]) == GpuNow(0, 1, None, None, None, "no GPU is visible to this task")


@pytest.mark.process
def test_a_real_run_that_has_ended_says_why_it_had_no_gpu(tmp_path: Path) -> None:
    run = build_run(tmp_path, num_users=1)
    assert run_task(run, CUDA_VISIBLE_DEVICES="") == (0, "")
    why = "no GPU is visible to this task"
    assert status(run).gpus == GpuNow(0, 1, None, None, None, why)


def test_a_look_at_a_run_opens_the_samples_of_a_task_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build_run(tmp_path)
    _, paths = open_attempt(run, 1, 0)
    paths.heartbeat.touch()
    journal = Journal(paths.gpu)
    journal.append(sample(time.time(), (90, 1024, 400)))
    journal.close()
    opened: list[Path] = []
    really = Path.open

    def counted(self: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(self)
        return really(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", counted)
    found = status(run)
    assert found.gpus == GpuNow(1, 1, (90, 90, 90), 1.0, 400) and found.published is None
    assert opened.count(paths.gpu) == 1


@pytest.mark.parametrize("row", [sample(1, (50, 1, 1)), {"time": "x", "gpus": []}, {"gpus": 3}])
def test_old_and_damaged_samples_are_none(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read_gpus([(attempt(tmp_path / "0", row), 100.0)]) is None
    assert read_gpus([(AttemptPaths(tmp_path / "none"), 100.0)]) is None
