"""Eager or compiled: whether a task is so short that starting fast is worth generating slowly.

Measured on an H200 with an 8B shape and 1,024 sequences a step: without compilation and CUDA graphs an engine
starts 14 s earlier and generates 1 % slower, so it wins below some 20 minutes of generation. The loss is what
the host needs to launch kernels, the same for each step; it weighs more where a step is shorter. Assumed and
not measured: the loss goes with 1 / (sequences in a step x parameters), and eager takes at most twice as
long.
With tensor parallelism it was seen to hang (facts of 2026-11-22, vLLM 0.26), and is not chosen.
"""

from dataclasses import dataclass

from launch.planning.limits import duration
from launch.planning.rates import Measured, TaskShape, billions, model_size

MOST_LOSS = 1.0
"""Of the time of generation: eager takes at most twice as long."""


@dataclass(frozen=True, slots=True)
class EagerChoice:
    """What engine.enforce_eager becomes (None: left to the engine) and a sentence that says why."""

    enforce_eager: bool | None
    why: str


def choose_eager(
    asked: bool | None, shape: TaskShape, known: Measured, work_s: float, sequences: float
) -> EagerChoice:
    """What a task of `work_s` of generation takes; `sequences` is how many an engine runs at a time.

    What was `asked` for is never changed.
    """
    if asked is not None:
        return EagerChoice(asked, f"{'eager' if asked else 'compiled'}, as asked for")
    if shape.gpus_per_task == 0:
        return EagerChoice(None, "left to the engine: on a CPU nothing was measured")
    if shape.tensor_parallel_size > 1:
        return EagerChoice(False, "compiled: with tensor parallelism eager was seen to hang")
    loss, is_measured = eager_loss(known, shape.parameters, sequences)
    break_even_s = (known.start_warm_s - known.start_eager_s) / loss
    eager = work_s < break_even_s
    basis = "measured" if is_measured else "assumed from measurements"
    work = f"{known.eager_on}, {billions(known.speed.parameters)}, {known.speed.max_num_seqs:,} sequences"
    return EagerChoice(
        eager,
        f"{'eager' if eager else 'compiled'}: about {duration(work_s)} of generation a task; compiling pays"
        f" from {duration(break_even_s)} ({basis}: {work} at a time)",
    )


def eager_loss(known: Measured, parameters: int | None, sequences: float) -> tuple[float, bool]:
    """The share by which eager generation takes longer, and whether it was measured for such work."""
    measured = 1 / known.eager_share - 1
    size = model_size(parameters, known.speed.parameters)
    fullness = min(1.0, max(1.0, sequences) / known.speed.max_num_seqs)
    loss = min(MOST_LOSS, max(measured, measured / (fullness * size)))
    is_measured = known.is_own and known.eager_on == known.gpu_type and parameters is not None
    return loss, is_measured and fullness == size == 1.0
