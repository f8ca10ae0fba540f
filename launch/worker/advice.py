"""What to do about a failure: sentences with the exact flags for this case. Pure.

What the section `engine` holds may change on resume; what belongs to a run's identity needs a new one.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from launch.config.schema import RunConfig, Scheduler
from launch.model.fit_memory import MAX_UTILIZATION, advised_length
from launch.model.length_bounds import crossed
from launch.model.memory import LARGE_GPU_GIB, MAX_NUM_SEQS_LARGE, MAX_NUM_SEQS_SMALL
from launch.model.shape import ModelShape
from launch.worker.failures import Diagnosis, FailureClass
from launch.worker.watchdogs import PROGRESS_TIMEOUT_S

MAX_TP = 8
ROUNDING_GIB = 0.01
"""vLLM prints sizes in hundredths of a GiB: the true one may be this much larger."""
KEPT_FREE_GIB = 1.0
UTILIZATION_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """A failure and what is known around it; `shape` is None where config.json cannot be read.

    `is_beside` is a run of the single-node commands, which one types again instead of `resume`. For
    `length_bounds` see launch/model/length_bounds.py.
    """

    diagnosis: Diagnosis
    config: RunConfig
    shape: ModelShape | None
    log: str
    on_cpu: bool = False
    is_beside: bool = False
    length_bounds: tuple[int, ...] = ()

    @property
    def again(self) -> str:
        """How one goes on with this run."""
        return "type the same command again" if self.is_beside else "resume"

    @property
    def resume(self) -> str:
        """The same, before flags."""
        return f"{self.again} with"

    @property
    def other_run(self) -> str:
        """How one begins another run, for what belongs to the identity of this one."""
        return "choose another --output_dir" if self.is_beside else "submit a new run"

    @property
    def anew(self) -> str:
        """The same, before flags."""
        return f"{self.other_run} {'and add' if self.is_beside else 'with'}"

    @property
    def on_slurm(self) -> bool:
        """Whether other nodes and Slurm's limits are to be had."""
        return self.config.resources.scheduler is Scheduler.SLURM

    @property
    def numbers(self) -> Mapping[str, float]:
        """The numbers that the log told."""
        return self.diagnosis.numbers

    def larger_tp(self) -> int | None:
        """The next tensor parallel size that the model can be split over."""
        if self.shape is None or self.on_cpu:
            return None
        sizes = self.shape.tensor_parallel_sizes(MAX_TP)
        return next((size for size in sizes if size > self.config.engine.tensor_parallel_size), None)


def advise(case: Case) -> tuple[str, ...]:
    """What to try, best first; never empty."""
    return tuple(ADVICE[case.diagnosis.failure_class](case))


def numbered(advice: Sequence[str]) -> list[str]:
    """A line each, as people read it."""
    return [f"  {number}. {sentence}" for number, sentence in enumerate(advice, 1)]


def _unsupported_model(case: Case) -> Iterator[str]:
    yield f"{case.anew} --engine transformers: slower, and it knows what the transformers library knows"
    yield "install a newer vLLM, if its list of supported models has this one"


def _needs_remote_code(case: Case) -> Iterator[str]:
    checkpoint = case.config.model.checkpoint
    yield f"{case.anew} --trust-remote-code true, if you trust the Python files in {checkpoint}"


def _bad_tensor_parallel(case: Case) -> Iterator[str]:
    asked = case.config.engine.tensor_parallel_size
    sizes = case.shape.tensor_parallel_sizes(MAX_TP) if case.shape else ()
    fitting = [size for size in sizes if size < asked] or [1]
    yield f"{case.resume} --tensor-parallel-size {fitting[-1]}"
    for size in [size for size in sizes if size > asked][:1]:
        yield f"{case.resume} --tensor-parallel-size {size}, if the model needs more GPUs"


def _too_few_gpus(case: Case) -> Iterator[str]:
    gpus = int(case.numbers.get("gpus", 0))
    sizes = case.shape.tensor_parallel_sizes(gpus) if case.shape else ()
    if sizes:
        yield f"{case.resume} --tensor-parallel-size {sizes[-1]}, for the task sees only {gpus}"
    needed = case.config.engine.tensor_parallel_size * case.config.num_engines
    if case.on_slurm:
        yield f"{case.resume} --gpus-per-task {needed}, and see if the partition has nodes with that many"
    else:
        yield f"look at nvidia-smi and CUDA_VISIBLE_DEVICES: {needed} GPUs are asked for"


def _bad_max_model_len(case: Case) -> Iterator[str]:
    allowed = int(case.numbers["allowed"])
    if allowed >= _needed_tokens(case):
        yield f"{case.resume} --max-model-len {allowed}"
    elif allowed > case.config.sampling.max_tokens:
        yield f"{case.anew} --max-model-len {allowed}: {_cut(case, allowed)}"
    else:
        yield f"{case.anew} --max-model-len {allowed} --max-tokens {allowed // 2}"


