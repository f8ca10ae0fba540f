"""Which GPUs a task sees, and how its slots share them."""

import os
import shutil
from collections.abc import Mapping, Sequence

from launch.config.schema import EngineKind, RunConfig
from launch.errors import EngineError
from launch.worker.bounded import answer_of

SMI_TIMEOUT_S = 60


class TooFewGpusError(EngineError):
    """The task asked for enough GPUs, and the node shows fewer."""


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Ids of the visible GPUs: of CUDA_VISIBLE_DEVICES where it is set, else as nvidia-smi lists them.

    Ids are as found: indices, GPU- or MIG- UUIDs; they are never renumbered.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    return _smi_gpus() if listed is None else split_ids(listed)


def split_ids(listed: str) -> list[str]:
    """The ids in a value of CUDA_VISIBLE_DEVICES; as CUDA, it ends at the first that can be none."""
    ids = []
    for word in listed.split(","):
        device = word.strip()
        if not device.isdecimal() and not device.startswith(("GPU-", "MIG-")):
            break
        ids.append(device)
    return ids


def _smi_gpus() -> list[str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    listing = answer_of([command, "--query-gpu=index", "--format=csv,noheader"], SMI_TIMEOUT_S)
    return [] if listing is None else split_ids(",".join(listing.split()))


def share_gpus(config: RunConfig, visible: Sequence[str]) -> list[tuple[str, ...] | None]:
    """The GPUs of each slot; None is "all that are visible". EngineError when there are fewer than needed.

    A machine on which no GPU is visible runs its engine on the CPU.
    """
    num_slots, per_slot = config.num_engines, config.engine.tensor_parallel_size
    if not visible or config.gpus_per_task == 0 or config.model.engine is EngineKind.STUB:
        return [None] * num_slots
    if len(visible) < num_slots * per_slot:
        is_given_less = config.gpus_per_task >= num_slots * per_slot
        raise (TooFewGpusError if is_given_less else EngineError)(
            f"CUDA_VISIBLE_DEVICES: expected {num_slots * per_slot} GPUs ({num_slots} engines with"
            f" tensor_parallel_size {per_slot}), got {len(visible)}: {','.join(visible)}. Ask for more with"
            " resources.gpus_per_task, or lower engine.tensor_parallel_size or engine.engines_per_node."
        )
    if num_slots == 1:
        return [None]
    return [tuple(visible[slot * per_slot : (slot + 1) * per_slot]) for slot in range(num_slots)]
