"""Advice on memory that is short, a GPU's or the host's."""

import math
from collections.abc import Iterator

from launch.model.fit_memory import MAX_UTILIZATION
from launch.model.memory import LARGE_GPU_GIB, MAX_NUM_SEQS_LARGE, MAX_NUM_SEQS_SMALL
from launch.worker.advice.case import Case
from launch.worker.advice.max_model_len import shorter

ROUNDING_GIB = 0.01
"""vLLM prints sizes in hundredths of a GiB: the true one may be this much larger."""
KEPT_FREE_GIB = 1.0
UTILIZATION_STEP = 0.05


def gpu_busy(case: Case) -> Iterator[str]:
    """What the others on the GPU leave, or a GPU without them."""
    numbers = case.numbers
    if "free_gib" in numbers:
        free, total = numbers["free_gib"], numbers["total_gib"]
        share = math.floor(100 * (free - KEPT_FREE_GIB) / total) / 100
        if share > 0:
            yield f"{case.resume} --gpu-memory-utilization {share:.2f}: {free:g} of {total:g} GiB are free"
    yield "see with nvidia-smi there whose process it is; if it is a leftover of yours, end it"
    if case.on_slurm:
        yield "resume on another node: --set resources.extra_sbatch.exclude=NODE"


def kv_cache_too_small(case: Case) -> Iterator[str]:
    """Shorter sequences, or more room for them."""
    yield from shorter(case)
    if case.on_cpu:
        yield _larger_cpu_cache(case)
        return
    yield from _largest_share(case)
    yield from _more_gpus(case)
    if case.config.model.kv_cache_dtype == "auto":
        yield f"{case.anew} --kv-cache-dtype fp8: twice the tokens in that memory; outputs change a little"


def _larger_cpu_cache(case: Case) -> str:
    needed = case.numbers.get("needed_gib")
    missing = case.config.engine.cpu_kvcache_space_gib + 1 if needed is None else needed + ROUNDING_GIB
    return f"{case.resume} --cpu-kvcache-space-gib {math.ceil(missing)}"


def _largest_share(case: Case) -> Iterator[str]:
    """All that one may take of a GPU, and how large that GPU has to be where vLLM told what is missing."""
    share = case.config.engine.gpu_memory_utilization
    if share >= MAX_UTILIZATION:
        return
    needed, available = case.numbers.get("needed_gib"), case.numbers.get("available_gib")
    where = ""
    if needed is not None and available is not None:
        gpu = math.ceil((needed - available + ROUNDING_GIB) / (MAX_UTILIZATION - share))
        where = f", which is enough on GPUs of {gpu} GiB and more"
    yield f"{case.resume} --gpu-memory-utilization {MAX_UTILIZATION}{where}"


def gpu_out_of_memory(case: Case) -> Iterator[str]:
    """Less at a time, more left beside the KV cache, or smaller weights."""
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


def host_out_of_memory(case: Case) -> Iterator[str]:
    """A smaller cache in it, more of it, or fewer engines that read through it."""
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
