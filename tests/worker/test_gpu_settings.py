"""What was measured on a node's GPU reaches its engines, where nobody set it."""

import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import EngineConfig
from launch.rundir.journal import read_json
from launch.worker import gpu_target
from launch.worker.gpu_settings import device_name, measured_settings
from launch.worker.gpu_target import describe_compiler_target
from tests.runs import REPOSITORY
from tests.worker.build_run import build_run
from tests.worker.tasks import ended, events, run_task

NVML = """
NVML_ERROR_NOT_SUPPORTED = 3
class NVMLError(Exception): value = NVML_ERROR_NOT_SUPPORTED
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "NVIDIA H200"
def nvmlDeviceGetCudaComputeCapability(handle): return 9, 0
def nvmlSystemGetDriverVersion(): return "580"
def refuse(*arguments): raise NVMLError("not here")
def __getattr__(name):
    if name.startswith("NVML_"):
        return name
    if name.startswith("nvml"):
        return refuse
    raise AttributeError(name)
"""


@pytest.mark.parametrize(
    ("engine", "device", "found"),
    [
        ({}, "NVIDIA H200", {"fuse_allreduce_rms": False, "full_cuda_graphs": True}),
        ({"fuse_allreduce_rms": True}, "NVIDIA H200", {"full_cuda_graphs": True}),
        ({"fuse_allreduce_rms": True, "full_cuda_graphs": False}, "NVIDIA H200", {}),
        ({}, "NVIDIA A100-SXM4-80GB", {}),
        ({}, "unknown", {}),
        ({}, None, {}),
    ],
)
def test_only_what_nobody_set(engine: dict[str, Any], device: str | None, found: dict[str, Any]) -> None:
    assert measured_settings(EngineConfig.model_validate(engine), device) == found


def test_without_a_gpu_there_is_no_name() -> None:
    assert device_name([]) is None


@pytest.mark.process
@pytest.mark.parametrize(
    "broken", ["import time; time.sleep(600)", "import os; os.abort()", "raise OSError(5)"]
)
def test_a_driver_that_hangs_or_crashes_costs_a_name_and_nothing_else(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml.py").write_text(f"def nvmlInit():\n    {broken}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(REPOSITORY))))
    monkeypatch.setattr(gpu_target, "ANSWER_S", 2.0)
    describe_compiler_target.cache_clear()
    before, began = sys.modules.get("pynvml"), time.monotonic()
    assert device_name(["0"]) == "unknown"
    assert time.monotonic() - began < 20
    assert sys.modules.get("pynvml") is before, "this process asked no driver"
    describe_compiler_target.cache_clear()


@pytest.mark.process
@pytest.mark.parametrize(("after", "device"), [("", "NVIDIA H200"), ("print('{')", "unknown")])
def test_words_of_others_beside_the_answer_do_no_harm(
    tmp_path: Path, after: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml.py").write_text(NVML)
    said = f"import atexit\nprint('welcome')\natexit.register(lambda: {after or None})\n"
    (tmp_path / "sitecustomize.py").write_text(said)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(REPOSITORY))))
    describe_compiler_target.cache_clear()
    assert device_name(["0"]) == device
    describe_compiler_target.cache_clear()


@pytest.mark.process
def test_a_task_works_though_the_driver_hangs(tmp_path: Path) -> None:
    run = build_run(tmp_path, num_users=1)
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml" / "pynvml.py").write_text("import time\ndef nvmlInit(): time.sleep(600)\n")
    site = "import launch.worker.gpu_target as target\ntarget.ANSWER_S = 1.0\n"
    (tmp_path / "nvml" / "sitecustomize.py").write_text(site)
    path = os.pathsep.join((str(tmp_path / "nvml"), str(REPOSITORY)))
    assert run_task(run, CUDA_VISIBLE_DEVICES="0", PYTHONPATH=path) == (0, "")
    assert ended(run)["counts"]["done"] == 3


@pytest.mark.process
@pytest.mark.parametrize(
    ("asked", "changes"), [(None, ['{"full_cuda_graphs": true, "fuse_allreduce_rms": false}']), (True, [])]
)
def test_a_task_gives_it_to_its_engine(tmp_path: Path, asked: bool | None, changes: list[str]) -> None:
    run = build_run(tmp_path, num_users=1, engine={"fuse_allreduce_rms": asked, "full_cuda_graphs": asked})
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml" / "pynvml.py").write_text(NVML)
    path = os.pathsep.join((str(tmp_path / "nvml"), str(REPOSITORY)))
    assert run_task(run, CUDA_VISIBLE_DEVICES="0", PYTHONPATH=path) == (0, "")
    about = read_json(run.attempt(1, 0, 0).attempt_json)
    assert about is not None
    command = about["slots"][0]["command"]
    assert [after for word, after in pairwise(command) if word == "--changes"] == changes
    told = [(line["device"], line["settings"]) for line in events(run, "measured_settings")]
    row = {"fuse_allreduce_rms": False, "full_cuda_graphs": True}
    assert told == ([("NVIDIA H200", row)] if changes else [])
