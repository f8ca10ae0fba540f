"""How many bytes the weights of a checkpoint take in memory, from headers alone."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from launch.errors import CheckpointError
from launch.model.quantization import read_quantization
from launch.model.shape import ModelShape, count_parameters, read_shape
from launch.model.weights import find_weights, read_json_object, read_safetensors_header

FLOATS = {"F32": 4, "F16": 2, "BF16": 2}
"""The types that vLLM turns into the dtype it runs with; what else is stored stays as it is."""


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """`stored` as the files have them; `num_floats` elements of them in a type of FLOATS, None if unknown."""

    stored: int
    num_floats: int | None
    float_bytes: int = 0

    def in_memory(self, dtype_bytes: int) -> int:
        """Bytes when the floats are held in a type of `dtype_bytes`."""
        if self.num_floats is None:
            return self.stored
        return self.stored - self.float_bytes + self.num_floats * dtype_bytes


def measure_weights(directory: Path, shape: ModelShape, *, needs_weights: bool = True) -> WeightBytes | None:
    """The weights in `directory`; with `needs_weights` off those that the shape implies, None where unknown.

    CheckpointError when weights are missing or damaged.
    """
    if not needs_weights:
        count = count_parameters(shape)
        return None if count is None else WeightBytes(2 * count, count, 2 * count)
    files = find_weights(directory)
    if all(file.suffix == ".safetensors" for file in files):
        return _of_headers(files)
    return WeightBytes(sum(file.stat().st_size for file in files), None)


def num_parameters(directory: Path) -> int | None:
    """Parameters of the model in `directory` by config.json, else by headers; None where neither tells."""
    try:
        config = read_json_object(directory / "config.json")
        named = config.get("architectures")
        shape = read_shape(config, named[0] if isinstance(named, list) and named else None)
        counted = count_parameters(shape)
        if counted is not None or read_quantization(config) is not None:
            return counted
        measured = measure_weights(directory, shape)
    except (CheckpointError, OSError):
        return None
    return None if measured is None else measured.num_floats


def _of_headers(files: Iterable[Path]) -> WeightBytes:
    stored = num_floats = float_bytes = 0
    for file in files:
        for tensor in read_safetensors_header(file).values():
            begin, end = tensor["data_offsets"]
            stored += end - begin
            if tensor["dtype"] in FLOATS:
                num_floats += math.prod(tensor["shape"])
                float_bytes += end - begin
    return WeightBytes(stored, num_floats, float_bytes)
