"""Lengths beyond which a model computes every token otherwise, because vLLM looks at max_model_len.

Source: vLLM 0.32.0. LongRoPE takes its long factors where max_model_len exceeds the original length
(model_executor/layers/rotary_embedding/phi3_long_rope_scaled_rope.py), Llama 4 tunes the temperature of its
attention where it exceeds 32,768 (model_executor/models/llama4.py). So a run has one side of such a bound.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from launch.model.shape import positive

LONG_ROPE = ("longrope", "su")
LLAMA_4_TUNED = 32_768


def length_bounds(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The bounds of the model of a config.json, in tokens; most have none."""
    text = config.get("text_config")
    return tuple(_bounds(config, {**config, **text} if isinstance(text, Mapping) else config))


def least_length(bounds: tuple[int, ...], max_model_len: int) -> int:
    """The shortest max_model_len that is on the same side of all of them, in tokens."""
    return max((bound + 1 for bound in bounds if bound < max_model_len), default=1)


def crossed(bounds: tuple[int, ...], before: int, after: int) -> int | None:
    """The bound that lies between two values of max_model_len; None where they compute alike."""
    return next((bound for bound in bounds if (bound < before) != (bound < after)), None)


def _bounds(config: Mapping[str, Any], text: Mapping[str, Any]) -> Iterator[int]:
    architectures = config.get("architectures")
    if isinstance(architectures, list) and any(str(name).startswith("Llama4") for name in architectures):
        yield LLAMA_4_TUNED
    for name in ("rope_parameters", "rope_scaling"):
        rope = text.get(name)
        if isinstance(rope, Mapping) and rope.get("rope_type", rope.get("type")) in LONG_ROPE:
            length = "original_max_position_embeddings"
            original = positive(rope.get(length)) or positive(text.get(length))
            if original:
                yield original
