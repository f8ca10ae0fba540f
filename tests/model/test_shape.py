"""What config.json tells of a model's shape, and what nobody guesses."""

from typing import Any

import pytest

from launch.model.shape import count_parameters, read_shape

LLAMA_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
}
LLAMA = "LlamaForCausalLM"


def test_llama_8b() -> None:
    shape = read_shape(LLAMA_8B, LLAMA)
    assert (shape.head_dim, shape.max_model_len, shape.dtype, shape.unknown_kv) == (
        128,
        131072,
        "bfloat16",
        None,
    )
    assert count_parameters(shape) == 8_030_261_248  # as its model card has it
    assert shape.tensor_parallel_sizes(8) == (1, 2, 4, 8)


def test_what_tensor_parallel_cannot_share() -> None:
    small = read_shape({"num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}, LLAMA)
    assert small.tensor_parallel_sizes(9) == (1, 3, 9)
    assert small.undivided(2) == "9 attention heads"
    kv = read_shape({"num_attention_heads": 12, "num_key_value_heads": 4, "hidden_size": 768}, LLAMA)
    assert kv.undivided(3) == "4 KV heads"
    assert kv.undivided(12) is None  # a multiple: KV heads are copied
    wide = read_shape({"num_attention_heads": 8, "intermediate_size": 1004}, LLAMA)
    assert wide.undivided(8) == "an MLP of width 1004" and wide.undivided(4) is None
    experts = read_shape({"num_attention_heads": 8, "intermediate_size": 1004, "num_experts": 8}, LLAMA)
    assert experts.undivided(8) is None
    nothing = read_shape({}, None)
    assert nothing.undivided(7) is None and nothing.tensor_parallel_sizes(8) == ()


@pytest.mark.parametrize(
    ("more", "longest"),
    [
        ({}, 4096),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, 8192),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 8.0}}, 4096),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}},
            16384,
        ),
        ({"rope_scaling": {"rope_type": "linear", "factor": None}}, 4096),
        ({"model_type": "gemma3_text", "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 4096),
        ({"model_max_length": 32768}, 32768),
        ({"n_positions": 1024}, 1024),
    ],
)
def test_the_longest_length(more: dict[str, Any], longest: int) -> None:
    assert read_shape({"max_position_embeddings": 4096, **more}, LLAMA).max_model_len == longest


def test_no_length_no_limit() -> None:
    assert read_shape({"max_position_embeddings": None}, LLAMA).max_model_len is None


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"kv_lora_rank": 512}, "multi-head latent attention"),
        ({"sliding_window": 4096}, "a sliding window of 4096 tokens"),
        ({"sliding_window": 4096, "use_sliding_window": False}, None),
        ({"sliding_window": None}, None),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layers of several kinds"),
        ({"layer_types": ["full_attention", "full_attention"]}, None),
        ({"mamba_d_state": 16}, "state-space or linear attention"),
        ({"hybrid_override_pattern": "M-M*"}, "state-space or linear attention"),
        ({"is_encoder_decoder": True}, "an encoder and a decoder"),
        ({"num_kv_shared_layers": 4}, "layers that differ"),
        ({"num_key_value_heads": [8, 4]}, "heads that differ from layer to layer"),
        ({"multi_query": True}, "KV heads that config.json tells in a form of its own"),
    ],
)
def test_what_is_not_computed_says_why(more: dict[str, Any], why: str | None) -> None:
    told = read_shape({**LLAMA_8B, **more}, LLAMA).unknown_kv
    assert told is None if why is None else told is not None and told.startswith(why)


def test_the_text_model_of_a_multimodal_one() -> None:
    shape = read_shape({"text_config": LLAMA_8B, "vision_config": {"num_attention_heads": 16}}, "Some")
    assert (shape.num_heads, shape.num_layers) == (32, 32)


@pytest.mark.parametrize(
    ("architecture", "more", "count"),
    [
        ("Qwen2ForCausalLM", {}, 8_030_261_248 + 32 * (4096 + 2 * 1024)),
        ("Qwen3ForCausalLM", {}, 8_030_261_248 + 32 * 2 * 128),
        (LLAMA, {"tie_word_embeddings": True}, 8_030_261_248 - 128256 * 4096),
        ("MixtralForCausalLM", {}, None),
        (LLAMA, {"vocab_size": None}, None),
    ],
)
def test_counted_parameters(architecture: str, more: dict[str, Any], count: int | None) -> None:
    assert count_parameters(read_shape({**LLAMA_8B, **more}, architecture)) == count
