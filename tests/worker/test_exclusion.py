"""A task that blames its node asks for another one: what it leaves, how often, and only on Slurm."""

import os
from pathlib import Path
from typing import Any

import pytest

from launch.collect.rounds import Cause, cause_of
from launch.config.schema import RunConfig
from launch.errors import StorageError
from launch.worker.exclusion import MAX_EXCLUDED, excluded_nodes, leave, may_leave, node_name
from tests.cli.disks import tiny_disk
from tests.worker.build_run import build_run
from tests.worker.tasks import ended, events, run_task

SLURM = RunConfig.model_validate({"resources": {"scheduler": "slurm"}})
ECC = {"VLLM_LAUNCH_STUB_FAIL": "raise:uncorrectable ECC error", "SLURMD_NODENAME": "n7"}


def test_a_node_is_left_once_and_not_too_many(tmp_path: Path):
    path = tmp_path / "exclude"
    assert excluded_nodes(path) == []
    for number in range(MAX_EXCLUDED):
        assert may_leave(SLURM, path, f"n{number}")
        leave(path, f"n{number}")
        assert not may_leave(SLURM, path, f"n{number}"), "it is back: there is no other node"
    assert excluded_nodes(path) == [f"n{number}" for number in range(MAX_EXCLUDED)]
    assert not may_leave(SLURM, path, "another")


def test_names_that_were_damaged_are_none(tmp_path: Path):
    path = tmp_path / "exclude"
    path.write_bytes(b"n1\n\x00\x00\nn\xff\n")
    assert excluded_nodes(path) == ["n1"]
    leave(path, "n2")
    assert path.read_bytes() == b"n1\nn2\n"
    assert excluded_nodes(tmp_path) == []


def test_names_that_cannot_be_read_are_told_as_that():
    with pytest.raises(StorageError, match=r"^/proc/self/mem: cannot read: Input/output error"):
        excluded_nodes(Path("/proc/self/mem"))


def test_without_slurm_there_is_no_other_node(tmp_path: Path):
    assert not may_leave(RunConfig(), tmp_path / "exclude", "n1")


def test_the_node_is_named_as_slurm_names_it():
    assert node_name({"SLURMD_NODENAME": "n7"}) == "n7"
    assert node_name({}) != ""


@pytest.mark.process
def test_scratch_that_cannot_be_used_is_the_nodes_fault(tmp_path: Path):
    with tiny_disk(tmp_path / "node", 64, num_files=1):
        resources = {"scratch_dir": tmp_path / "node", "scheduler": "slurm"}
        run = build_run(tmp_path / "slurm", resources=resources)
        code, errors = run_task(run, SLURMD_NODENAME="n7")
        assert (code, ended(run)["reason"], ended(run)["failure"]["class"]) == (75, "elsewhere", "node_unfit")
        assert errors == (
            f"node n7: {tmp_path / 'node'}/vllm-launch-{os.getuid()}: cannot be made: No space left on"
            " device. Free space there, or set resources.scratch_dir to a folder that every node can write.\n"
        )
        assert excluded_nodes(run.excluded(1, 0)) == ["n7"]
        assert [each["action"] for each in events(run, "ladder")] == ["elsewhere"]
        assert run_task(run, SLURMD_NODENAME="n7")[0] == 2, "there is no other node"
        assert cause_of(ended(run, attempt=1), "FAILED", started=True) is Cause.ELSEWHERE
        run = build_run(tmp_path / "local", resources={"scratch_dir": tmp_path / "node"})
        code, errors = run_task(run, SLURMD_NODENAME="n7")
        assert (code, ended(run)["reason"]) == (2, "refused")
        assert "No space left on device. Free space there, or set resources.scratch_dir" in errors
        assert not run.excluded(1, 0).exists()
    assert run_task(run)[0] == 0


@pytest.mark.process
def test_a_gpu_that_failed_sends_the_task_elsewhere_and_back_here_it_stops(tmp_path: Path):
    run = build_run(tmp_path, resources={"scheduler": "slurm"})
    code, errors = run_task(run, **ECC)
    assert code == 75
    assert "a GPU, its driver or the link between GPUs failed" in errors
    assert excluded_nodes(run.excluded(1, 0)) == ["n7"]
    assert (ended(run)["reason"], ended(run)["failure"]["class"]) == ("elsewhere", "device_fault")
    assert [each["action"] for each in events(run, "ladder")] == ["elsewhere"]
    code, errors = run_task(run, **ECC)
    assert code == 1
    assert excluded_nodes(run.excluded(1, 0)) == ["n7"]
    assert events(run, "ladder", attempt=1) == []


@pytest.mark.process
def test_on_one_machine_the_same_failure_stops_with_advice(tmp_path: Path):
    run = build_run(tmp_path)
    code, errors = run_task(run, **ECC)
    assert code == 1
    assert "  1. " in errors
    assert not run.excluded(1, 0).exists()


@pytest.mark.process
@pytest.mark.parametrize(
    ("resources", "code"),
    [({"scheduler": "slurm"}, 75), ({"scheduler": "slurm", "gpus_per_task": 1}, 2), ({}, 2)],
)
def test_fewer_gpus_than_were_asked_for_are_the_nodes_fault(
    tmp_path: Path, resources: dict[str, Any], code: int
):
    engine = {"tensor_parallel_size": 2}
    run = build_run(tmp_path, engine=engine, resources=resources, model={"engine": "vllm"})
    found, errors = run_task(run, CUDA_VISIBLE_DEVICES="0", SLURMD_NODENAME="n7")
    assert found == code, errors
    assert "expected 2 GPUs" in errors and errors.count("\n") == 1
    assert excluded_nodes(run.excluded(1, 0)) == (["n7"] if code == 75 else [])
