"""The table of the ladder: from failure class to rungs, in the order in which they are tried. Pure.

A rung changes one setting of the section `engine`, starts the engine again as it was, or asks for another
node. It never touches what shapes outputs: dtype, KV dtype, quantisation, prompts, sampling.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.config.schema import EngineKind
from launch.model.fit_memory import LENGTH_STEP, MAX_UTILIZATION
from launch.model.memory import MAX_NUM_SEQS_SMALL
from launch.worker.failures import FailureClass
from launch.worker.steps import Action, Fall, Step

UTILIZATION_STEP = 0.05
MIN_UTILIZATION = 0.5
WHOLE_GPU = 0.8
"""Who asks for less of a GPU's memory shares it, we take it."""
MIN_BATCHED_TOKENS = 512
ASSUMED_BATCHED_TOKENS = 8192
"""vLLM's smaller default for LLM(); half of it is less than what any GPU takes unasked."""
MEMORY_FREED_S = 30.0
"""What another job left on a GPU is gone soon after that job."""
PORT_FREED_S = 1.0
_HARDWARE = re.compile(r"Xid|ECC|device handle|GPU is lost|fallen off", re.IGNORECASE)
_QUOTA = re.compile(r"quota", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rung:
    """`choose` gives the new value of `setting`, or True for a rung without one; None: it does not apply."""

    action: Action
    choose: Callable[[Fall], Any]
    setting: str | None = None
    wait_s: float = 0.0

    def step(self, fall: Fall) -> Step | None:
        """The step from this rung, if it applies."""
        name = fall.diagnosis.failure_class.value
        if self.action is Action.ELSEWHERE and not fall.can_move:
            return None
        if self.action is Action.SHRINK and fall.kind is EngineKind.TRANSFORMERS:
            return None  # it knows none of these settings, and halves its batches itself
        chosen = self.choose(fall)
        if chosen is None:
            return None
        if self.setting is None:
            return Step(name, self.action, wait_s=self.wait_s)
        before = getattr(fall.engine, self.setting)
        return Step(name, self.action, self.setting, before, chosen, self.wait_s)

    def times(self, taken: Sequence[Step]) -> int:
        """How often it was taken."""
        return sum((step.action, step.setting) == (self.action, self.setting) for step in taken)


def _shorter(fall: Fall) -> int | None:
    """What fits, or the floor: with a larger share of a GPU's memory that may fit, on a CPU it will not."""
    estimated = int(fall.diagnosis.numbers.get("estimated", 0))
    if fall.on_cpu and 0 < estimated < fall.floor_tokens:
        return None
    length = max(fall.floor_tokens, estimated // LENGTH_STEP * LENGTH_STEP)
    return length if length < fall.engine.max_model_len else None


def _largest_share(fall: Fall) -> float | None:
    """Where a whole GPU was meant: with a small share there are others, whose memory it would take."""
    now = fall.engine.gpu_memory_utilization
    return MAX_UTILIZATION if not fall.on_cpu and WHOLE_GPU <= now < MAX_UTILIZATION else None


def _once_beside_others(fall: Fall) -> bool | None:
    """vLLM counts as its own what others on the GPU take while it profiles (eight starts on an H200)."""
    shares = not fall.on_cpu and fall.engine.gpu_memory_utilization < WHOLE_GPU
    return _once(fall) if shares else None


def _smaller_share(fall: Fall) -> float | None:
    lower = round(fall.engine.gpu_memory_utilization - UTILIZATION_STEP, 2)
    return lower if not fall.on_cpu and lower >= MIN_UTILIZATION else None


def _fewer_sequences(fall: Fall) -> int | None:
    now = fall.value("max_num_seqs", "num_seqs", MAX_NUM_SEQS_SMALL)
    return now // 2 if now > 1 else None


def _fewer_sequences_on_gpu(fall: Fall) -> int | None:
    return None if fall.on_cpu else _fewer_sequences(fall)


def _fewer_tokens(fall: Fall) -> int | None:
    """On a CPU, and without chunked prefill, whole prompts have to fit a step."""
    if fall.on_cpu or fall.engine.enable_chunked_prefill is False:
        return None
    half = fall.value("max_num_batched_tokens", "", ASSUMED_BATCHED_TOKENS) // 2
    sequences = fall.value("max_num_seqs", "num_seqs", MAX_NUM_SEQS_SMALL)
    return half if half >= max(MIN_BATCHED_TOKENS, sequences) else None


def _eager(fall: Fall) -> bool | None:
    return None if fall.on_cpu or fall.engine.enforce_eager else True


def _eager_at_start(fall: Fall) -> bool | None:
    return None if fall.ran or _is_hardware(fall) else _eager(fall)


def _no_fusion(fall: Fall) -> bool | None:
    is_on = fall.engine.fuse_allreduce_rms is not False
    return False if _is_parallel(fall) and is_on else None


def _graphs_that_decode(fall: Fall) -> bool | None:
    """Fewer graphs, where there are such of steps with a prompt in them."""
    engine = fall.engine
    has_more = engine.full_cuda_graphs and engine.allows_full_graphs and engine.compiles is False
    return False if has_more and not fall.on_cpu else None


def _graphs_that_decode_after_software(fall: Fall) -> bool | None:
    return None if _is_hardware(fall) else _graphs_that_decode(fall)


def _no_custom_all_reduce(fall: Fall) -> bool | None:
    is_on = not fall.engine.disable_custom_all_reduce
    return True if _is_parallel(fall) and is_on else None


def _smaller_cpu_cache(fall: Fall) -> int | None:
    now = fall.engine.cpu_kvcache_space_gib
    return now // 2 if fall.on_cpu and now > 1 else None


def _lazy_loading(fall: Fall) -> str | None:
    now = fall.engine.safetensors_load_strategy
    return "lazy" if not fall.ran and now not in (None, "lazy") else None


def _always(fall: Fall) -> bool:
    return True


def _has_run(fall: Fall) -> bool | None:
    return fall.ran or None


def _once(fall: Fall) -> bool | None:
    return True if _num_restarts(fall) < 1 else None


def _once_if_it_ran(fall: Fall) -> bool | None:
    return _once(fall) if fall.ran else None


def _once_unless_hardware(fall: Fall) -> bool | None:
    return None if _is_hardware(fall) else _once_if_it_ran(fall)


def _twice(fall: Fall) -> bool | None:
    return True if _num_restarts(fall) < 2 else None


def _given_too_few(fall: Fall) -> bool | None:
    """The task asked for enough: the node has fewer than it says."""
    needed = fall.engine.tensor_parallel_size * (fall.engine.engines_per_node or 1)
    return True if fall.gpus_asked >= needed else None


def _node_disk(fall: Fall) -> bool | None:
    """What is on a quota is full on every node."""
    return None if _QUOTA.search(fall.diagnosis.evidence) else True


def _num_restarts(fall: Fall) -> int:
    name = fall.diagnosis.failure_class.value
    return sum(step.action is Action.RESTART and step.failure_class == name for step in fall.taken)


def _is_parallel(fall: Fall) -> bool:
    return fall.engine.tensor_parallel_size > 1 and not fall.on_cpu and not _is_hardware(fall)


def _is_hardware(fall: Fall) -> bool:
    return _HARDWARE.search(fall.diagnosis.evidence) is not None


def _shrink(setting: str, choose: Callable[[Fall], Any]) -> Rung:
    return Rung(Action.SHRINK, choose, setting)


def _restart(choose: Callable[[Fall], Any], wait_s: float = 0.0) -> Rung:
    return Rung(Action.RESTART, choose, wait_s=wait_s)


def _elsewhere(choose: Callable[[Fall], Any] = _always) -> Rung:
    return Rung(Action.ELSEWHERE, choose)


_SEQUENCES = _shrink("max_num_seqs", _fewer_sequences)
_TOKENS = _shrink("max_num_batched_tokens", _fewer_tokens)
_LESS_CACHE = _shrink("gpu_memory_utilization", _smaller_share)

LADDER: Mapping[FailureClass, tuple[Rung, ...]] = {
    # vLLM turns them off by itself where only those that decode were asked for.
    FailureClass.NO_FULL_GRAPHS: (
        _shrink("full_cuda_graphs", _graphs_that_decode),
        _shrink("enforce_eager", _eager_at_start),
    ),
    # A shorter max_model_len costs nothing that was planned; the rest frees a GPU's memory for the cache.
    FailureClass.KV_CACHE_TOO_SMALL: (
        _shrink("max_model_len", _shorter),
        _shrink("gpu_memory_utilization", _largest_share),
        _restart(_once_beside_others),
        _shrink("enforce_eager", _eager),
        _shrink("max_num_seqs", _fewer_sequences_on_gpu),
        _TOKENS,
    ),
    # The sampler is tried with all sequences at start; then room for what vLLM does not count.
    FailureClass.GPU_MEMORY_AT_START: (
        _SEQUENCES,
        _LESS_CACHE,
        _TOKENS,
        _shrink("enforce_eager", _eager),
    ),
    # The cache is allocated already: what grew lies beside it.
    FailureClass.OUT_OF_MEMORY: (_LESS_CACHE, _SEQUENCES, _TOKENS),
    FailureClass.HOST_OUT_OF_MEMORY: (
        _shrink("cpu_kvcache_space_gib", _smaller_cpu_cache),
        _shrink("safetensors_load_strategy", _lazy_loading),
        _restart(_once_if_it_ran),  # another process may have been the one that was too large
    ),
    FailureClass.GPU_BUSY: (_restart(_once, MEMORY_FREED_S), _elsewhere()),
    FailureClass.PORT_IN_USE: (_restart(_always, PORT_FREED_S),),  # vLLM takes another port
    # Software has switches; what the driver calls the GPU's own fault has none.
    FailureClass.DEVICE_FAULT: (
        _shrink("fuse_allreduce_rms", _no_fusion),
        _shrink("disable_custom_all_reduce", _no_custom_all_reduce),
        _shrink("full_cuda_graphs", _graphs_that_decode_after_software),
        _shrink("enforce_eager", _eager_at_start),
        _restart(_once_unless_hardware),
        _elsewhere(),
    ),
    FailureClass.TOO_FEW_GPUS: (_elsewhere(_given_too_few),),
    FailureClass.DISK_FULL: (_elsewhere(_node_disk),),
    FailureClass.START_TIMEOUT: (_restart(_once), _elsewhere()),  # weights may be in the page cache by then
    FailureClass.PROGRESS_TIMEOUT: (
        _shrink("disable_custom_all_reduce", _no_custom_all_reduce),
        _restart(_twice),
        _elsewhere(),
    ),
    # One that never ran may be a configuration that no row knows.
    FailureClass.ENGINE_DEAD: (_restart(_has_run),),
}