def _bad_quantization(case: Case) -> Iterator[str]:
    if case.config.model.quantization is not None:
        yield f"{case.other_run} and leave --quantization out: vLLM takes what the checkpoint says"
    yield "give weights in a format that vLLM knows: compressed-tensors, awq, gptq or fp8"


def _bad_dtype(case: Case) -> Iterator[str]:
    yield f"{case.anew} --dtype float16"


def _bad_checkpoint(case: Case) -> Iterator[str]:
    checkpoint = case.config.model.checkpoint
    yield f"copy the checkpoint anew, all files from one place, and compare sizes: {checkpoint}"
    yield f"look at it with `vllm-launch check-model {checkpoint}`"


def _no_batch_invariance(case: Case) -> Iterator[str]:
    yield f"{case.resume} --batch-invariant false: a text may then depend on the batch it is generated in"


def _gpu_busy(case: Case) -> Iterator[str]:
    numbers = case.numbers
    if "free_gib" in numbers:
        free, total = numbers["free_gib"], numbers["total_gib"]
        share = math.floor(100 * (free - KEPT_FREE_GIB) / total) / 100
        if share > 0:
            yield f"{case.resume} --gpu-memory-utilization {share:.2f}: {free:g} of {total:g} GiB are free"
    yield "see with nvidia-smi there whose process it is; if it is a leftover of yours, end it"
    if case.on_slurm:
        yield "resume on another node: --set resources.extra_sbatch.exclude=NODE"


def _kv_cache_too_small(case: Case) -> Iterator[str]:
    yield from _shorter(case)
    needed, available = case.numbers.get("needed_gib"), case.numbers.get("available_gib")
    if case.on_cpu:
        missing = case.config.engine.cpu_kvcache_space_gib + 1 if needed is None else needed + ROUNDING_GIB
        yield f"{case.resume} --cpu-kvcache-space-gib {math.ceil(missing)}"
        return
    share = case.config.engine.gpu_memory_utilization
    if share < MAX_UTILIZATION:
        where = ""
        if needed is not None and available is not None:
            gpu = math.ceil((needed - available + ROUNDING_GIB) / (MAX_UTILIZATION - share))
            where = f", which is enough on GPUs of {gpu} GiB and more"
        yield f"{case.resume} --gpu-memory-utilization {MAX_UTILIZATION}{where}"
    yield from _more_gpus(case)
    if case.config.model.kv_cache_dtype == "auto":
        yield f"{case.anew} --kv-cache-dtype fp8: twice the tokens in that memory; outputs change a little"


def _shorter(case: Case) -> Iterator[str]:
    """A shorter max_model_len: on resume only if the planned prompts still fit beside max_tokens."""
    estimated = case.numbers.get("estimated")
    length = None if estimated is None else advised_length(int(estimated), case.config.sampling.max_tokens)
    if length is None:
        return
    bound = crossed(case.length_bounds, case.config.engine.max_model_len, length)
    if bound is not None:
        yield f"{case.anew} --max-model-len {length}: vLLM computes this model otherwise above {bound}"
    elif length >= _needed_tokens(case):
        yield f"{case.resume} --max-model-len {length}"
    else:
        yield f"{case.anew} --max-model-len {length}: {_cut(case, length)}"


def _needed_tokens(case: Case) -> int:
    return case.config.max_prompt_tokens + case.config.sampling.max_tokens


def _cut(case: Case, length: int) -> str:
    return f"prompts are then cut to {length - case.config.sampling.max_tokens} tokens"


def _gpu_memory_at_start(case: Case) -> Iterator[str]:
    yield from _fewer_sequences(case)
    lower = case.config.engine.gpu_memory_utilization - UTILIZATION_STEP
    if lower > 0:
        yield f"{case.resume} --gpu-memory-utilization {lower:.2f}: more is left for what vLLM does not count"
    yield from _more_gpus(case)
    if case.config.model.quantization is None:
        yield f"{case.anew} --quantization fp8: half the weights; it changes outputs a little"


def _fewer_sequences(case: Case) -> Iterator[str]:
    total = case.numbers.get("total_gib", LARGE_GPU_GIB)
    default = MAX_NUM_SEQS_LARGE if total >= LARGE_GPU_GIB else MAX_NUM_SEQS_SMALL
    now = int(case.numbers.get("num_seqs", case.config.engine.max_num_seqs or default))
    if now > 1:
        yield f"{case.resume} --max-num-seqs {now // 2} (it was {now})"


def _more_gpus(case: Case) -> Iterator[str]:
    size = case.larger_tp()
    if size is not None:
        yield f"{case.resume} --tensor-parallel-size {size}: each GPU holds less of model and KV cache"


