"""GPUs and drivers that fail, hang or idle; NVML is a small one in memory."""

import threading
import time
from pathlib import Path

import pytest

from launch.rundir.journal import read_journal
from launch.worker.gpu import HANGS, GpuSampler
from launch.worker.gpu_lines import Folder, read_samples
from launch.worker.gpu_readings import READINGS, throttle_names
from launch.worker.gpu_state import OLD_S, GpuState
from tests.worker.fake_nvml import (
    CALLS,
    FAST_S,
    FUNCTION_NOT_FOUND,
    LOST,
    NOT_SUPPORTED,
    FakeGpu,
    FakeNvml,
    sample,
    with_key,
)
from tests.worker.tasks import wait_until


@pytest.mark.parametrize("call", CALLS)
def test_each_reading_may_fail_and_the_others_go_on(tmp_path: Path, call: str):
    nvml = FakeNvml(FakeGpu("GPU-a", errors={call: LOST}))
    lines, summary = sample(tmp_path / "gpu.jsonl", nvml, None, 8)
    rows = list(read_samples(lines))[-1][1][0]
    missing = [name for name, value in rows.items() if value is None]
    assert missing and len(missing) <= 2 and len(rows) == len(READINGS)
    assert [each["reading"] for each in summary["failed"]] == missing
    assert {each["error"] for each in summary["failed"]} == {"GPU is lost"}


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0, []),
        (0x1, ["gpu_idle"]),
        (0x4 | 0x20, ["sw_power_cap", "sw_thermal_slowdown"]),
        (0x8 | 0x10000, ["hw_slowdown", "0x10000"]),
    ],
)
def test_throttle_reasons_have_names(bits: int, names: list[str]):
    assert throttle_names(bits) == names


def test_a_driver_that_knows_the_older_name_only(tmp_path: Path):
    gpu = FakeGpu("GPU-a", errors={"throttle": FUNCTION_NOT_FOUND})
    _, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(gpu), None, 4)
    assert summary["gpus"][0]["throttle"] == {"sw_power_cap": 1.0} and summary["failed"] == []


def test_a_driver_that_counts_what_it_keeps_itself_as_used(tmp_path: Path):
    gpu = FakeGpu("GPU-a", errors={"memory": FUNCTION_NOT_FOUND})
    _, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(gpu), None, 4)
    assert summary["gpus"][0]["peak_memory_used_mib"] == 3072.0 and summary["failed"] == []


def test_an_nvidia_ml_py_that_lacks_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlEventSetCreate"):
        monkeypatch.delattr(FakeNvml, name)
    _, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(FakeGpu("GPU-a")), None, 5)
    assert [each["reading"] for each in summary["failed"]] == ["xid", "throttle"]
    assert summary["gpus"][0]["mean_power_w"] == 300.0


def test_xids_are_told_with_the_gpu_that_they_are_of(tmp_path: Path):
    part = FakeGpu("MIG-1")
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b", mig=(part,)), FakeGpu("GPU-c"))
    sampler = GpuSampler(tmp_path / "gpu.jsonl", ["0", "MIG-1"], nvml, period_s=FAST_S)
    wait_until(lambda: sampler.state.idle_s(time.monotonic()) != {}, "a sample")
    nvml.xids += [(nvml.gpus[0], 79), (nvml.gpus[1], 45), (nvml.gpus[2], 13)]
    wait_until(lambda: len(sampler.state.errors_since(0)) == 1, "the error that kills")
    told = sampler.state.take_errors()
    assert [error.sentence for error in told] == [
        "Xid 79 (GPU has fallen off the bus) on GPU 0",
        "Xid 45 (work was cleaned up after another error or a kill) on GPU MIG-1",
    ]
    assert sampler.state.take_errors() == []
    summary = sampler.stop()
    lines = with_key(list(read_journal(tmp_path / "gpu.jsonl")), "xid")
    assert lines == [{"gpu": "0", "code": 79}, {"gpu": "MIG-1", "code": 45}]
    assert summary["num_xids"] == 2 and summary["xids"][0]["code"] == 79
    assert nvml.num_open == 0, "the event set was freed"


def test_the_xid_of_a_gpu_that_several_visible_parts_share_may_be_of_any(tmp_path: Path):
    parts = (FakeGpu("MIG-1"), FakeGpu("MIG-2"), FakeGpu("MIG-3"))
    nvml = FakeNvml(FakeGpu("GPU-a", mig=parts))
    sampler = GpuSampler(tmp_path / "gpu.jsonl", ["MIG-1", "MIG-2", "MIG-3"], nvml, period_s=FAST_S)
    nvml.xids.append((nvml.gpus[0], 43))
    wait_until(lambda: sampler.state.errors_since(0) != [], "the error")
    assert [error.gpu for error in sampler.state.take_errors()] == [None]
    sampler.stop()


