"""NVML samples and what is made of them; NVML is a small one in memory, or the one of this machine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.rundir.journal import read_journal
from launch.worker.gpu import MAX_EMPTY_SAMPLES, GpuSampler
from launch.worker.gpu_devices import find_handle
from launch.worker.gpu_lines import read_samples
from launch.worker.gpu_summary import summarise_gpu
from tests.cli.disks import tiny_disk
from tests.worker.fake_nvml import (
    CALLS,
    FAST_S,
    LOST,
    NOT_SUPPORTED,
    FakeError,
    FakeGpu,
    FakeNvml,
    sample,
    with_key,
)
from tests.worker.tasks import wait_until


def test_every_reading_of_every_visible_gpu(tmp_path: Path):
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b", power_mw=200_000))
    lines, summary = sample(tmp_path / "gpu.jsonl", nvml, None, 5)
    assert with_key(lines, "devices") == [
        [
            {"id": "0", "uuid": "GPU-a", "name": "Fake H200", "memory_total_mib": 81920.0},
            {"id": "1", "uuid": "GPU-b", "name": "Fake H200", "memory_total_mib": 81920.0},
        ]
    ]
    samples = with_key(lines, "gpus")
    assert samples[0][1] == {
        "utilization_percent": 90,
        "memory_used_mib": 2048.0,
        "power_w": 200.0,
        "energy_j": 5001.5,
        "temperature_c": 61,
        "sm_clock_mhz": 1980,
        "throttle": ["sw_power_cap"],
        "ecc_corrected": 7,
        "ecc_uncorrected": 0,
    }
    assert samples[1][1] == {}, "a line has what changed, and energy is read now and then"
    assert samples[-1][1] == {"energy_j": 5003.0}, "and at the end"
    energy = 1.5  # a reading of the counter; it was read twice
    assert [gpu["energy_j"] for gpu in summary["gpus"]] == [pytest.approx(energy)] * 2
    assert summary["total"] == {
        "num_gpus": 2,
        "mean_utilization_percent": 90.0,
        "mean_memory_used_mib": 4096.0,
        "peak_memory_used_mib": 4096.0,
        "mean_power_w": 500.0,
        "peak_power_w": 500.0,
        "mean_temperature_c": 61.0,
        "peak_temperature_c": 61,
        "mean_sm_clock_mhz": 1980.0,
        "energy_j": pytest.approx(2 * energy),
        "energy_from": "counter",
    }
    assert summary == summarise_gpu(lines)
    assert nvml.num_open == 0


def test_samples_come_at_their_period(tmp_path: Path):
    sampler = GpuSampler(tmp_path / "gpu.jsonl", None, FakeNvml(FakeGpu("GPU-a")), period_s=0.05)
    time.sleep(0.5)
    summary = sampler.stop()
    num_periods = summary["sampled_s"] / 0.05
    assert num_periods / 2 <= summary["num_samples"] - 1 <= num_periods + 1


PARTS = (FakeGpu("MIG-11111111-x"), FakeGpu("MIG-22222222-y"))


@pytest.mark.parametrize(
    ("device_id", "uuid"),
    [
        ("1", "GPU-bcde"),
        ("GPU-bcde", "GPU-bcde"),
        ("GPU-bc", "GPU-bcde"),
        ("MIG-22222222-y", "MIG-22222222-y"),
        ("MIG-2222", "MIG-22222222-y"),
    ],
)
def test_a_gpu_is_found_by_index_uuid_or_mig_id(device_id: str, uuid: str):
    nvml = FakeNvml(FakeGpu("GPU-abcd", mig=PARTS), FakeGpu("GPU-bcde"))
    assert find_handle(nvml, device_id).uuid == uuid


@pytest.mark.parametrize("device_id", ["7", "GPU-zz", "MIG-9"])
def test_a_gpu_that_is_not_there_is_not_found(device_id: str):
    with pytest.raises(FakeError, match="Not Found"):
        find_handle(FakeNvml(FakeGpu("GPU-a", mig=PARTS)), device_id)


def test_exactly_the_visible_gpus_are_sampled(tmp_path: Path):
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b"), FakeGpu("GPU-c"))
    lines, summary = sample(tmp_path / "gpu.jsonl", nvml, ["2", "GPU-a", "9"], 4)
    assert [device["uuid"] for device in with_key(lines, "devices")[0]] == ["GPU-c", "GPU-a"]
    assert summary["failed"] == [{"gpu": "9", "reading": None, "error": "Not Found"}]


def test_what_a_gpu_does_not_have_is_none_and_said_once(tmp_path: Path):
    mig = FakeGpu("MIG-a", errors=dict.fromkeys(("utilization", "power", "energy"), NOT_SUPPORTED))
    lines, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(mig), None, 8)
    assert list(read_samples(lines))[-1][1][0]["power_w"] is None
    assert len(with_key(lines, "failed")) == 3
    gpu = summary["gpus"][0]
    assert (gpu["mean_utilization_percent"], gpu["peak_power_w"], gpu["energy_j"]) == (None, None, None)
    assert gpu["peak_memory_used_mib"] == 2048.0
    assert summary["total"]["energy_j"] is None


def test_a_mig_device_beside_a_gpu_has_its_memory_and_no_utilisation(tmp_path: Path):
    mig = FakeGpu("MIG-a", errors=dict.fromkeys(("utilization", "power", "energy"), NOT_SUPPORTED))
    _, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(FakeGpu("GPU-a"), mig), None, 8)
    assert [gpu["mean_memory_used_mib"] for gpu in summary["gpus"]] == [2048.0, 2048.0]
    assert [gpu["mean_utilization_percent"] for gpu in summary["gpus"]] == [90.0, None]
    total = summary["total"]
    assert (total["num_gpus"], total["mean_memory_used_mib"]) == (2, 4096.0)
    assert total["mean_utilization_percent"] is None, "of one of two GPUs is not of both"


def test_energy_is_the_integral_of_power_where_there_is_no_counter(tmp_path: Path):
    gpu = FakeGpu("GPU-a", errors={"energy": NOT_SUPPORTED})
    lines, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(gpu), None, 12)
    times = [line["time"] for line in lines if "gpus" in line]
    assert summary["gpus"][0]["energy_from"] == "power"
    assert summary["gpus"][0]["energy_j"] == pytest.approx(300 * (times[-1] - times[0]), abs=0.01)


def test_a_reading_that_begins_to_fail_is_said_once_and_comes_back(tmp_path: Path):
    gpu, path = FakeGpu("GPU-a"), tmp_path / "gpu.jsonl"
    sampler = GpuSampler(path, None, FakeNvml(gpu), period_s=FAST_S)

    def powers() -> list[float | None]:
        return [rows[0]["power_w"] for _, rows in read_samples(read_journal(path))]

    wait_until(lambda: len(powers()) > 2, "samples")
    gpu.errors["power"] = LOST
    wait_until(lambda: powers()[-2:] == [None, None], "failing samples")
    del gpu.errors["power"]
    wait_until(lambda: powers()[-1] == 300.0, "samples again")
    assert sampler.stop()["failed"] == [{"gpu": "0", "reading": "power_w", "error": "GPU is lost"}]


def test_a_gpu_that_answers_nothing_any_more_ends_the_sampling(tmp_path: Path):
    gpu, path = FakeGpu("GPU-a", errors=dict.fromkeys(CALLS, LOST)), tmp_path / "gpu.jsonl"
    sampler = GpuSampler(path, None, FakeNvml(gpu), period_s=0.001)
    wait_until(
        lambda: any("ended" in line["error"] for line in with_key(list(read_journal(path)), "failed")), "end"
    )
    summary = sampler.stop()
    assert summary["num_samples"] == MAX_EMPTY_SAMPLES
    assert summary["total"]["mean_power_w"] is None


@pytest.mark.parametrize(
    ("make", "visible", "reason"),
    [
        (
            lambda: FakeNvml(init=FakeError(12, "NVML Shared Library Not Found")),
            None,
            "NVML is not usable: NVML S",
        ),
        (lambda: FakeNvml(init=OSError("broken driver")), None, "NVML is not usable: broken driver"),
        (FakeNvml, None, "NVML knows none of the visible GPUs"),
        (lambda: FakeNvml(FakeGpu("GPU-a")), ["5"], "NVML knows none of the visible GPUs"),
        (lambda: FakeNvml(FakeGpu("GPU-a")), [], "no GPU is visible to this task"),
    ],
)
def test_no_gpu_is_recorded_once_and_no_error(
    tmp_path: Path, make: Callable[[], FakeNvml], visible: list[str] | None, reason: str
):
    lines, summary = sample(tmp_path / "gpu.jsonl", make(), visible, 1)
    assert [text[: len(reason)] for text in with_key(lines, "no_gpu")] == [reason]
    assert summary["no_gpu"].startswith(reason)
    assert (summary["num_samples"], summary["total"]) == (0, None)


def test_a_driver_that_fails_outright_is_recorded(tmp_path: Path):
    lines, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(FakeGpu("GPU-a"), count=LOST), None, 1)
    assert summary["failed"] == [{"gpu": None, "reading": None, "error": "GPU is lost"}]
    assert with_key(lines, "failed") == summary["failed"]


def test_the_nvml_of_this_machine(tmp_path: Path):
    lines, summary = sample(tmp_path / "gpu.jsonl", None, None, 1)
    if summary["no_gpu"] is None:
        assert summary["gpus"][0]["uuid"].startswith("GPU-")
        assert summary["gpus"][0]["memory_total_mib"] > 0
    else:
        assert summary["no_gpu"].startswith("NVML ")
        assert with_key(lines, "gpus") == []


def test_what_a_full_disk_has_no_room_for_is_written_when_there_is_room(tmp_path: Path):
    with tiny_disk(tmp_path / "disk", 64) as disk:
        path = disk.root / "gpu.jsonl"
        disk.fill(0)
        sampler = GpuSampler(path, None, FakeNvml(FakeGpu("GPU-a")), period_s=FAST_S)
        sampler.refresh(5)
        assert path.read_bytes() == b""
        disk.clear()
        sampler.refresh(5)
        summary = sampler.stop()
        (first, *later) = read_journal(path)
    assert [line["id"] for line in first["devices"]] == ["0"]
    assert len(with_key(later, "gpus")) == summary["num_samples"]
    (told,) = summary["failed"]
    assert "gpu.jsonl: cannot write: the disk is full" in told["error"]


def line(time: float, *readings: dict[str, float | None]) -> dict[str, Any]:
    """A sample line."""
    return {"time": time, "gpus": list(readings)}


def test_figures_by_hand():
    lines = [
        {"time": 10.0, "devices": [{"id": "0"}, {"id": "1"}]},
        line(10.0, {"power_w": 100.0, "energy_j": 1000.0}, {"power_w": 50.0, "utilization_percent": 10}),
        line(11.0, {"power_w": 300.0, "energy_j": 1180.0}, {"power_w": None, "utilization_percent": 30}),
        line(14.0, {"power_w": 100.0, "energy_j": 1700.0}, {"power_w": 90.0, "utilization_percent": 80}),
        {"time": 15.0, "something": "of a later version"},
    ]
    summary = summarise_gpu(lines)
    first, second = summary["gpus"]
    assert (first["energy_j"], first["energy_from"]) == (700.0, "counter")
    assert (first["mean_power_w"], first["peak_power_w"]) == (166.67, 300.0)
    assert (second["energy_j"], second["energy_from"]) == (280.0, "power")
    assert (second["mean_utilization_percent"], second["peak_utilization_percent"]) == (40.0, 80)
    assert second["mean_temperature_c"] is None
    assert summary["sampled_s"] == 4.0
    assert summary["total"]["energy_j"] == 980.0
    assert summary["total"]["energy_from"] == "mixed"
    assert summary["total"]["peak_power_w"] == 190.0
    assert summary["total"]["mean_utilization_percent"] is None


def test_a_counter_that_ran_backwards_is_not_believed():
    lines = [
        {"time": 0.0, "devices": [{"id": "0"}]},
        line(0.0, {"power_w": 100.0, "energy_j": 5000.0}),
        line(1.0, {"power_w": 100.0, "energy_j": 10.0}),
        line(2.0, {"power_w": 100.0, "energy_j": 110.0}),
    ]
    gpu = summarise_gpu(lines)["gpus"][0]
    assert (gpu["energy_j"], gpu["energy_from"]) == (200.0, "power")


def test_energy_after_the_last_reading_of_the_counter_is_the_integral_of_power():
    """The counter is read at every 30th sample; an attempt that is killed has no last one."""
    lines = [{"time": 0.0, "devices": [{"id": "0"}]}]
    lines += [
        line(float(second), {"power_w": 100.0, "energy_j": 5000.0 + 120.0 * (second // 30 * 30)})
        for second in range(36)
    ]
    gpu = summarise_gpu(lines)["gpus"][0]
    assert (gpu["energy_j"], gpu["energy_from"]) == (120.0 * 30 + 100.0 * 5, "counter")


def test_nothing_makes_no_figures():
    assert summarise_gpu([]) == {
        "num_samples": 0,
        "sampled_s": None,
        "gpus": [],
        "total": None,
        "no_gpu": None,
        "failed": [],
        "num_xids": 0,
        "xids": [],
    }
