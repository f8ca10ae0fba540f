"""The environment that a supervisor gives one slot's engine process."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.config.schema import EngineKind, RunConfig
from launch.config.wording import printable
from launch.errors import RunError
from launch.worker.commands import with_package
from launch.worker.engines.stub import START_VARIABLE, TASK_VARIABLE
from launch.worker.environment import EngineEnvironment, engine_environment, vllm_threads
from launch.worker.startup.bytecode import bytecode_folder
from launch.worker.startup.packed_environment import engines_differ


def slot_environment(
    config: RunConfig,
    task: int,
    gpus: tuple[str, ...] | None,
    visible: Sequence[str],
    base: Mapping[str, str] = os.environ,
    *,
    start: int = 0,
) -> EngineEnvironment:
    """The environment of an engine process with `gpus` of the `visible` ones (None: all of them).

    `start` counts the slot's engine processes, from 0.
    """
    variables = with_package(base)
    if (
        config.model.engine is EngineKind.STUB
    ):  # vLLM warns of variables with its prefix that it does not know
        variables |= {TASK_VARIABLE: str(task), START_VARIABLE: str(start)}
    # vLLM gives up a start by a limit of its own, 600 s; ours is the one that counts.
    variables.setdefault("VLLM_ENGINE_READY_TIMEOUT_S", str(config.engine.start_timeout_s))
    if config.engine.batch_invariant:
        variables["VLLM_BATCH_INVARIANT"] = "1"
    if visible:
        # nvidia-smi, NVML and Slurm count GPUs by bus id; CUDA by speed unless told.
        variables.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    num_cpus = max(1, len(os.sched_getaffinity(0)) // config.num_engines)
    num_threads = num_cpus if config.model.engine is EngineKind.TRANSFORMERS else vllm_threads(num_cpus)
    scratch = scratch_folder(config.resources.scratch_dir, base)
    return engine_environment(
        variables,
        slot_gpus=gpus,
        scratch=scratch,
        cpu_threads=None if visible else max(1, num_threads // config.engine.tensor_parallel_size),
        bytecode=None if engines_differ(config.resources) else bytecode_folder(base, scratch),
    )


def scratch_folder(scratch_dir: Path | None, base: Mapping[str, str]) -> Path:
    """The user's own folder in resources.scratch_dir, else $TMPDIR, else /tmp; the node's variables count.

    RunError when scratch_dir names a variable that the node does not set, and for a path that is not UTF-8.
    """
    if scratch_dir is None:
        parent = Path(base.get("TMPDIR") or "/tmp")
    else:
        parent = Path(os.path.expandvars(scratch_dir)).expanduser()
        if "$" in str(parent):
            raise RunError(
                f"resources.scratch_dir: {scratch_dir} names a variable that is not set on this node. Set it"
                " in resources.setup, or give a path."
            )
    try:
        str(parent).encode()
    except UnicodeEncodeError:
        raise RunError(
            f"{printable(str(parent))}: not UTF-8, and the files of a run hold no other names. Set"
            " resources.scratch_dir to another folder."
        ) from None
    return parent / f"vllm-launch-{os.getuid()}"
