"""With torch.compile or without: whether a task is so long that faster steps are worth starting slowly.

Without torch.compile a step that only decodes is a CUDA graph all the same; for one with a prompt in it the
host launches every kernel. Measured on an H200 with 1,024 sequences a step and an 8B shape: as fast as
compiled (0.999 of it where samples end one after another and prompts join the others that decode; 1.008 and
1.011 where they end together; 1.018 with a 135M shape), and ready 11 s earlier. So there it is never worth
compiling.

With fewer sequences a step is shorter, and the host may be what it waits for; with more it is no graph.
Samples that end one after another were not measured there. Assumed is what was lost when hardly a step was a
graph, 2.7 %, and that this grows with 1 / parameters: compiling pays from some seven minutes of generation.

With tensor parallelism it is not chosen. Over two GPUs one batch went as fast as compiled; but where no step
was a graph vLLM 0.26 was seen to hang in the second batch (facts of 2026-11-22), and whether it does so where
some are was not tried.
"""

from dataclasses import dataclass

from launch.planning.limits import duration
from launch.planning.rates import Measured, TaskShape, billions, model_size

CHANCE = 0.02
"""A smaller loss is taken for none: three passes of one engine on an H200 were 1.7 % apart."""


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
    loss, is_measured = uncompiled_loss(known, shape)
    saved_s = known.start_warm_s - known.start_uncompiled_s
    basis = "measured" if is_measured else "assumed from measurements"
    on = known.uncompiled
    rests_on = f"({basis}: {on.gpu_type}, {billions(on.parameters)}, {on.max_num_seqs:,} sequences at a time)"
    if loss <= CHANCE:
        earlier = duration(saved_s)
        return CompileChoice(
            False, f"not compiled: as fast as compiled and ready {earlier} earlier {rests_on}"
        )
    break_even_s = saved_s / loss
    compiles = work_s >= break_even_s
    return CompileChoice(
        compiles,
        f"{_named(compiles)}: about {duration(work_s)} of generation a task; compiling pays"
        f" from {duration(break_even_s)} {rests_on}",
    )


def _named(compiles: bool) -> str:
    return "compiled" if compiles else "not compiled"


def uncompiled_loss(known: Measured, shape: TaskShape) -> tuple[float, bool]:
    """The share by which generation takes longer without it, and whether that was measured for such work."""
    on = known.uncompiled
    size = model_size(shape.parameters, on.parameters)
    if on.has_full_steps(shape):
        is_own = known.is_own and on.gpu_type == known.gpu_type
        return 1 / on.share - 1, is_own and shape.parameters is not None and size == 1.0
    loss = 1 / on.eager_share - 1
    return max(loss, loss / size), False
