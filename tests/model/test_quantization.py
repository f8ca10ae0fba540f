"""Quantisation as config.json tells it, and vLLM's list of methods read as text."""

from pathlib import Path
from typing import Any

import pytest

from launch.model.quantization import (
    Quantization,
    family,
    known_quantizations,
    lacks_quantized_weights,
    read_methods,
    read_quantization,
)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, None),
        ({"quantization_config": {"quant_method": "awq", "group_size": 128}}, Quantization("awq", 128)),
        ({"quantization_config": {"quant_method": "gptq", "group_size": -1}}, Quantization("gptq", None)),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"group_0": {"weights": {"group_size": 64}}},
                }
            },
            Quantization("compressed-tensors", 64),
        ),
        ({"compression_config": {"config_groups": {}}}, Quantization("compressed-tensors", None)),
    ],
)
def test_what_a_checkpoint_says(config: dict[str, Any], found: Quantization | None) -> None:
    assert read_quantization(config) == found


def test_the_list_as_text() -> None:
    source = (
        'import torch\nOther = Literal["no"]\nQuantizationMethods = Literal[\n    "awq",\n    "fp8",\n]\n'
    )
    assert read_methods(source) == {"awq", "fp8"}
    assert read_methods("X = 1") is None and read_methods("def (") is None


def test_families_and_what_needs_a_quantised_checkpoint(tmp_path: Path) -> None:
    assert "auto_awq" in family("awq") and family("humming") == {"humming"}
    assert lacks_quantized_weights("awq", tmp_path) and not lacks_quantized_weights("fp8", tmp_path)
    (tmp_path / "quant_config.json").write_text("{}")
    assert not lacks_quantized_weights("awq", tmp_path)


@pytest.mark.engine
def test_the_real_vllm_of_this_environment() -> None:
    known = known_quantizations()
    assert known is not None and {"awq", "gptq", "fp8", "compressed-tensors"} <= known
    assert "gguf" not in known and "bitsandbytes" not in known
