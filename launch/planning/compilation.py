"""With torch.compile or without: whether a task is so long that faster steps are worth starting slowly.

Without torch.compile a step that only decodes is a CUDA graph all the same. For one with a prompt in it the
host launches every kernel, unless it is a graph, too (`engine.full_cuda_graphs`, where attention kernels
allow it); where the step is short, since it has few sequences, the GPU waits for it. Measured on H200s with
an 8B shape, samples that end one after another and prompts that join the others: 0.999 of the speed of
compiled engines with 1,024 sequences a step, 0.946 with 256, 0.888 with 128 (where samples end together
1.008, 1.011 and, with 125 sequences, 0.992); a 135M shape with 1,024 made 1.018. With graphs of those steps,
too, 0.993, 0.978 and 0.986, a 135M shape with 128 sequences 1.033. And ready 11 s earlier. So with full steps
it is never worth compiling, and with few from some minutes of generation, if at all.

The numbers between are taken by 1 / number (`rates.Uncompiled.share`). Where steps with a prompt in them are
no graphs, the loss is assumed to grow with 1 / parameters, but for the most sequences, where it does not. How
many a step is expected to have is the limit, or what the KV cache should hold, if that is fewer. The 11 s are
those between warm starts: what a cold one compiles is kept for all that come after it.

With tensor parallelism it is not chosen. Over two GPUs one batch went as fast as compiled; but where no step
was a graph vLLM 0.26 was seen to hang in the second batch (facts of 2026-11-22), and whether it does so where
some are was not tried.
"""

from dataclasses import dataclass

from launch.config.wording import listed
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
    rests_on = _rests_on(known, shape, is_measured=is_measured)
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


def _rests_on(known: Measured, shape: TaskShape, *, is_measured: bool) -> str:
    """In brackets: of which engines, and of how many sequences at a time."""
    on = known.uncompiled
    engines = f"{on.gpu_type}, {billions(on.parameters)}"
    if is_measured:
        return f"(measured: {engines}, about {shape.num_seqs:,} sequences at a time)"
    counts = listed([f"{each:,}" for each in sorted(on.shares_of(shape))], "and")
    here = "here their number is not known" if shape.num_seqs is None else f"here {shape.num_seqs:,}"
    return f"(assumed from measurements: {engines}, {counts} sequences at a time; {here})"


def _named(compiles: bool) -> str:
    return "compiled" if compiles else "not compiled"


def uncompiled_loss(known: Measured, shape: TaskShape) -> tuple[float, bool]:
    """The share by which generation takes longer without it, and whether that was measured for such work."""
    on = known.uncompiled
    size = model_size(shape.parameters, on.parameters)
    loss = 1 / on.share(shape) - 1
    is_own = known.is_own and on.gpu_type == known.gpu_type and shape.parameters is not None and size == 1.0
    if shape.num_seqs == max(on.shares_of(shape)):
        return loss, is_own
    if not shape.full_graphs:
        loss = max(loss, loss / size)
    return loss, is_own and on.was_measured(shape)
