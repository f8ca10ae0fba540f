"""Tensors against config.json: what is missing or of another shape is found, and nothing else is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from launch.model.tensors import find_objections, read_tensors
from launch.model.weights import find_weights
from tests.models import make_tiny_llama
from tests.quantized_models import add_to_config, make_quantized_llama, read_bfloat16, write_tensors

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "tiny")


def objections(checkpoint: Path, *, quantized: bool = False) -> list[str]:
    config = json.loads((checkpoint / "config.json").read_text())
    tensors = read_tensors(find_weights(checkpoint))
    assert tensors is not None
    found = find_objections(config, config["architectures"][0], tensors, quantized=quantized)
    return [each.message for each in found]


def change(checkpoint: Path, *, drop: str = "", add: Arrays | None = None, shards: int = 1) -> Path:
    """Rewrites the weights without those whose name contains `drop` and with `add`, in so many files."""
    path = checkpoint / "model.safetensors"
    arrays: Arrays = {**read_bfloat16(path), **(add or {})}
    kept = {name: array for name, array in arrays.items() if not drop or drop not in name}
    path.unlink()
    files = {name: f"model-{number % shards}.safetensors" for number, name in enumerate(kept)}
    for file in set(files.values()):
        write_tensors(checkpoint / file, {name: kept[name] for name in kept if files[name] == file})
    if shards > 1:
        index = {"metadata": {}, "weight_map": files}
        (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    return checkpoint


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("layers.1.self_attn.k_proj", "lack model.layers.1.self_attn.k_proj.weight"),
        ("layers.0.input_layernorm", "lack model.layers.0.input_layernorm.weight"),
        ("layers.1.", "lack model.layers.1, and config.json has num_hidden_layers 2"),
        ("embed_tokens", "lack model.embed_tokens.weight"),
        ("model.norm", "lack model.norm.weight"),
        ("lm_head", "lack lm_head.weight"),
        (
            "layers.1.mlp",
            "lack model.layers.1.mlp.gate_proj.weight, model.layers.1.mlp.up_proj.weight,"
            " model.layers.1.mlp.down_proj.weight",
        ),
    ],
)
def test_what_is_missing_is_named(tiny: Path, drop: str, message: str, shards: int) -> None:
    (found,) = objections(change(tiny, drop=drop, shards=shards))
    # Sorted by name of the file's header, so in another order when in shards.
    assert sorted(found.removeprefix("lack ").split(", ")) == sorted(
        message.removeprefix("lack ").split(", ")
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_key_value_heads": 2},
            "have model.layers.0.self_attn.k_proj.weight of 128 by 256, and config.json says 64 by 256"
            " (num_key_value_heads x head_dim by hidden_size)",
        ),
        (
            {"vocab_size": 800},
            "have lm_head.weight of 640 by 256, and config.json says 800 by 256 (vocab_size by hidden_size)",
        ),
        (
            {"intermediate_size": 256},
            "have model.layers.0.mlp.down_proj.weight of 256 by 512, and config.json says 256 by 256"
            " (hidden_size by intermediate_size)",
        ),
        ({"num_hidden_layers": 3}, "lack model.layers.2, and config.json has num_hidden_layers 3"),
        ({"num_hidden_layers": 1}, "have model.layers.1, and config.json has num_hidden_layers 1"),
    ],
)
def test_a_config_of_another_model_is_seen(tiny: Path, settings: dict[str, Any], message: str) -> None:
    assert objections(tiny) == []
    add_to_config(tiny, settings)
    assert objections(tiny) == [message]


def test_what_is_there_besides_is_no_matter(tiny: Path) -> None:
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": ones(16),
        "model.layers.0.self_attn.q_proj.weight_of_its_own": ones(2),
        "model.layers.0.self_attn.gate.weight": ones(2, 2),
        "v_head.weight": ones(1, 256),
    }
    assert objections(change(tiny, add=extra)) == []


def test_a_bias_counts_when_half_of_the_layers_have_it(tiny: Path, tmp_path: Path) -> None:
    name = "model.layers.{}.self_attn.q_proj.bias"
    assert objections(change(tiny, add={name.format(0): ones(256)})) == [f"lack {name.format(1)}"]
    three = make_tiny_llama(tmp_path / "three", num_layers=3)
    assert objections(change(three, add={name.format(0): ones(256)})) == []
    wrong = make_tiny_llama(tmp_path / "wrong")
    (found,) = objections(change(wrong, add={name.format(each): ones(9) for each in range(2)}))
    assert found.startswith(f"have {name.format(0)} of 9, and config.json says 256 (num_attention_heads x")


def test_tied_embeddings_want_one_of_the_two(tiny: Path, tmp_path: Path) -> None:
    add_to_config(tiny, {"tie_word_embeddings": True})
    assert objections(change(tiny, drop="lm_head")) == []
    other = make_tiny_llama(tmp_path / "other")
    add_to_config(other, {"tie_word_embeddings": True})
    assert objections(change(other, drop="embed_tokens")) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"architectures": ["MixtralForCausalLM"]},
        {"num_key_value_heads": None, "num_attention_heads": None, "head_dim": None},
        {"num_key_value_heads": [4, 2]},
    ],
)
def test_what_is_not_known_is_passed_over(tiny: Path, settings: dict[str, Any]) -> None:
    add_to_config(tiny, settings)
    assert objections(tiny) == []


def test_tensors_of_other_names_are_passed_over(tiny: Path) -> None:
    arrays = read_bfloat16(tiny / "model.safetensors")
    renamed = {name.replace("model.layers", "transformer.h"): array for name, array in arrays.items()}
    write_tensors(tiny / "model.safetensors", renamed)
    assert objections(tiny) == []


@pytest.mark.parametrize("layout", ["awq", "gptq"])
def test_of_quantised_weights_only_the_layers_are_counted(tmp_path: Path, layout: Any) -> None:
    quantized, plain = make_quantized_llama(tmp_path, layout)
    assert objections(plain) == objections(quantized) == objections(quantized, quantized=True) == []
    add_to_config(quantized, {"num_key_value_heads": 2})
    assert objections(quantized) == []
    add_to_config(quantized, {"num_hidden_layers": 3})
    (found,) = objections(quantized, quantized=True)
    assert found.startswith("lack model.layers.2, and config.json has num_hidden_layers 3")


def test_weights_without_a_header_are_passed_over(tmp_path: Path) -> None:
    assert read_tensors([tmp_path / "pytorch_model.bin"]) is None


SIZES = {
    "vocab_size": 100,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
MODELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 16}),
    ("mistral", {"head_dim": 16}),
    ("mistral", {}),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 8}),
    ("qwen3", {"head_dim": 16}),
    ("qwen3", {}),
    ("phi3", {}),
    ("gemma", {}),
    ("gemma2", {"head_dim": 16}),
    ("gemma3_text", {"head_dim": 16}),
)


@pytest.mark.engine
@pytest.mark.parametrize(("kind", "settings"), MODELS, ids=lambda each: each if isinstance(each, str) else "")
def test_what_transformers_saves_agrees_and_each_tensor_is_missed(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **settings}))
    model.save_pretrained(tmp_path)
    assert objections(tmp_path) == []
    config = json.loads((tmp_path / "config.json").read_text())
    tensors = read_tensors(find_weights(tmp_path))
    assert tensors is not None
    architecture = config["architectures"][0]
    for name in tensors.shapes:
        shapes = {each: shape for each, shape in tensors.shapes.items() if each != name}
        (missed,) = find_objections(config, architecture, replace(tensors, shapes=shapes), quantized=False)
        assert missed.message == f"lack {name}"
        shapes[name] = (7, *tensors.shapes[name][1:])
        (wrong,) = find_objections(config, architecture, replace(tensors, shapes=shapes), quantized=False)
        assert wrong.message.startswith(f"have {name} of 7")
