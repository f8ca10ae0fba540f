"""What the supervisor makes of what its GPUs tell: warnings, and why an engine died."""

import time
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from launch.rundir.journal import read_journal
from launch.rundir.layout import AttemptPaths
from launch.worker.attempt_record import Events
from launch.worker.failures import FailureClass
from launch.worker.gpu import GpuSampler
from launch.worker.gpu_watch import IDLE_S, GpuWatch
from launch.worker.gpu_xids import Xid
from launch.worker.monitoring import FailedWrites
from launch.worker.slots import Slot
from launch.worker.watchdogs import Limits, Overdue
from tests.runs import REPOSITORY
from tests.worker.build_run import build_run
from tests.worker.fake_nvml import FakeGpu, FakeNvml
from tests.worker.tasks import ended, events, run_task

XID = "Xid 79 (GPU has fallen off the bus) on GPU 0"
# As much of pynvml as a task calls: one GPU, which falls off the bus at once.
NVML = """
NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_TIMEOUT = 3, 13, 10
class NVMLError(Exception):
    def __init__(self, value): self.value = value
xids = [79]
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "A GPU that nobody measured"
def nvmlDeviceGetUUID(handle): return "GPU-x"
def nvmlEventSetCreate(): return 1
def nvmlEventSetFree(events): pass
def nvmlDeviceRegisterEvents(handle, kinds, events): pass
class Event: device, eventData = 0, 79
def nvmlEventSetWait_v2(events, timeout):
    if not xids: raise NVMLError(NVML_ERROR_TIMEOUT)
    xids.pop()
    return Event
def refuse(*arguments): raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
def __getattr__(name):
    if name.startswith("NVML_") or name.startswith("nvmlEventType"):
        return 0
    if name.startswith("nvml"):
        return refuse
    raise AttributeError(name)
"""


class Place:
    """A watch over one GPU, and a slot that generates on it; the clock is a test's."""

    def __init__(self, root: Path) -> None:
        self.paths = AttemptPaths(root)
        self.gpu = FakeGpu("GPU-a", busy=0)
        self.sampler = GpuSampler(self.paths.gpu, ["0"], FakeNvml(self.gpu), period_s=60)
        self.journal = Events(self.paths, FailedWrites())
        self.watch = GpuWatch(self.sampler, ["0"], self.journal)
        self.slot = Slot(0, 0, None, self.paths.engine(0, 0), Limits(600, 1800))
        self.slot.phases.enter("generating", 0.0)
        self.slot.counts = {"in_flight": 3, "waiting": 4}
        self.sampler.refresh(5)
        self.began = float(ceil(time.monotonic()))  # of whole seconds differences are exact

    def ends(self) -> list[int]:
        """How long the spells that are over lasted."""
        rows = read_journal(self.paths.events)
        return [line["lasted_s"] for line in rows if line["event"] == "gpu_idle_end"]

    def look(self, after_s: float, *, busy: int = 0) -> list[dict[str, Any]]:
        """The warnings so far, after a sample and a look at a time."""
        self.sampler.state.add_sample({"0": {"utilization_percent": busy}}, self.began + after_s)
        self.watch.look([self.slot], self.began + after_s)
        return [line for line in read_journal(self.paths.events) if line["event"] == "gpu_idle"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.sampler.stop()
    made.journal.close()


def test_a_gpu_that_idles_beside_requests_is_told_once_a_spell(place: Place) -> None:
    assert place.look(0) == [] and place.look(IDLE_S - 1) == []
    (told,) = place.look(IDLE_S)
    assert (told["slot"], told["gpu"], told["idle_s"]) == (0, "0", 60)
    assert (told["in_flight"], told["waiting"]) == (3, 4)
    assert len(place.look(IDLE_S + 200)) == 1 and place.ends() == []
    assert len(place.look(IDLE_S + 201, busy=50)) == 1
    assert place.ends() == [261]
    assert [line["spell"] for line in place.look(IDLE_S + 300)] == [1, 2], "another spell"


def test_a_gpu_without_requests_may_idle(place: Place) -> None:
    place.look(0)
    place.slot.counts = {"in_flight": 0, "waiting": 0}
    assert place.look(100) == []
    place.slot.counts = {"in_flight": 1, "waiting": 0}
    assert place.look(130) == [], "its requests came a moment ago"
    assert len(place.look(190)) == 1


def test_a_spell_is_over_when_its_requests_are(place: Place) -> None:
    place.look(0)
    assert len(place.look(100)) == 1 and place.ends() == []
    place.slot.counts = {"in_flight": 0, "waiting": 0}
    place.look(110)
    place.look(120)
    assert place.ends() == [110]


def test_an_engine_that_loads_may_let_its_gpu_idle(place: Place) -> None:
    place.slot.phases.enter("loading", 0.0)
    place.look(0)
    assert place.look(100) == []


def test_errors_are_told_once_and_are_those_of_the_slots_own_gpus(place: Place) -> None:
    for gpu, code in (("0", 79), ("7", 79), (None, 62), ("0", 45)):
        place.sampler.state.add_xid(Xid(gpu, code), place.began)
    for _ in range(2):
        place.look(0)
    told = [line["what"] for line in read_journal(place.paths.events) if line["event"] == "gpu_error"]
    assert [what.split()[1] for what in told] == ["79", "79", "62", "45"]
    assert place.watch.errors_of(place.slot, place.began) == (XID, "Xid 62 (internal micro-controller halt)")


def test_an_error_of_long_ago_killed_nobody_but_who_stood_still_since(place: Place) -> None:
    place.sampler.state.add_xid(Xid("0", 79), place.began)
    later = place.began + 100
    assert place.watch.errors_of(place.slot, later) == ()
    place.slot.overdue = Overdue(FailureClass.PROGRESS_TIMEOUT, "no step for 1800 s")
    assert place.watch.errors_of(place.slot, later) == (XID,)


@pytest.mark.process
def test_an_engine_that_crashes_after_an_xid_is_a_device_fault(tmp_path: Path) -> None:
    run = build_run(tmp_path, num_users=1)
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml" / "pynvml.py").write_text(NVML)
    told = {"PYTHONPATH": f"{tmp_path / 'nvml'}:{REPOSITORY}", "CUDA_VISIBLE_DEVICES": "0"}
    code, said = run_task(run, **told, VLLM_LAUNCH_STUB_FAIL="crash:user0#0.1")
    failure = ended(run)["failure"]
    assert (code, failure["class"]) == (1, "device_fault"), said
    assert f"NVML told {XID}" in failure["message"] and XID in said
    assert [line["what"] for line in events(run, "gpu_error")] == ["Xid 79 (GPU has fallen off the bus)"]
    assert ended(run)["gpu"]["xids"][0]["code"] == 79
