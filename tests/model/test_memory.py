"""Predicted memory against what vLLM reported on real GPUs, and the arithmetic around it."""

import json
from pathlib import Path

import pytest

from launch.model.memory import GIB, Gpu, MemoryRequest, default_max_num_seqs, fit, kv_bytes_per_token
from launch.model.shape import ModelShape, count_parameters, read_shape
from launch.model.weight_bytes import measure_weights
from tests.model.test_shape import LLAMA, LLAMA_8B
from tests.models import make_tiny_llama
from tests.runs import REPOSITORY

H100, H200 = Gpu("h100", 80), Gpu("h200", 141)
SHAPE = read_shape(LLAMA_8B, LLAMA)
RECORDED = REPOSITORY / "benchmarks" / "results" / "h200-first-runs"
SMOLLM2 = {
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def predict(shape: ModelShape, gpu: Gpu, *, eager: bool = False) -> int:
    parameters = count_parameters(shape)
    assert parameters is not None
    tokens = fit(shape, gpu, MemoryRequest(2 * parameters, 1, 0.9, 2, eager=eager)).kv_tokens
    assert tokens is not None
    return tokens


def reported(name: str) -> int:
    """What vLLM told in a recorded run."""
    (engine,) = json.loads((RECORDED / f"{name}.summary.json").read_text())["engines"]
    assert engine["settings"]["gpu_memory_utilization"] == 0.9 and engine["max_num_seqs"] == 1024
    tokens: int = engine["settings"]["kv_cache_tokens"]
    return tokens


@pytest.mark.parametrize(
    ("predicted", "measured", "percent_fewer"),
    [
        (predict(SHAPE, H100), 444_528, 2.2),  # configs/gpus.yaml, NVIDIA H100 80GB
        (predict(SHAPE, H200), reported("production-warm"), 0.8),
        (predict(read_shape(SMOLLM2, LLAMA), H200, eager=True), reported("quick-test"), 0.4),
    ],
)
def test_predictions_are_as_near_as_the_docstring_says(
    predicted: int, measured: int, percent_fewer: float
) -> None:
    assert 100 * (measured - predicted) / measured == pytest.approx(percent_fewer, abs=0.05)


def test_bytes_of_a_token() -> None:
    assert kv_bytes_per_token(SHAPE, 1, 2) == 131_072
    assert kv_bytes_per_token(SHAPE, 4, 1) == 16_384
    assert kv_bytes_per_token(SHAPE, 16, 2) == 16_384  # 8 KV heads are copied, one a GPU
    assert kv_bytes_per_token(read_shape({**LLAMA_8B, "kv_lora_rank": 512}, LLAMA), 1, 2) is None


def test_what_fits() -> None:
    asked = MemoryRequest(70 * GIB, 1, 0.9, 2, max_num_seqs=1)
    tight = fit(SHAPE, H100, asked)
    assert not tight.cannot_hold(8192) and tight.may_not_hold(8192)
    assert fit(SHAPE, H100, MemoryRequest(72 * GIB, 1, 0.9, 2)).cannot_hold(8192)
    assert tight.kv_tokens == 0 and tight.sequences(100) == 0
    split = fit(SHAPE, H100, MemoryRequest(70 * GIB, 2, 0.9, 2))
    assert split.weight_bytes == 35 * GIB and not split.may_not_hold(131072)
    unknown = fit(read_shape({**LLAMA_8B, "sliding_window": 9}, LLAMA), H100, asked)
    assert unknown.kv_tokens is None and unknown.sequences(1) is None


@pytest.mark.parametrize(
    ("gpu", "sequences"),
    [(H100, 1024), (Gpu("a100-80gb", 80), 256), (Gpu("l40s", 48), 256), (H200, 1024)],
)
def test_sequences_that_vllm_takes_by_itself(gpu: Gpu, sequences: int) -> None:
    assert default_max_num_seqs(gpu) == sequences


def test_weights_from_headers_and_from_the_shape(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path)
    config = json.loads((model / "config.json").read_text())
    shape = read_shape(config, LLAMA)
    stored, implied = measure_weights(model, shape), measure_weights(model, shape, needs_weights=False)
    assert stored is not None and stored == implied
    assert stored.in_memory(4) == 2 * stored.stored
    odd = read_shape(config, "FooForCausalLM")
    assert measure_weights(model, odd, needs_weights=False) is None
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"x" * 1000)
    plain = measure_weights(model, shape)
    assert plain is not None and plain.in_memory(4) == plain.stored == 1000
