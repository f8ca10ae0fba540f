"""The one table from the text of an engine's log to a failure class (launch/worker/failures.py reads it).

Rows stand in the order in which they count. Texts are vLLM 0.32's and 0.26's; tests/worker/failure_logs has a
log per row, recorded or quoted.
"""

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """What went wrong, as far as it decides what to do about it."""

    UNSUPPORTED_MODEL = "unsupported_model"
    NEEDS_REMOTE_CODE = "needs_remote_code"
    BAD_TENSOR_PARALLEL = "bad_tensor_parallel"
    TOO_FEW_GPUS = "too_few_gpus"
    BAD_MAX_MODEL_LEN = "bad_max_model_len"
    BAD_QUANTIZATION = "bad_quantization"
    BAD_DTYPE = "bad_dtype"
    BAD_CHECKPOINT = "bad_checkpoint"
    NO_BATCH_INVARIANCE = "no_batch_invariance"
    NO_FULL_GRAPHS = "no_full_graphs"
    GPU_BUSY = "gpu_busy"
    KV_CACHE_TOO_SMALL = "kv_cache_too_small"
    GPU_MEMORY_AT_START = "gpu_memory_at_start"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    PORT_IN_USE = "port_in_use"
    DEVICE_FAULT = "device_fault"
    START_TIMEOUT = "start_timeout"
    PROGRESS_TIMEOUT = "progress_timeout"
    ENGINE_DEAD = "engine_dead"
    UNKNOWN = "unknown"


