"""GPUs and drivers that fail, hang or idle; NVML is a small one in memory."""

import os
import threading
import time
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("error", [LOST, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")])
def test_the_xid_of_a_gpu_that_does_not_tell_its_name_any_more(tmp_path: Path, error: Exception):
    nvml = FakeNvml(FakeGpu("GPU-a"))
    sampler = GpuSampler(tmp_path / "gpu.jsonl", None, nvml, period_s=FAST_S)
    wait_until(lambda: sampler.state.idle_s(time.monotonic()) != {}, "a sample")
    nvml.gpus[0].errors["uuid"] = error
    nvml.xids.append((nvml.gpus[0], 1000))
    wait_until(lambda: sampler.state.errors_since(0) != [], "the error")
    assert sampler.state.take_errors()[0].sentence == "Xid 1000 on GPU 0"
    sampler.stop()


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


BROKEN = (OSError("broken driver"), TypeError("an int is required"), RuntimeError("mismatch"))


def sample_to_the_end(path: Path, nvml: FakeNvml, visible: list[str] | None = None) -> dict[str, Any]:
    """The summary of a sampler whose thread ends by itself; pytest makes a thread's traceback a failure."""
    sampler = GpuSampler(path, visible, nvml, period_s=FAST_S)
    wait_until(lambda: not sampler._thread.is_alive(), "the thread's end")
    return sampler.stop()


@pytest.mark.parametrize("error", BROKEN)
@pytest.mark.parametrize("call", CALLS)
def test_a_reading_may_fail_with_any_error_and_the_others_go_on(tmp_path: Path, call: str, error: Exception):
    nvml = FakeNvml(FakeGpu("GPU-a", errors={call: error}), FakeGpu("GPU-b"))
    lines, summary = sample(tmp_path / "gpu.jsonl", nvml, None, 8)
    broken, whole = list(read_samples(lines))[-1][1]
    missing = [name for name, value in broken.items() if value is None]
    assert missing and len(missing) <= 2 and None not in whole.values()
    assert summary["failed"] == [{"gpu": "0", "reading": name, "error": str(error)} for name in missing]
    assert summary["num_samples"] > 3 and summary["no_gpu"] is None and nvml.num_open == 0


def test_a_gpu_whose_name_and_memory_cannot_be_read_is_sampled(tmp_path: Path):
    errors = {"old memory": TypeError("an int is required"), "uuid": OSError("broken driver")}
    lines, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(FakeGpu("", errors, name=b"\xff")), None, 4)
    (devices,) = with_key(lines, "devices")
    assert devices == [{"id": "0", "uuid": None, "name": None, "memory_total_mib": None}]
    assert summary["gpus"][0]["peak_memory_used_mib"] == 2048.0
    assert summary["failed"] == [{"gpu": None, "reading": "xid", "error": "broken driver"}]


@pytest.mark.parametrize("error", BROKEN)
def test_devices_that_cannot_be_counted_are_recorded(tmp_path: Path, error: Exception):
    summary = sample_to_the_end(tmp_path / "gpu.jsonl", FakeNvml(FakeGpu("GPU-a"), count=error))
    assert summary["failed"] == [{"gpu": None, "reading": None, "error": str(error)}]


@pytest.mark.parametrize("error", BROKEN)
def test_a_device_that_cannot_be_opened_is_recorded_and_the_others_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def by_index(self: FakeNvml, index: int) -> FakeGpu:
        if index == 0:
            raise error
        return self.gpus[index]

    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetHandleByIndex", by_index)
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b"))
    lines, summary = sample(tmp_path / "one.jsonl", nvml, ["0", "1"], 4)
    assert summary["failed"] == [{"gpu": "0", "reading": None, "error": str(error)}]
    assert [device["id"] for device in with_key(lines, "devices")[0]] == ["1"]
    summary = sample_to_the_end(tmp_path / "none.jsonl", nvml, ["0"])
    assert summary["no_gpu"] == "NVML knows none of the visible GPUs"
    assert summary["failed"] == [{"gpu": "0", "reading": None, "error": str(error)}]


@pytest.mark.parametrize("error", [NOT_SUPPORTED, LOST, *BROKEN])
@pytest.mark.parametrize("when", ["made", "waited for"])
def test_events_that_fail_with_any_error_are_told_once(tmp_path: Path, when: str, error: Exception):
    nvml = FakeNvml(FakeGpu("GPU-a"))
    if when == "made":
        nvml.no_events = error
    else:
        nvml.wait_error = error
    _, summary = sample(tmp_path / "gpu.jsonl", nvml, None, 8)
    assert summary["failed"] == [{"gpu": None, "reading": "xid", "error": str(error)}]
    assert summary["num_samples"] > 3 and summary["num_xids"] == nvml.num_open == 0


def test_the_event_set_is_freed_when_a_gpu_cannot_be_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def register(*_: Any) -> None:
        raise OSError("broken driver")

    def free(self: FakeNvml, events: list[FakeGpu]) -> None:
        self.num_open -= 1
        raise OSError("and broken again")

    monkeypatch.setattr(FakeNvml, "nvmlDeviceRegisterEvents", register)
    monkeypatch.setattr(FakeNvml, "nvmlEventSetFree", free)
    nvml = FakeNvml(FakeGpu("GPU-a"))
    _, summary = sample(tmp_path / "gpu.jsonl", nvml, None, 4)
    assert summary["failed"] == [{"gpu": None, "reading": "xid", "error": "broken driver"}]
    assert nvml.num_open == 0


def test_an_nvml_that_does_not_close_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def shut_down(self: FakeNvml) -> None:
        raise OSError("broken driver")

    monkeypatch.setattr(FakeNvml, "nvmlShutdown", shut_down)
    _, summary = sample(tmp_path / "gpu.jsonl", FakeNvml(FakeGpu("GPU-a")), None, 4)
    assert summary["failed"] == [{"gpu": None, "reading": None, "error": "broken driver"}]
    assert summary["num_samples"] > 0


@pytest.mark.parametrize("where", ["reading", "events"])
def test_a_full_disk_while_a_failure_is_told_is_still_a_full_disk(tmp_path: Path, where: str):
    path = tmp_path / "gpu.jsonl"
    nvml = FakeNvml(FakeGpu("GPU-a"))
    sampler = GpuSampler(path, None, nvml, period_s=FAST_S)
    wait_until(lambda: sampler.state.idle_s(time.monotonic()) != {}, "a sample")
    full = os.open("/dev/full", os.O_WRONLY)
    (opened,) = [fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open_at(fd, path)]
    os.dup2(full, opened)
    os.close(full)
    if where == "events":
        nvml.xids.append((nvml.gpus[0], 79))
    else:
        nvml.gpus[0].errors["power"] = OSError("broken driver")
    sampler.refresh(5)
    assert sampler._thread.is_alive(), "it goes on"
    assert any("the disk is full" in each["error"] for each in sampler.stop()["failed"])


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path)
    except OSError:
        return False
