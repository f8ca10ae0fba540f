"""Where vLLM computes a model otherwise with another max_model_len."""

from typing import Any

import pytest

from launch.model.length_bounds import crossed, least_length, length_bounds

PHI_3 = {
    "architectures": ["Phi3ForCausalLM"],
    "original_max_position_embeddings": 4096,
    "rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]},
}
NEWER = {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 8192}}
LLAMA_4 = {"architectures": ["Llama4ForConditionalGeneration"], "text_config": {"num_hidden_layers": 1}}
LLAMA = {"architectures": ["LlamaForCausalLM"], "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}


@pytest.mark.parametrize(
    ("config", "bounds"),
    [
        (PHI_3, (4096,)),
        (NEWER, (8192,)),
        ({"text_config": PHI_3}, (4096,)),
        (LLAMA_4, (32_768,)),
        (LLAMA, ()),
        ({}, ()),
        ({"rope_scaling": "longrope", "architectures": "Llama4", "text_config": 3}, ()),
    ],
)
def test_bounds_of_a_model(config: dict[str, Any], bounds: tuple[int, ...]) -> None:
    assert length_bounds(config) == bounds


@pytest.mark.parametrize(("length", "least"), [(4096, 1), (4097, 4097), (8192, 4097)])
def test_what_is_on_the_same_side(length: int, least: int) -> None:
    assert least_length((4096,), length) == least
    assert crossed((4096,), length, least) is None


def test_what_lies_between() -> None:
    assert crossed((4096,), 8192, 4096) == crossed((4096,), 4096, 4097) == 4096
    assert crossed((4096, 32_768), 8192, 4097) is None
    assert crossed((), 8192, 1) is None
