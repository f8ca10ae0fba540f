"""How much of a GPU's memory vLLM needs: weights, what it keeps for itself, and the KV cache that is left.

    KV cache per GPU = utilisation x memory - weights / TP - activations - CUDA graphs
    KV bytes per token and GPU = 2 x layers x max(1, KV heads / TP) x head size x bytes of an element

The second is vLLM's own layout. Activations are taken as 1.5 GiB and 12 bytes x max_num_seqs x vocabulary
(logits and their copies when sampling is tried at full size), graphs as 1 GiB, none when eager. Against what
vLLM 0.26.0 reported at utilisation 0.9 with 1,024 sequences (tests/model/test_memory.py):

    Llama-3.1-8B shape, H100 80 GB          444,528 tokens measured, predicted 2.2 % fewer
    Llama-3.1-8B shape, H200              891,392 tokens measured, predicted 0.8 % fewer
    SmolLM2-135M, H200, eager           5,830,832 tokens measured, predicted 0.4 % fewer

One GPU and bf16 each: nothing was measured for larger TP, quantised weights or an fp8 cache.
"""

from dataclasses import dataclass

from launch.model.shape import ModelShape

GIB = 2**30
ACTIVATIONS_GIB = 1.5
SAMPLER_BYTES = 12
GRAPHS_GIB = 1.0
# vLLM's defaults for LLM() (vllm/engine/arg_utils.py): GPUs of 70 GiB and more that are no A100, and others.
LARGE_GPU_GIB = 70
MAX_NUM_SEQS_LARGE = 1024
MAX_NUM_SEQS_SMALL = 256
DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU type of configs/gpus.yaml and its memory."""

    name: str
    memory_gib: float


@dataclass(frozen=True, slots=True)
class MemoryRequest:
    """What is asked of each GPU. `weight_bytes` are of the whole model as it lies in memory."""

    weight_bytes: int
    tensor_parallel_size: int
    gpu_memory_utilization: float
    kv_element_bytes: int
    max_num_seqs: int | None = None
    eager: bool = False


@dataclass(frozen=True, slots=True)
class ModelFit:
    """Bytes of one GPU. `kv_bytes` may be negative; None numbers: the KV cache of this model is not known."""

    budget_bytes: int
    weight_bytes: int
    reserve_bytes: int
    kv_bytes: int
    kv_bytes_per_token: int | None

    @property
    def kv_tokens(self) -> int | None:
        """Tokens that the KV cache holds."""
        if self.kv_bytes_per_token is None:
            return None
        return max(0, self.kv_bytes) // self.kv_bytes_per_token

    def sequences(self, length: int) -> int | None:
        """Sequences of `length` tokens that are held at once, prefixes unshared."""
        return None if self.kv_tokens is None else self.kv_tokens // length

    def cannot_hold(self, length: int) -> bool:
        """Certain: weights and one sequence of `length` exceed the budget, if nothing else took memory."""
        needed = self.weight_bytes + length * (self.kv_bytes_per_token or 0)
        return needed > self.budget_bytes

    def may_not_hold(self, length: int) -> bool:
        """Estimated: what is left for the KV cache does not take one sequence of `length`."""
        return self.kv_bytes < length * (self.kv_bytes_per_token or 1)


def default_max_num_seqs(gpu: Gpu) -> int:
    """Sequences in one step unless engine.max_num_seqs says otherwise."""
    large = gpu.memory_gib >= LARGE_GPU_GIB and not gpu.name.startswith("a100")
    return MAX_NUM_SEQS_LARGE if large else MAX_NUM_SEQS_SMALL


def kv_bytes_per_token(shape: ModelShape, tensor_parallel_size: int, element_bytes: int) -> int | None:
    """Bytes of one token on each GPU; None where `shape` says why that is not known, or lacks a number."""
    if shape.unknown_kv or not (shape.num_layers and shape.num_kv_heads and shape.head_dim):
        return None
    heads = max(1, shape.num_kv_heads // tensor_parallel_size)
    return 2 * shape.num_layers * heads * shape.head_dim * element_bytes


def fit(shape: ModelShape, gpu: Gpu, asked: MemoryRequest) -> ModelFit:
    """How a model lies on each GPU of an engine."""
    sequences = asked.max_num_seqs or default_max_num_seqs(gpu)
    reserve = ACTIVATIONS_GIB * GIB + SAMPLER_BYTES * sequences * (shape.vocab_size or 0)
    reserve += 0 if asked.eager else GRAPHS_GIB * GIB
    budget = int(asked.gpu_memory_utilization * gpu.memory_gib * GIB)
    weights = asked.weight_bytes // asked.tensor_parallel_size
    return ModelFit(
        budget_bytes=budget,
        weight_bytes=weights,
        reserve_bytes=int(reserve),
        kv_bytes=budget - weights - int(reserve),
        kv_bytes_per_token=kv_bytes_per_token(shape, asked.tensor_parallel_size, asked.kv_element_bytes),
    )
