"""Measured engine settings are found by the name of the device."""

import re

import pytest

from launch.config import gpus
from launch.config.gpus import (
    at_measured_size,
    find_gpu_type,
    gpu_memory,
    gpu_row,
    may_be_of_type,
    measured_type,
)
from launch.config.load import load_yaml
from launch.config.shipped import shipped
from launch.errors import ConfigError

from .conftest import Write


@pytest.mark.parametrize(
    ("device", "row"),
    [
        ("NVIDIA H200", {"fuse_allreduce_rms": False, "full_cuda_graphs": True}),
        ("nvidia h200", {"fuse_allreduce_rms": False, "full_cuda_graphs": True}),
        ("NVIDIA H100 80GB HBM3", {}),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA H2000", None),
        ("NVIDIA A100-SXM4-80GB", None),
        ("", None),
    ],
)
def test_rows_by_device_name(device: str, row: dict[str, object] | None) -> None:
    assert gpu_row(device) == row


def test_every_row_has_its_evidence() -> None:
    rows = load_yaml(shipped("configs", "gpus.yaml")).values["gpus"]
    assert rows and all("vLLM" in row["evidence"] or "H100" in row["evidence"] for row in rows.values())


def test_the_longest_row_counts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write(
        "gpus.yaml",
        "gpus:\n  X: {engine: {max_num_seqs: 1}, evidence: e}\n  X Large: {engine: {max_num_seqs: 2},"
        " evidence: e}\n",
    )
    monkeypatch.setattr(gpus, "shipped", lambda *parts: table)
    assert gpu_row("x large 80GB") == {"max_num_seqs": 2} and gpu_row("X 40GB") == {"max_num_seqs": 1}


def test_a_row_sets_only_what_has_no_default(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write("gpus.yaml", "gpus:\n  X: {engine: {gpu_memory_utilization: 0.8}, evidence: e}\n")
    monkeypatch.setattr(gpus, "shipped", lambda *parts: table)
    with pytest.raises(ConfigError, match="gpu_memory_utilization: has a default, so a node cannot tell"):
        gpu_row("X")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("h100", "h100"),
        ("NVIDIA-H100", "h100"),
        ("A100_80GB", "a100-80gb"),
        ("rtx-4090", "rtx4090"),
        ("a100", None),
        ("h1000", None),
    ],
)
def test_gpu_types_as_clusters_write_them(name: str, found: str | None) -> None:
    assert find_gpu_type(name) == found


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H2000", None),
        ("unknown", None),
    ],
)
def test_the_measured_type_of_a_device(device: str, found: str | None) -> None:
    assert measured_type(device) == found


def test_tensor_parallelism_of_a_size_that_was_not_measured_is_that_of_a_smaller_one() -> None:
    shares = {2: 0.8, 4: 0.5}
    assert [at_measured_size(shares, size) for size in (1, 2, 3, 4, 8)] == [
        (1.0, 1),
        (0.8, 2),
        (0.8, 2),
        (0.5, 4),
        (0.5, 4),
    ]
    assert at_measured_size({}, 4) == (1.0, 1)


def test_memory_by_type() -> None:
    memory = gpu_memory()
    assert (memory["h100"], memory["h200"], memory["a100-40gb"]) == (80, 141, 40)
    document = load_yaml(shipped("configs", "gpus.yaml")).values["memory"]
    assert all(re.search(r"NVIDIA|table", row["source"]) for row in document.values()), "somebody else's word"


@pytest.mark.parametrize(
    ("device", "of", "not_of"),
    [
        ("NVIDIA A40", ("a40", "nvidia_a40", "NVIDIA-A40"), ("a4", "a100", "l40", "h100")),
        ("NVIDIA A100-SXM4-80GB", ("a100", "a100-80gb", "a100_80gb"), ("a100-40gb", "h100-80gb")),
        ("NVIDIA L40S", ("l40s",), ("l40", "l4")),
        ("NVIDIA GeForce RTX 4090", ("rtx4090", "rtx-4090", "geforce_rtx_4090"), ("rtx3090", "4080")),
        ("NVIDIA H200", ("h200",), ("h100", "h2000", "gh200-144gb", "nonesuch")),
        ("NVIDIA H100 80GB HBM3", ("h100",), ("h100-94gb", "h200")),
    ],
)
def test_a_device_may_be_of_a_type_by_the_words_of_its_name(
    device: str, of: tuple[str, ...], not_of: tuple[str, ...]
) -> None:
    assert [each for each in (*of, *not_of) if may_be_of_type(device, each)] == list(of)
