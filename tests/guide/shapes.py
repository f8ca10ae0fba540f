"""Checkpoints with the true shape of large models and no weights: what check-model reads, at no cost."""

import json
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
    for name, size in _sizes(shape).items():
        header[name] = {"dtype": "BF16", "shape": [size], "data_offsets": [end, end + 2 * size]}
        end += 2 * size
    text = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def _sizes(shape: dict[str, Any]) -> dict[str, int]:
    """Parameters by the names that transformers gives them; one vector for the biases of a layer."""
    hidden, head_dim = shape["hidden_size"], shape["head_dim"]
    kv = shape["num_key_value_heads"] * head_dim
    layer = {
        "self_attn.q_proj.weight": hidden * hidden,
        "self_attn.k_proj.weight": hidden * kv,
        "self_attn.v_proj.weight": hidden * kv,
        "self_attn.o_proj.weight": hidden * hidden,
        "mlp.gate_proj.weight": hidden * shape["intermediate_size"],
        "mlp.up_proj.weight": hidden * shape["intermediate_size"],
        "mlp.down_proj.weight": hidden * shape["intermediate_size"],
        "input_layernorm.weight": hidden,
        "post_attention_layernorm.weight": hidden,
    }
    if shape["model_type"] == "qwen2":
        layer |= {"self_attn.q_proj.bias": hidden, "self_attn.k_proj.bias": kv, "self_attn.v_proj.bias": kv}
    whole = dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), hidden * shape["vocab_size"])
    layers = range(shape["num_hidden_layers"])
    return whole | {
        f"model.layers.{number}.{name}": size for number in layers for name, size in layer.items()
    }
