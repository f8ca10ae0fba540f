"""The table from failure class to advice."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from launch.worker.advice import configuration, max_model_len, memory, node
from launch.worker.advice.case import Case
from launch.worker.failures import FailureClass

ADVICE: Mapping[FailureClass, Callable[[Case], Iterator[str]]] = {
    FailureClass.UNSUPPORTED_MODEL: configuration.unsupported_model,
    FailureClass.NEEDS_REMOTE_CODE: configuration.needs_remote_code,
    FailureClass.BAD_TENSOR_PARALLEL: configuration.bad_tensor_parallel,
    FailureClass.TOO_FEW_GPUS: configuration.too_few_gpus,
    FailureClass.BAD_MAX_MODEL_LEN: max_model_len.bad_max_model_len,
    FailureClass.BAD_QUANTIZATION: configuration.bad_quantization,
    FailureClass.BAD_DTYPE: configuration.bad_dtype,
    FailureClass.BAD_CHECKPOINT: configuration.bad_checkpoint,
    FailureClass.NO_BATCH_INVARIANCE: configuration.no_batch_invariance,
    FailureClass.NO_FULL_GRAPHS: configuration.no_full_graphs,
    FailureClass.GPU_BUSY: memory.gpu_busy,
    FailureClass.KV_CACHE_TOO_SMALL: memory.kv_cache_too_small,
    FailureClass.GPU_MEMORY_AT_START: memory.gpu_out_of_memory,
    FailureClass.OUT_OF_MEMORY: memory.gpu_out_of_memory,
    FailureClass.DISK_FULL: node.disk_full,
    FailureClass.HOST_OUT_OF_MEMORY: memory.host_out_of_memory,
    FailureClass.PORT_IN_USE: node.port_in_use,
    FailureClass.DEVICE_FAULT: node.device_fault,
    FailureClass.START_TIMEOUT: node.start_timeout,
    FailureClass.PROGRESS_TIMEOUT: node.progress_timeout,
    FailureClass.ENGINE_DEAD: node.engine_dead,
    FailureClass.UNKNOWN: node.unknown,
}


def advise(case: Case) -> tuple[str, ...]:
    """What to try, best first; never empty."""
    return tuple(ADVICE[case.diagnosis.failure_class](case))


def numbered(advice: Sequence[str]) -> list[str]:
    """A line each, as people read it."""
    return [f"  {number}. {sentence}" for number, sentence in enumerate(advice, 1)]
