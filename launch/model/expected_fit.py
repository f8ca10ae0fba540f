"""How a checkpoint should lie on GPUs of a type, by its files and the settings alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.errors import CheckpointError
from launch.model.memory import DTYPE_BYTES, Gpu, MemoryRequest, ModelFit, fit
from launch.model.quantization import ONE_BYTE, read_quantization
from launch.model.shape import ModelShape, read_shape
from launch.model.weight_bytes import measure_weights
from launch.model.weights import read_json_object


def expected_fit(directory: Path, config: RunConfig, gpu: Gpu) -> ModelFit | None:
    """The fit of the model in `directory` on each GPU of an engine; None where its files do not tell."""
    try:
        described = read_json_object(directory / "config.json")
        named = described.get("architectures")
        shape = read_shape(described, named[0] if isinstance(named, list) and named else None)
        weights = weight_bytes(directory, described, shape, config)
    except (CheckpointError, OSError):
        return None
    if weights is None:
        return None
    return fit(shape, gpu, memory_request(config, weights, kv_element_bytes(config, described)))


def is_quantized(directory: Path, config: RunConfig) -> bool:
    """Whether weights or KV cache are, as asked or by the checkpoint itself."""
    if config.model.quantization is not None or config.model.kv_cache_dtype != "auto":
        return True
    try:
        return read_quantization(read_json_object(directory / "config.json")) is not None
    except (CheckpointError, OSError):
        return False


def weight_bytes(
    directory: Path, described: Mapping[str, Any], shape: ModelShape, config: RunConfig
) -> int | None:
    """Bytes of all weights in memory; `described` is config.json. None where that cannot be told.

    CheckpointError when weights are missing or damaged.
    """
    is_dummy = config.engine.load_format == "dummy"
    measured = measure_weights(directory, shape, needs_weights=not is_dummy)
    method = config.model.quantization
    if measured is None:
        return None
    if method is None or read_quantization(described) is not None:
        return measured.in_memory(_dtype_bytes(config))
    return measured.in_memory(1) if method in ONE_BYTE else None


def kv_element_bytes(config: RunConfig, described: Mapping[str, Any]) -> int:
    """Bytes of an element of the KV cache; `described` is config.json."""
    quantized = described.get("quantization_config")
    if config.model.kv_cache_dtype != "auto":
        return 1  # every other choice is an fp8
    if isinstance(quantized, Mapping) and quantized.get("kv_cache_scheme"):
        return 1
    return _dtype_bytes(config)


def memory_request(config: RunConfig, weights: int, kv_element: int) -> MemoryRequest:
    """What the settings ask of each GPU for `weights` bytes of a whole model."""
    engine = config.engine
    return MemoryRequest(
        weight_bytes=weights,
        tensor_parallel_size=engine.tensor_parallel_size,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        kv_element_bytes=kv_element,
        max_num_seqs=engine.max_num_seqs,
        eager=bool(engine.enforce_eager),
    )


def _dtype_bytes(config: RunConfig) -> int:
    """Bytes of a float in memory: as asked, else the checkpoint's; vLLM's auto halves float32."""
    return DTYPE_BYTES.get(config.model.dtype, 2)
