"""gpu.jsonl of several attempts in common bins, against sums by hand."""

from pathlib import Path
from typing import Any

import pytest

from launch.collect.run_page import gpu_series as module
from launch.collect.run_page.gpu_series import GpuFile, gpu_series
from launch.collect.run_page.timeline_record import GpuSeries
from launch.rundir.journal import Journal
from launch.worker.gpu_lines import Folder

DEVICES = [{"id": "0", "name": "H200"}, {"id": "1", "name": "H200"}]


def write(path: Path, *lines: dict[str, Any]) -> Path:
    journal = Journal(path)
    for line in lines:
        journal.append(line)
    journal.close()
    return path


def sample(time: float, *gpus: tuple[float | None, float | None]) -> dict[str, Any]:
    names = ("utilization_percent", "memory_used_mib")
    return {"time": time, "gpus": [dict(zip(names, gpu, strict=True)) for gpu in gpus]}


def series(*files: GpuFile, end: float = 8.0) -> GpuSeries:
    found, why = gpu_series(files, 0.0, end)
    assert found is not None and why is None
    return found


def test_means_over_gpus_and_the_least_and_most_of_them(tmp_path: Path) -> None:
    path = write(
        tmp_path / "gpu.jsonl",
        {"time": 0, "devices": DEVICES},
        sample(0.0, (0, 1024), (40, 2048)),
        sample(1.0, (20, 1024), (60, 4096)),
        sample(4.5, (100, 2048), (None, None)),
    )
    found = series(GpuFile(path, 0.0))
    assert (found.bin_s, found.devices, found.num_gpus) == (2, ("H200",), (2, 0, 1, 0, 0))
    assert found.utilization_mean == (30, None, 100, None, None)
    assert found.utilization_low == (10, None, 100, None, None)
    assert found.utilization_high == (50, None, 100, None, None)
    assert found.memory_mean_gib == (2.0, None, 2.0, None, None)
    assert found.memory_high_gib == (3.0, None, 2.0, None, None)


MIG = {"id": "MIG-1", "name": "H200 MIG 3g.71gb"}


def test_mig_devices_alone_have_memory_and_no_utilisation(tmp_path: Path) -> None:
    path = write(tmp_path / "gpu.jsonl", {"time": 0, "devices": [MIG]}, sample(0.0, (None, 30 * 1024)))
    found = series(GpuFile(path, 0.0))
    assert (found.devices, found.num_gpus) == (("H200 MIG 3g.71gb",), (1, 0, 0, 0, 0))
    assert (found.num_utilization_gpus, found.num_memory_gpus) == ((0,) * 5, (1, 0, 0, 0, 0))
    assert found.utilization_mean == found.utilization_low == found.utilization_high == (None,) * 5
    assert found.memory_mean_gib == found.memory_high_gib == (30, None, None, None, None)


def test_each_mean_is_over_the_gpus_that_tell_the_reading(tmp_path: Path) -> None:
    """A GPU, a MIG device, and one that shares its memory with the host, of which NVML has no memory."""
    path = write(
        tmp_path / "gpu.jsonl",
        {"time": 0, "devices": [DEVICES[0], MIG, {"id": "2", "name": "GB10"}]},
        sample(0.0, (50, 1024), (None, 3072), (90, None)),
    )
    found = series(GpuFile(path, 0.0), end=1.0)
    assert (found.num_gpus, found.num_utilization_gpus, found.num_memory_gpus) == ((3,), (2,), (2,))
    assert (found.memory_mean_gib, found.memory_high_gib) == ((2,), (3,))
    assert (found.utilization_low, found.utilization_mean, found.utilization_high) == ((50,), (70,), (90,))


def test_gpus_that_tell_nothing_were_sampled_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "gpu.jsonl", {"time": 0, "devices": [MIG]}, sample(0.0, (None, None)))
    found = series(GpuFile(path, 0.0), end=1.0)
    assert (found.num_gpus, found.utilization_mean, found.memory_mean_gib) == ((0,), (None,), (None,))


def test_attempts_are_together_each_by_its_own_clock(tmp_path: Path) -> None:
    one = write(tmp_path / "a", {"time": 0, "devices": DEVICES[:1]}, sample(2.0, (10, 1024)))
    other = write(tmp_path / "b", {"time": 100, "devices": DEVICES[:1]}, sample(102.0, (90, 1024)))
    found = series(GpuFile(one, 0.0), GpuFile(other, 100.0))
    assert found.num_gpus[1] == 2
    assert (found.utilization_low[1], found.utilization_mean[1], found.utilization_high[1]) == (10, 50, 90)


def test_what_is_torn_of_another_form_or_outside_changes_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "gpu.jsonl",
        sample(0.0, (1, 1)),
        {"time": 0, "devices": DEVICES[:1]},
        sample(0.0, (50, 1024), (99, 9999)),
        {"time": "soon", "gpus": [{"utilization_percent": 1}]},
        {"time": 1, "gpus": ["none", {"utilization_percent": "much"}]},
        sample(-5.0, (9, 9)),
        sample(500.0, (9, 9)),
    )
    with path.open("ab") as file:
        file.write(b'[1]\n{"time": 1.0, "gpus": [{"utilization_per')
    found = series(GpuFile(path, 0.0), GpuFile(tmp_path / "never-written", 0.0))
    assert found.utilization_mean == (50, None, None, None, None)


def test_a_run_without_gpu_says_why_and_has_no_zeros(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / name, {"time": 0, "no_gpu": why})
        for name, why in (("a", "no GPU is visible to this task"), ("b", "NVML is not usable: none"))
    ]
    files = [GpuFile(path, 0.0) for path in paths]
    assert gpu_series(files, 0, 9) == (None, "NVML is not usable: none; no GPU is visible to this task")
    assert gpu_series([], 0, 9) == (None, "no attempt was sampled")


def test_lines_that_say_what_changed_are_whole_samples(tmp_path: Path) -> None:
    """As the sampler writes them (launch.worker.gpu_lines)."""
    folder = Folder()
    readings = [(50, 1024), (50, 2048), (50, 2048), (100, 2048)]
    lines = []
    for second, values in enumerate(readings):
        line = sample(float(second * 2), values)
        lines.append(line | {"gpus": folder.fold(line["gpus"])})
    assert lines[2]["gpus"] == [{}]
    found = series(GpuFile(write(tmp_path / "gpu.jsonl", {"time": 0, "devices": DEVICES[:1]}, *lines), 0.0))
    assert found.utilization_mean == (50, 50, 50, 100, None)
    assert found.memory_mean_gib == (1, 2, 2, 2, None)


def test_of_very_many_samples_some_in_each_bin_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [sample(float(second), (second % 3 * 50, 1024)) for second in range(2000)]
    path = write(tmp_path / "gpu.jsonl", {"time": 0, "devices": DEVICES[:1]}, *lines)
    whole = series(GpuFile(path, 0.0), end=2000)
    monkeypatch.setattr(module, "SAMPLES_A_BIN", 2)
    thinned = series(GpuFile(path, 0.0), end=2000)
    assert whole.bin_s == thinned.bin_s == 10 and None not in thinned.utilization_mean[:-1]
    means = [sum(filter(None, each.utilization_mean)) / len(each.num_gpus) for each in (whole, thinned)]
    assert means == pytest.approx([50, 50], abs=5)
    assert whole.utilization_mean != thinned.utilization_mean
