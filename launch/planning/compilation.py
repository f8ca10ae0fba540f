"""With torch.compile or without: whether a task is so short that starting fast is worth generating slowly.

Measured on an H200 with an 8B shape: without torch.compile, its CUDA graphs captured all the same, an engine
starts 11 s earlier, and generates 2.7 % slower with 1,024 sequences a step, which is above the largest graph,
and 0.8 % with 125. So it wins below some seven minutes of generation. The loss is what the host needs to
launch the kernels of a step that is no graph, as those with a prompt in them are not; it weighs more where a
step is shorter. Assumed and not measured: the loss goes with 1 / parameters.
With tensor parallelism it is not chosen. Over two GPUs one batch went as fast as compiled; but where no step
was a graph vLLM 0.26 was seen to hang in the second batch (facts of 2026-11-22), and whether it does so where
some are was not tried.
"""

from dataclasses import dataclass

from launch.planning.limits import duration
from launch.planning.rates import Measured, TaskShape, billions, model_size


@dataclass(frozen=True, slots=True)
class CompileChoice:
    """What engine.torch_compile becomes (None: left to the engine) and a sentence that says why."""

    torch_compile: bool | None
    why: str


EAGER = CompileChoice(False, "eager, as asked for")
"""Where engine.enforce_eager is on: no graphs either."""
INVARIANT = CompileChoice(None, "left to the engine: batch-invariant kernels stay those of other submissions")
"""A resume is shorter than what it continues; its texts are to be those that would have been."""


def choose_compile(asked: bool | None, shape: TaskShape, known: Measured, work_s: float) -> CompileChoice:
    """What a task of `work_s` of generation takes; what was `asked` for is never changed."""
    if asked is not None:
        return CompileChoice(asked, f"{_named(asked)}, as asked for")
    if shape.gpus_per_task == 0:
        return CompileChoice(None, "left to the engine: on a CPU nothing was measured")
    if shape.tensor_parallel_size > 1:
        return CompileChoice(True, "compiled: with tensor parallelism vLLM was seen to hang otherwise")
    loss, is_measured = uncompiled_loss(known, shape.parameters)
    break_even_s = (known.start_warm_s - known.start_uncompiled_s) / loss
    compiles = work_s >= break_even_s
    basis = "measured" if is_measured else "assumed from measurements"
    work = (
        f"{known.uncompiled_on}, {billions(known.speed.parameters)}, {known.speed.max_num_seqs:,} sequences"
    )
    return CompileChoice(
        compiles,
        f"{_named(compiles)}: about {duration(work_s)} of generation a task; compiling pays"
        f" from {duration(break_even_s)} ({basis}: {work} at a time)",
    )


def _named(compiles: bool) -> str:
    return "compiled" if compiles else "not compiled"


def uncompiled_loss(known: Measured, parameters: int | None) -> tuple[float, bool]:
    """The share by which generation takes longer without it, and whether that was measured for such work."""
    measured = 1 / known.uncompiled_share - 1
    size = model_size(parameters, known.speed.parameters)
    loss = max(measured, measured / size)
    is_measured = known.is_own and known.uncompiled_on == known.gpu_type and parameters is not None
    return loss, is_measured and size == 1.0