def _disk_full(case: Case) -> Iterator[str]:
    yield "free space, or quota, where the log says; `df -h` and `df -i` on the node show what is full"
    yield f"{case.resume} --scratch-dir DIR on a disk with room: caches and temporary files go there"


def _host_out_of_memory(case: Case) -> Iterator[str]:
    cache = case.config.engine.cpu_kvcache_space_gib
    if case.on_cpu and cache > 1:
        room = max(1, min(int(case.numbers.get("free_gib", 1)), cache // 2))
        yield f"{case.resume} --cpu-kvcache-space-gib {room}"
    if case.on_slurm:
        yield f"{case.resume} --mem SIZE, more than the checkpoint's files, or --mem 0 for all of the node"
    else:
        yield "end what else takes this machine's memory (`free -h`): the checkpoint is read through it"
    if case.config.num_engines > 1:
        yield f"{case.resume} --engines-per-node 1: every engine reads the checkpoint through host memory"


def _port_in_use(case: Case) -> Iterator[str]:
    yield f"{case.again}: another port is tried"
    yield "leave VLLM_PORT and MASTER_PORT unset (resources.setup): a fixed one meets itself on a shared node"


def _device_fault(case: Case) -> Iterator[str]:
    if case.on_slurm:
        yield "resume on another node (--set resources.extra_sbatch.exclude=NODE), and tell the support"
    else:
        yield "leave that GPU out with CUDA_VISIBLE_DEVICES, and tell who looks after this machine"
    if case.config.engine.tensor_parallel_size > 1:
        yield f"{case.resume} --fuse-allreduce-rms false, which failed at start with vLLM 0.26.0"
        yield f"{case.resume} --disable-custom-all-reduce true"
    # Both are refused.
    compiles = " --torch-compile false" if case.config.engine.torch_compile else ""
    yield f"{case.resume} --enforce-eager true{compiles}, if it failed while CUDA graphs were captured"


def _start_timeout(case: Case) -> Iterator[str]:
    where = "GPFS, BeeGFS, CephFS or WekaFS"
    yield f"{case.resume} --safetensors-load-strategy prefetch, if weights lie on {where}"
    longer = 2 * case.config.engine.start_timeout_s
    yield f"{case.resume} --start-timeout-s {longer}, if the log shows that it was getting on"


def _progress_timeout(case: Case) -> Iterator[str]:
    yield f"read the end of {case.log}: what it did last stands there"
    yield f"{case.again}: what was generated is kept"
    if case.config.engine.tensor_parallel_size > 1:
        yield f"{case.resume} --disable-custom-all-reduce true"
    longer = 2 * (case.config.engine.progress_timeout_s or PROGRESS_TIMEOUT_S)
    yield f"{case.resume} --progress-timeout-s {longer}, if one step may take that long"


def _engine_dead(case: Case) -> Iterator[str]:
    yield f"read the first error in {case.log}: what killed the engine is said there, if it could say it"
    yield f"{case.again}: what was generated is kept; if it dies again, lower --max-num-seqs"


def _unknown(case: Case) -> Iterator[str]:
    yield f"read the first error in {case.log}"


ADVICE: Mapping[FailureClass, Callable[[Case], Iterator[str]]] = {
    FailureClass.UNSUPPORTED_MODEL: _unsupported_model,
    FailureClass.NEEDS_REMOTE_CODE: _needs_remote_code,
    FailureClass.BAD_TENSOR_PARALLEL: _bad_tensor_parallel,
    FailureClass.TOO_FEW_GPUS: _too_few_gpus,
    FailureClass.BAD_MAX_MODEL_LEN: _bad_max_model_len,
    FailureClass.BAD_QUANTIZATION: _bad_quantization,
    FailureClass.BAD_DTYPE: _bad_dtype,
    FailureClass.BAD_CHECKPOINT: _bad_checkpoint,
    FailureClass.NO_BATCH_INVARIANCE: _no_batch_invariance,
    FailureClass.GPU_BUSY: _gpu_busy,
    FailureClass.KV_CACHE_TOO_SMALL: _kv_cache_too_small,
    FailureClass.GPU_MEMORY_AT_START: _gpu_memory_at_start,
    FailureClass.OUT_OF_MEMORY: _gpu_memory_at_start,
    FailureClass.DISK_FULL: _disk_full,
    FailureClass.HOST_OUT_OF_MEMORY: _host_out_of_memory,
    FailureClass.PORT_IN_USE: _port_in_use,
    FailureClass.DEVICE_FAULT: _device_fault,
    FailureClass.START_TIMEOUT: _start_timeout,
    FailureClass.PROGRESS_TIMEOUT: _progress_timeout,
    FailureClass.ENGINE_DEAD: _engine_dead,
    FailureClass.UNKNOWN: _unknown,
}