def test_the_xid_of_a_gpu_that_does_not_tell_its_name_any_more(tmp_path: Path):
    nvml = FakeNvml(FakeGpu("GPU-a"))
    sampler = GpuSampler(tmp_path / "gpu.jsonl", None, nvml, period_s=FAST_S)
    wait_until(lambda: sampler.state.idle_s(time.monotonic()) != {}, "a sample")
    nvml.gpus[0].errors["uuid"] = LOST
    nvml.xids.append((nvml.gpus[0], 1000))
    wait_until(lambda: sampler.state.errors_since(0) != [], "the error")
    assert sampler.state.take_errors()[0].sentence == "Xid 1000 on GPU 0"
    sampler.stop()


@pytest.mark.parametrize("when", ["made", "waited for"])
def test_where_events_are_not_supported_that_is_told_once(tmp_path: Path, when: str):
    nvml = FakeNvml(FakeGpu("GPU-a"))
    if when == "made":
        nvml.no_events = NOT_SUPPORTED
    else:
        nvml.wait_error = LOST
    _, summary = sample(tmp_path / "gpu.jsonl", nvml, None, 8)
    (failed,) = summary["failed"]
    assert (failed["gpu"], failed["reading"]) == (None, "xid") and summary["num_xids"] == 0
    assert nvml.num_open == 0


def test_new_uncorrectable_ecc_errors_are_errors_and_old_ones_are_not(tmp_path: Path):
    gpu = FakeGpu("GPU-a", ecc=[7, 3])
    sampler = GpuSampler(tmp_path / "gpu.jsonl", None, FakeNvml(gpu), period_s=60)
    sampler.refresh(5)
    assert sampler.state.errors_since(0) == []
    gpu.ecc = [9, 5]
    sampler.refresh(5)
    assert [error.sentence for error in sampler.state.errors_since(0)] == [
        "2 uncorrectable ECC error(s) on GPU 0"
    ]
    figures = sampler.stop()["gpus"][0]
    assert (figures["ecc_corrected"], figures["ecc_uncorrected"]) == (2, 2)


def test_nvml_that_hangs_holds_nobody_up_and_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gpu, goes_on = FakeGpu("GPU-a"), threading.Event()
    monkeypatch.setattr("launch.worker.gpu.STOP_TIMEOUT_S", 0.1)

    def hang(self: FakeNvml, gpu: FakeGpu) -> int:
        goes_on.wait(20)
        return 1

    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetPowerUsage", hang)
    sampler = GpuSampler(tmp_path / "gpu.jsonl", None, FakeNvml(gpu), period_s=FAST_S)
    began = time.monotonic()
    sampler.refresh(0.1)
    assert sampler.state.idle_s(time.monotonic()) == {} and sampler.state.take_errors() == []
    summary = sampler.stop()
    assert time.monotonic() - began < 2
    assert [each["error"] for each in summary["failed"]] == [HANGS]
    goes_on.set()


def test_how_long_a_gpu_has_been_idle(tmp_path: Path):
    gpu = FakeGpu("GPU-a", busy=5)
    blind = FakeGpu("GPU-b", errors={"utilization": NOT_SUPPORTED})
    sampler = GpuSampler(tmp_path / "gpu.jsonl", None, FakeNvml(gpu, blind), period_s=FAST_S)
    wait_until(lambda: sampler.state.idle_s(time.monotonic()).get("0", 0) > 0.1, "idling")
    assert "1" not in sampler.state.idle_s(time.monotonic())
    gpu.busy = 6
    wait_until(lambda: sampler.state.idle_s(time.monotonic())["0"] < 0.05, "work")
    sampler.stop()


def test_a_sampler_that_has_stopped_says_nothing_of_now():
    state = GpuState()
    for second in range(61):
        state.add_sample({"0": {"utilization_percent": 0 if second else 99}}, float(second))
    assert state.idle_s(60.0) == {"0": 60.0}
    assert state.idle_s(60.0 + OLD_S) == {"0": 60.0 + OLD_S}
    assert state.idle_s(60.5 + OLD_S) == {}


def test_lines_hold_what_changed_and_are_read_whole():
    samples = [[{"a": number // 3, "b": None}, {"a": 1, "b": number}] for number in range(40)]
    folder = Folder()
    lines = [{"time": float(number), "gpus": folder.fold(rows)} for number, rows in enumerate(samples)]
    assert lines[1]["gpus"] == [{}, {"b": 1}]
    assert lines[15]["gpus"] == samples[15] and lines[30]["gpus"] == samples[30]
    assert list(read_samples(lines)) == [(float(number), rows) for number, rows in enumerate(samples)]
    torn = [*lines[:3], *lines[5:]]
    assert list(read_samples(torn))[-1][1] == samples[-1], "a whole line forgets what was torn"
    two = [{"time": 0.0, "devices": []}, *lines[:2], {"time": 1.0, "gpus": "?"}, {"gpus": [{"a": 5}]}]
    assert len(list(read_samples(two))) == 2
