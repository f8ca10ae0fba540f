"""Advice on the node and the engine's processes on it: what is full, taken, broken, too slow or dead."""

from collections.abc import Iterator

from launch.worker.advice.case import Case
from launch.worker.watchdogs import PROGRESS_TIMEOUT_S


def disk_full(case: Case) -> Iterator[str]:
    """Room where it is missing, or another disk."""
    yield "free space, or quota, where the log says; `df -h` and `df -i` on the node show what is full"
    yield f"{case.resume} --scratch-dir DIR on a disk with room: caches and temporary files go there"


def port_in_use(case: Case) -> Iterator[str]:
    """Another port, which is taken unless one is fixed."""
    yield f"{case.again}: another port is tried"
    yield "leave VLLM_PORT and MASTER_PORT unset (resources.setup): a fixed one meets itself on a shared node"


def device_fault(case: Case) -> Iterator[str]:
    """Another GPU, or without what is known to fail."""
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


def start_timeout(case: Case) -> Iterator[str]:
    """Weights read faster, or more time."""
    where = "GPFS, BeeGFS, CephFS or WekaFS"
    yield f"{case.resume} --safetensors-load-strategy prefetch, if weights lie on {where}"
    longer = 2 * case.config.engine.start_timeout_s
    yield f"{case.resume} --start-timeout-s {longer}, if the log shows that it was getting on"


def progress_timeout(case: Case) -> Iterator[str]:
    """Where to read what it did, without what is known to hang, or more time."""
    yield f"read the end of {case.log}: what it did last stands there"
    yield f"{case.again}: what was generated is kept"
    if case.config.engine.tensor_parallel_size > 1:
        yield f"{case.resume} --disable-custom-all-reduce true"
    longer = 2 * (case.config.engine.progress_timeout_s or PROGRESS_TIMEOUT_S)
    yield f"{case.resume} --progress-timeout-s {longer}, if one step may take that long"


def engine_dead(case: Case) -> Iterator[str]:
    """Where to read what killed it, and that nothing is lost."""
    yield f"read the first error in {case.log}: what killed the engine is said there, if it could say it"
    yield f"{case.again}: what was generated is kept; if it dies again, lower --max-num-seqs"


def unknown(case: Case) -> Iterator[str]:
    """Where to read on."""
    yield f"read the first error in {case.log}"