class Retry(StrEnum):
    """Whether trying again can help: never, with other settings, as it was, or on another node."""

    NEVER = "never"
    CHANGED = "changed"
    AGAIN = "again"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A class and what tells it: any of `patterns` (named groups are numbers), if `also` is found too."""

    failure_class: FailureClass
    meaning: str
    retry: Retry
    patterns: tuple[str, ...]
    also: str | None = None


_GIB = r"[\d.]+"
_CUDA_MEMORY = (
    r"CUDA out of memory\. Tried to allocate.{0,80}?GPU \d+ has a total capacity of"
    r" (?P<total_gib>[\d.]+) GiB",
    r"CUDA out of memory",
    r"CUDA error: out of memory",
    r"torch\.OutOfMemoryError",
    r"HIP out of memory",
)

TABLE: tuple[FailureRow, ...] = (
    FailureRow(
        FailureClass.NEEDS_REMOTE_CODE,
        "the checkpoint brings Python code of its own, which runs only on request",
        Retry.NEVER,
        (r"contains custom code which must be executed", r"requires you to execute the configuration file"),
    ),
    FailureRow(
        FailureClass.UNSUPPORTED_MODEL,
        "vLLM does not support this model",
        Retry.NEVER,
        (
            r"Model architectures .{0,200}? are not supported for now",
            r"Model architectures .{0,200}? failed to be inspected",
            r"Model architecture \S+ was supported in vLLM until",
            r"Model architecture \S+ is not supported in-tree anymore",
            r"Transformers does not recognize this architecture",
            r"has no vLLM implementation and the Transformers implementation is not compatible",
        ),
    ),
    FailureRow(
        FailureClass.BAD_TENSOR_PARALLEL,
        "the model cannot be split over so many GPUs",
        Retry.NEVER,
        (
            r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size"
            r" \((?P<size>\d+)\)",
            r"AssertionError: \d+ is not divisible by (?P<size>\d+)",
            r"The input size is not aligned with the quantized weight shape",
        ),
    ),
    FailureRow(
        FailureClass.TOO_FEW_GPUS,
        "the task sees fewer GPUs than one engine needs",
        Retry.NEVER,
        (
            r"World size \((?P<size>\d+)\) is larger than the number of available GPUs \((?P<gpus>\d+)\)",
            r"No CUDA GPUs are available",
        ),
    ),
    FailureRow(
        FailureClass.BAD_MAX_MODEL_LEN,
        "max_model_len is longer than the model allows",
        Retry.NEVER,
        (
            r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len"
            r" \(\w+=(?P<allowed>\d+)",
        ),
    ),
    FailureRow(
        FailureClass.BAD_QUANTIZATION,
        "vLLM cannot use this quantisation",
        Retry.NEVER,
        (
            r"Unknown quantization method: \S+",
            r"Quantization method specified in the model config .{0,80} does not match",
            r"Cannot find the config file for \S+",
            r"[Tt]he quantization method .{0,80} is (?:not supported for the current GPU|deprecated)",
        ),
    ),
    FailureRow(
        FailureClass.BAD_DTYPE,
        "this GPU does not compute in the checkpoint's dtype",
        Retry.NEVER,
        (r"Bfloat16 is only supported on GPUs",),
    ),
    FailureRow(
        FailureClass.BAD_CHECKPOINT,
        "the checkpoint is damaged, or its files do not belong together",
        Retry.NEVER,
        (
            r"StrictDataclass\w*Error",
            r"There is no module or parameter named",
            r"Following weights were not initialized from checkpoint",
            r"Cannot find any model weights with",
            r"SafetensorError",
            r"Repo id must be in the form",
            r"Error\(s\) in loading state_dict",
            r"Couldn't instantiate the backend tokenizer",
            r"Can't load (?:tokenizer|the configuration)",
        ),
    ),
    FailureRow(
        FailureClass.NO_BATCH_INVARIANCE,
        "vLLM has no batch-invariant kernels for this model or its attention",
        Retry.NEVER,
        (
            r"VLLM batch_invariant mode is not supported for \S+",
            r"No valid attention backend found for .{0,4000}?batch invariance not supported",
            r"Error: .{0,1000}?kernel does not support batch invariance",
        ),
    ),
    FailureRow(
        FailureClass.NO_FULL_GRAPHS,
        "the attention kernels of this model cannot be captured in CUDA graphs",
        Retry.CHANGED,
        # Without the second half it is a warning: vLLM captures what it can.
        (r"CUDAGraphMode\.\w+ is not supported with .{0,200}?; please try cudagraph_mode=PIECEWISE",),
    ),
    FailureRow(
        FailureClass.GPU_BUSY,
        "another process holds memory of the GPU",
        Retry.AGAIN,
        (
            rf"Free memory on device \S+ \((?P<free_gib>{_GIB})/(?P<total_gib>{_GIB}) GiB\) on startup is"
            rf" less than desired GPU memory utilization \((?P<utilization>{_GIB})",
            r"CUDA-capable device\(s\) is/are busy or unavailable",
        ),
    ),
    FailureRow(
        FailureClass.KV_CACHE_TOO_SMALL,
        "the KV cache does not hold one sequence of max_model_len",
        Retry.CHANGED,
        (
            rf"max seq len \((?P<max_model_len>\d+)\), \((?P<needed_gib>{_GIB}) GiB KV cache is needed, which"
            rf" is larger than the available KV cache memory \((?P<available_gib>{_GIB}) GiB\)"
            r"(?:.{0,80}?estimated maximum model length is (?P<estimated>\d+))?",
            r"No available memory for the cache blocks",
            r"max seq len \((?P<max_model_len>\d+)\) is larger than the maximum number of tokens that can be"
            r" stored in KV cache \((?P<estimated>\d+)\)",
        ),
    ),
    FailureRow(
        FailureClass.GPU_MEMORY_AT_START,
        "the GPU's memory ran out while the engine started",
        Retry.CHANGED,
        (
            r"out of memory occurred when warming up sampler with (?P<num_seqs>\d+) dummy requests",
            *_CUDA_MEMORY,
        ),
        also=r"(?:EngineCore|WorkerProc) failed to start|Engine core initialization failed",
    ),
    FailureRow(
        FailureClass.OUT_OF_MEMORY,
        "the GPU's memory ran out while generating",
        Retry.CHANGED,
        _CUDA_MEMORY,
    ),
    FailureRow(
        FailureClass.DISK_FULL,
        "a disk or quota is full",
        Retry.CHANGED,
        (r"No space left on device", r"Disk quota exceeded"),
    ),
    FailureRow(
        FailureClass.HOST_OUT_OF_MEMORY,
        "the host's memory ran out",
        Retry.CHANGED,
        (
            r"Available memory on node \d+ \((?P<free_gib>[\d.]+)/[\d.]+ GiB\) on .{0,40}? is less than",
            r"oom[-_]kill|Out of memory: Killed process|Detected \d+ oom",
            r"Cannot allocate memory",
            r"can't allocate memory: you tried to allocate",
            r"Failed core proc\(s\): \{[^}]*: -9\b",
            # Not at a failed start, where we kill workers that hear no TERM (engines/shield.py).
            r"Worker proc \S+ died unexpectedly \(exit code: -9\)"
            r"(?=(?s:.*)EngineCore encountered a fatal error)",
        ),
    ),
    FailureRow(
        FailureClass.PORT_IN_USE,
        "a network port is taken by another process",
        Retry.AGAIN,
        (r"EADDRINUSE", r"Address already in use(?!\. Retrying)"),
    ),
    FailureRow(
        FailureClass.DEVICE_FAULT,
        "a GPU, its driver or the link between GPUs failed",
        Retry.ELSEWHERE,
        (
            r"\bNVRM: Xid\b|\bXid \(",
            r"uncorrectable ECC error",
            r"unspecified launch failure",
            r"CUDA error: (?!out of memory)",
            r"CUBLAS_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED)",
            r"NCCL error|ncclUnhandledCudaError|ncclSystemError|ncclInternalError|ncclRemoteError",
            r"Unable to determine the device handle|GPU is lost|fallen off the bus",
        ),
    ),
    FailureRow(
        FailureClass.START_TIMEOUT,
        "the engine did not start in time",
        Retry.AGAIN,
        (
            r"Timed out waiting for engine core processes to start",
            r"the engine did not start within \d+ s",  # our own watchdog
        ),
    ),
    FailureRow(
        FailureClass.PROGRESS_TIMEOUT,
        "the engine stood still",
        Retry.AGAIN,
        (r"the engine (made no step|settled no item) for \d+ s",),  # our own watchdog
    ),
    FailureRow(
        FailureClass.ENGINE_DEAD,
        "the engine's processes died",
        Retry.AGAIN,
        (
            r"RPC call to \w+ timed out",
            r"EngineDeadError",
            r"EngineCore encountered an issue",
            r"process \d+ of the engine died",
            r"Engine core initialization failed",
        ),
    ),
)
