"""Whether a model fits its GPUs, and with which flags it would: findings about memory. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from launch.config.gpus import at_measured_size
from launch.model.findings import Finding, Level, Subject
from launch.model.fit_check import LARGEST_TP
from launch.model.memory import GIB, Gpu, MemoryRequest, ModelFit, fit, kv_bytes_per_token
from launch.model.shape import ModelShape

MAX_UTILIZATION = 0.95
"""The rest is the driver's, and what other libraries allocate beside vLLM's pool."""
LENGTH_STEP = 16
"""A max_model_len that is advised is cut to whole KV blocks of this many tokens."""


@dataclass(frozen=True, slots=True)
class EnginesMeasured:
    """How much more engines of one GPU were measured to make than one over all, by their number; the type."""

    ratios: Mapping[int, float]
    gpu_type: str


@dataclass(frozen=True, slots=True)
class Placement:
    """A model on GPUs of one type, `num_gpus` of them at most for one engine."""

    shape: ModelShape
    gpu: Gpu
    asked: MemoryRequest
    max_model_len: int
    max_tokens: int
    num_gpus: int = LARGEST_TP
    engines: EnginesMeasured | None = None

    def at(self, size: int) -> ModelFit:
        """How it lies with another tensor parallel size."""
        return fit(self.shape, self.gpu, replace(self.asked, tensor_parallel_size=size))

    def holds(self, size: int) -> bool:
        """Whether one sequence of max_model_len should fit."""
        return not self.at(size).may_not_hold(self.max_model_len)


def find_memory(place: Placement, path_name: str) -> Iterator[Finding]:
    """An error when it cannot fit, a warning when it probably does not, advice when fewer GPUs would do."""
    size = place.asked.tensor_parallel_size
    found = place.at(size)
    if found.may_not_hold(place.max_model_len):
        certain = found.cannot_hold(place.max_model_len)
        message = f"{_does_not_fit(place, found, path_name)} {_remedy(place, found)}"
        yield Finding(Level.ERROR if certain else Level.WARNING, _setting(found), message)
    elif size > 1 and place.shape.undivided(1) is None and place.holds(1):
        yield Finding(Level.ADVICE, "engine.tensor_parallel_size", _one_gpu(place, path_name))


def find_cpu_memory(subject: Subject, element_bytes: int) -> Iterator[Finding]:
    """A warning when the KV cache of a CPU engine does not take one sequence of max_model_len."""
    engine = subject.run.engine
    each = kv_bytes_per_token(subject.shape, engine.tensor_parallel_size, element_bytes)
    if each is None or engine.max_model_len * each <= engine.cpu_kvcache_space_gib * GIB:
        return
    tokens = engine.cpu_kvcache_space_gib * GIB // each
    enough = math.ceil(engine.max_model_len * each / GIB)
    yield Finding(
        Level.WARNING,
        "engine.cpu_kvcache_space_gib",
        f"on a CPU {engine.cpu_kvcache_space_gib} GiB hold {tokens} tokens, fewer than engine.max_model_len"
        f" {engine.max_model_len}. Set --cpu-kvcache-space-gib {enough}.",
    )


def advised_length(tokens: int, max_tokens: int) -> int | None:
    """The max_model_len for a KV cache of `tokens`; None when that leaves no prompt beside max_tokens."""
    length = tokens // LENGTH_STEP * LENGTH_STEP
    return length if length > max_tokens else None


def advised_utilization(place: Placement, found: ModelFit) -> float | None:
    """The lowest share of memory, in hundredths, with which one sequence fits; None when that is too much."""
    needed = found.weight_bytes + found.reserve_bytes
    needed += place.max_model_len * (found.kv_bytes_per_token or 1)
    share = math.ceil(100 * needed / (place.gpu.memory_gib * GIB)) / 100
    return share if share <= MAX_UTILIZATION else None


def _setting(found: ModelFit) -> str:
    fits_alone = found.weight_bytes + found.reserve_bytes < found.budget_bytes
    return "engine.max_model_len" if fits_alone else "engine.tensor_parallel_size"


def _does_not_fit(place: Placement, found: ModelFit, path_name: str) -> str:
    gpus = (
        f"each of {place.asked.tensor_parallel_size} GPUs"
        if place.asked.tensor_parallel_size > 1
        else "a GPU"
    )
    sequence = ""
    if found.kv_bytes_per_token is not None:
        needed = gib(place.max_model_len * found.kv_bytes_per_token)
        sequence = f" and {needed} for one sequence of {place.max_model_len} tokens"
    return (
        f"{path_name} takes {gib(found.weight_bytes)} of weights{sequence} on {gpus}, and vLLM has"
        f" {gib(found.budget_bytes)} of a {place.gpu.name}, some {gib(found.reserve_bytes)} of it for itself."
    )


def _remedy(place: Placement, found: ModelFit) -> str:
    """The first that helps: a larger tensor parallel size when weights are too large, else less KV cache."""
    ways = []
    share = advised_utilization(place, found)
    if share is not None:
        ways.append(f"--gpu-memory-utilization {share:.2f}")
    length = None if found.kv_tokens is None else advised_length(found.kv_tokens, place.max_tokens)
    if length is not None:
        ways.append(f"--max-model-len {length}")
    larger = next((size for size in _larger(place) if place.holds(size)), None)
    if larger is not None:
        ways.append(f"--tensor-parallel-size {larger}")
    if not ways:
        return "It needs GPUs with more memory, more of them, or quantised weights."
    return f"Set {' or '.join(ways)}."


def _larger(place: Placement) -> list[int]:
    sizes = place.shape.tensor_parallel_sizes(place.num_gpus)
    return [size for size in sizes if size > place.asked.tensor_parallel_size]


def _one_gpu(place: Placement, path_name: str) -> str:
    one = place.at(1)
    cache = "a KV cache of a size that is not known for this model"
    if one.kv_tokens is not None:
        held = one.sequences(place.max_model_len)
        cache = f"a KV cache of {one.kv_tokens:,} tokens ({held} sequences of {place.max_model_len})"
    return (
        f"{path_name} fits on one {place.gpu.name}: {gib(one.weight_bytes)} of weights and {cache}."
        f" {_engines_expected(place)} set --tensor-parallel-size 1."
    )


def find_small(place: Placement, path_name: str, sizes_gib: Iterable[int]) -> Iterator[Finding]:
    """Advice for a model on GPUs of a type that is not known: with how much memory one would do."""
    if place.asked.tensor_parallel_size < 2 or place.shape.undivided(1) is not None:
        return
    for size in sorted(set(sizes_gib)):
        if replace(place, gpu=Gpu(f"GPU of {size} GiB", size)).holds(1):
            message = (
                f"{path_name} takes {gib(place.asked.weight_bytes)} of weights and should fit on one GPU of"
                f" {size} GiB or more. {_engines_expected(place)} on such GPUs set --tensor-parallel-size 1."
            )
            yield Finding(Level.ADVICE, "engine.tensor_parallel_size", message)
            return


def _engines_expected(place: Placement) -> str:
    """What one engine per GPU is expected to bring, and where that comes from."""
    size, known = place.asked.tensor_parallel_size, place.engines
    if known is None:
        return "One engine per GPU generates more:"
    ratio, number = at_measured_size(known.ratios, size)
    seen = f"measured: {ratio:g} x with {number} {known.gpu_type}"
    is_here = size == number and known.gpu_type == place.gpu.name
    basis = seen if is_here else f"{seen}, not here"
    return f"{size} engines are expected to generate {ratio:.1f} x TP {size} ({basis}):"


def gib(count: int) -> str:
    """Bytes as GiB for people."""
    return f"{count / GIB:.1f} GiB"
