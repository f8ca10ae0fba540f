"""How many bytes the weights of a checkpoint take in memory, from headers alone."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from launch.model.shape import ModelShape, count_parameters
from launch.model.weights import find_weights, read_safetensors_header

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
