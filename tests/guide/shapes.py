"""Checkpoints with the true shape of large models and no weights: what check-model reads, at no cost."""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.model_shape import SHAPE
from tests.models import make_tiny_llama

# From the published config.json of Qwen2.5-72B-Instruct.
SHAPE_72B: dict[str, Any] = SHAPE | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
}
SHAPES: dict[str, dict[str, Any]] = {"Llama-3.1-8B-Instruct": SHAPE, "Qwen2.5-72B-Instruct": SHAPE_72B}


def make_shape(path: Path, shape: dict[str, Any]) -> None:
    """A checkpoint of that shape whose weights file has its size and no content: enough for check-model."""
    make_tiny_llama(path, weights="none")
    (path / "config.json").write_text(json.dumps(shape))
    header: dict[str, Any] = {}
    end = 0
    for name, dimensions in _dimensions(shape).items():
        size = 2 * math.prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def _dimensions(shape: dict[str, Any]) -> dict[str, list[int]]:
    """The shape of every parameter, by the names that transformers gives them."""
    hidden, inner, head_dim = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    query, kv = shape["num_attention_heads"] * head_dim, shape["num_key_value_heads"] * head_dim
    layer = {
        "self_attn.q_proj.weight": [query, hidden],
        "self_attn.k_proj.weight": [kv, hidden],
        "self_attn.v_proj.weight": [kv, hidden],
        "self_attn.o_proj.weight": [hidden, query],
        "mlp.gate_proj.weight": [inner, hidden],
        "mlp.up_proj.weight": [inner, hidden],
        "mlp.down_proj.weight": [hidden, inner],
        "input_layernorm.weight": [hidden],
        "post_attention_layernorm.weight": [hidden],
    }
    if shape["model_type"] == "qwen2":
        layer |= {
            "self_attn.q_proj.bias": [query],
            "self_attn.k_proj.bias": [kv],
            "self_attn.v_proj.bias": [kv],
        }
    table = [shape["vocab_size"], hidden]
    whole = {"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": [hidden]}
    layers = range(shape["num_hidden_layers"])
    return whole | {
        f"model.layers.{number}.{name}": sizes for number in layers for name, sizes in layer.items()
    }
