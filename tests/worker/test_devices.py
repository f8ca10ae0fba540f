"""Which GPUs a task sees, how its slots share them, and the environment and commands that follow."""

import os
import stat
from pathlib import Path

import pytest

from launch.config.schema import ResourcesConfig, RunConfig
from launch.errors import EngineError, RunError
from launch.rundir.attempts import EngineStart
from launch.rundir.layout import RunPaths
from launch.worker.commands import engine_command, task_command, with_package
from launch.worker.devices import share_gpus, split_ids, visible_gpus
from launch.worker.slot_environment import scratch_folder, slot_environment

AT = EngineStart(1, 2, 3, 4, 5)
MIG = "MIG-6d1c3e5a-0000-5000-8000-0123456789ab"


def config(kind: str = "vllm", *, tp: int = 1, slots: int = 1, gpus_per_task: int | None = None) -> RunConfig:
    """A configuration that asks for `slots` engines of `tp` GPUs."""
    return RunConfig.model_validate(
        {
            "model": {"engine": kind},
            "engine": {"tensor_parallel_size": tp, "engines_per_node": slots},
            "resources": {"gpus_per_task": gpus_per_task},
        }
    )


@pytest.mark.parametrize(
    ("listed", "ids"),
    [
        ("0,1", ["0", "1"]),
        (" 3 , 2", ["3", "2"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        (f"GPU-1b2c,{MIG}", ["GPU-1b2c", MIG]),
    ],
)
def test_ids_are_read_as_cuda_reads_them(listed: str, ids: list[str]):
    assert split_ids(listed) == ids
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": listed}) == ids


@pytest.mark.parametrize(
    ("script", "ids"),
    [("echo 0; echo 1", ["0", "1"]), ("echo No devices were found; exit 6", []), ("exit 9", [])],
)
def test_without_the_variable_nvidia_smi_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, ids: list[str]
):
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert visible_gpus({}) == ids


def test_without_nvidia_smi_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == []


def test_slots_get_gpus_of_their_own_under_the_ids_they_have():
    uuids = ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    assert share_gpus(config(tp=2, slots=2), uuids) == [("GPU-a", "GPU-b"), ("GPU-c", "GPU-d")]
    assert share_gpus(config(slots=2), ["7", "3"]) == [("7",), ("3",)]


@pytest.mark.parametrize(
    ("engine", "resources", "num_engines", "gpus"),
    [
        ({}, {"whole_node_gpus": 4}, 4, 4),
        ({"tensor_parallel_size": 2}, {"whole_node_gpus": 4}, 2, 4),
        ({"tensor_parallel_size": 3}, {"whole_node_gpus": 4}, 1, 4),
        ({"engines_per_node": 1}, {"whole_node_gpus": 4}, 1, 4),
        ({}, {"whole_node_gpus": 4, "gpus_per_task": 2}, 2, 2),
        ({}, {"whole_node_gpus": 4, "gpus_per_task": 0}, 1, 0),
        ({}, {"gpus_per_task": 4}, 1, 4),
        ({"tensor_parallel_size": 2}, {}, 1, 2),
        ({}, {"whole_node_gpus": 4, "scheduler": "none"}, 1, 1),
    ],
)
def test_a_whole_node_is_filled_with_engines(engine, resources, num_engines: int, gpus: int):
    asked = RunConfig.model_validate(
        {"model": {"engine": "vllm"}, "engine": engine, "resources": {"scheduler": "slurm", **resources}}
    )
    assert (asked.num_engines, asked.gpus_per_task) == (num_engines, gpus)
    slots = share_gpus(asked, list(map(str, range(gpus))))
    assert len(slots) == num_engines
    if num_engines > 1:
        assert len({gpu for slot in slots for gpu in slot or ()}) == gpus


def test_a_single_slot_keeps_the_variable_as_it_is():
    assert share_gpus(config(tp=2), ["0", "1"]) == [None]


@pytest.mark.parametrize(
    ("asked", "visible"),
    [
        (config(tp=2, slots=2), []),
        (config("stub", slots=2), ["0"]),
        (config(slots=2, gpus_per_task=0), ["0"]),
    ],
)
def test_without_gpus_to_share_nothing_is_set(asked: RunConfig, visible: list[str]):
    assert share_gpus(asked, visible) == [None, None]


def test_fewer_gpus_than_needed_are_refused():
    with pytest.raises(EngineError, match=r"expected 4 GPUs .* got 2: 0,1\. Ask for more"):
        share_gpus(config(tp=2, slots=2), ["0", "1"])


def test_the_environment_of_a_slot(tmp_path: Path):
    asked = config(slots=2)
    base = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "TMPDIR": str(tmp_path), "PYTHONPATH": "/mine"}
    variables = slot_environment(asked, 7, ("GPU-b",), ["GPU-a", "GPU-b"], base).variables
    assert variables["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert variables["PYTHONPATH"].endswith(f"{os.pathsep}/mine")
    assert variables["VLLM_CACHE_ROOT"].startswith(str(tmp_path))
    assert base == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "TMPDIR": str(tmp_path), "PYTHONPATH": "/mine"}


@pytest.mark.parametrize(("engine", "told"), [("stub", {"7", "2"}), ("vllm", set()), ("transformers", set())])
def test_only_the_stub_is_told_its_task_and_start(engine: str, told: set[str]):
    """vLLM warns of variables that begin like its own."""
    variables = slot_environment(config(engine), 7, None, [], {}, start=2).variables
    assert {variables[name] for name in variables if name.startswith("VLLM_LAUNCH_")} == told


def test_without_a_gpu_the_engine_is_set_up_for_the_cpu(tmp_path: Path):
    variables = slot_environment(config(), 0, None, [], {"TMPDIR": str(tmp_path)}).variables
    assert variables["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert "CUDA_DEVICE_ORDER" not in variables


def test_the_scratch_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch):
    own = f"vllm-launch-{os.getuid()}"
    monkeypatch.setenv("LOCAL_DISK", "/local")
    assert scratch_folder(None, {}) == Path("/tmp") / own
    assert scratch_folder(None, {"TMPDIR": "/job"}) == Path("/job") / own
    assert scratch_folder(Path("$LOCAL_DISK/x"), {"TMPDIR": "/job"}) == Path("/local/x") / own
    with pytest.raises(RunError, match="names a variable that is not set on this node"):
        scratch_folder(Path("$NO_SUCH_DISK/x"), {})
    with pytest.raises(RunError, match=r"/caf\\U0000DCE9: not UTF-8"):
        scratch_folder(None, {"TMPDIR": os.fsdecode(b"/caf\xe9")})


def test_the_container_is_around_the_engine_process_only():
    resources = ResourcesConfig(container=("apptainer", "exec", "--nv", "a b.sif"), python="python3")
    asked = RunConfig.model_validate({"resources": resources})
    words = engine_command(RunPaths(Path("/runs/r")), AT, asked)
    assert words[:5] == ["apptainer", "exec", "--nv", "a b.sif", "python3"]
    assert words[-10:] == "--submission 1 --task 2 --attempt 3 --slot 4 --start 5".split()
    assert "apptainer" not in task_command(RunPaths(Path("/runs/r")), 1, 2)


def test_the_package_is_found_once_whatever_was_on_the_path():
    once = with_package({"PYTHONPATH": "/mine"})
    assert with_package(once) == once
    assert once["PYTHONPATH"].split(os.pathsep)[-1] == "/mine"
