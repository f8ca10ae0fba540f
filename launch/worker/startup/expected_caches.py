"""Whether the engines of a submission will find warm caches, and what such starts took: for the forecast.

Here the keys are those that the tasks will have. A login node lacks a part of them, the GPU's driver for one:
there a generation in the shared directory counts when all that is known of the key is the same. What cannot
be known is taken for cold, and a wrong answer makes the forecast wrong, no more.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from launch.config.gpus import may_be_of_type
from launch.config.schema import EngineConfig, RunConfig
from launch.errors import RunError
from launch.planning.forecast import COLD, Warmth
from launch.planning.rates import EarlierStarts
from launch.rundir.records import RunRecord
from launch.worker.devices import visible_gpus
from launch.worker.gpu_settings import device_name, measured_settings
from launch.worker.slot_environment import scratch_folder
from launch.worker.startup.boot_mark import is_of_earlier_boot
from launch.worker.startup.cache_layers import (
    CPU_DEVICE,
    FOLDERS,
    GRAPHS,
    KERNELS,
    CacheLayer,
    cache_layers,
    model_key,
    version_key,
)
from launch.worker.startup.cache_store import list_keys, store_of
from launch.worker.startup.cache_tree import CacheRefusedError
from launch.worker.startup.node_caches import WARM_MARK
from launch.worker.startup.packed_environment import engines_differ
from launch.worker.startup.start_records import earlier_starts


def expect_here(record: RunRecord, config: RunConfig, cache_dir: Path | None) -> Warmth:
    """For tasks of this machine: what lies in its scratch folder or, of use to a new one, in `cache_dir`."""
    if engines_differ(config.resources):
        return COLD
    try:
        scratch = scratch_folder(config.resources.scratch_dir, os.environ)
    except RunError:
        return COLD
    device = device_name(visible_gpus())
    names = [name for folders in FOLDERS.values() for name in folders]
    ours = dict.fromkeys((name for name in names if name not in os.environ), "")

    def layers_of(*, compiles: bool) -> list[CacheLayer]:
        return cache_layers(record, _engine(config.engine, device, compiles=compiles), ours)

    def is_warm(*needed: str, compiles: bool) -> bool:
        layers = layers_of(compiles=compiles)
        found = {layer.name for layer in layers if _is_here(layer, scratch, cache_dir)}
        return found.issuperset(needed)

    def starts(*, compiles: bool) -> EarlierStarts | None:
        graphs = [layer for layer in layers_of(compiles=compiles) if layer.name == GRAPHS]
        return earlier_starts(at for layer in graphs for at in _folders(layer, scratch, cache_dir))

    return Warmth(
        compiled=is_warm(KERNELS, GRAPHS, compiles=True),
        uncompiled=is_warm(KERNELS, compiles=False),
        compiled_starts=starts(compiles=True),
        uncompiled_starts=starts(compiles=False),
    )


def expect_on_nodes(record: RunRecord, config: RunConfig, cache_dir: Path | None) -> Warmth:
    """For tasks of a cluster; where no GPU type is asked for, caches of any GPU count."""
    if cache_dir is None or engines_differ(config.resources):
        return COLD
    versions = version_key()

    def fits(key: Mapping[str, str]) -> bool:
        is_same = versions == {name: key[name] for name in versions if name in key}
        return is_same and _is_for(key.get("device", ""), config)

    def is_of_model(key: Mapping[str, str], *, compiles: bool) -> bool:
        wanted = model_key(record, _engine(config.engine, _gpu(key.get("device")), compiles=compiles))
        return wanted.items() <= key.items()

    uncompiled = any(fits(key) for key in list_keys(cache_dir, KERNELS).values())
    graphs = {folder: key for folder, key in list_keys(cache_dir, GRAPHS).items() if fits(key)}
    of_compiled = [folder for folder, key in graphs.items() if is_of_model(key, compiles=True)]
    of_uncompiled = [folder for folder, key in graphs.items() if is_of_model(key, compiles=False)]
    return Warmth(
        compiled=uncompiled and bool(of_compiled),
        uncompiled=uncompiled,
        compiled_starts=earlier_starts(of_compiled),
        uncompiled_starts=earlier_starts(of_uncompiled),
    )


def _is_for(device: str, config: RunConfig) -> bool:
    """Whether tasks will run on such a device, by all that the settings say."""
    gpu, asked = _gpu(device), config.resources.gpu_type
    if gpu is None or config.gpus_per_task == 0:
        return gpu is None and config.gpus_per_task == 0
    return asked is None or may_be_of_type(gpu, asked)


def _gpu(device: str | None) -> str | None:
    """The name of a device of a key where it is a GPU."""
    return None if device is None or device.startswith(CPU_DEVICE) else device


def _engine(engine: EngineConfig, device: str | None, *, compiles: bool) -> EngineConfig:
    """The settings as a task has them: with what was measured for its GPU, and the planner's choice."""
    chosen = measured_settings(engine, device)
    if engine.compiles is None and device is not None:
        chosen["torch_compile"] = compiles
    return engine.model_copy(update=chosen)


def _folders(layer: CacheLayer, scratch: Path, cache_dir: Path | None) -> list[Path]:
    """Where a layer's engines leave what they took: here unless the next engine removes it, and shared."""
    caches = scratch / "caches"
    here = [] if is_of_earlier_boot(caches) else [caches / layer.folder]
    return here if cache_dir is None else [*here, store_of(cache_dir, layer.folder, layer.key).folder]


def _is_here(layer: CacheLayer, scratch: Path, cache_dir: Path | None) -> bool:
    caches = scratch / "caches"
    if (caches / layer.folder / WARM_MARK).exists() and not is_of_earlier_boot(caches):
        return True
    try:
        return cache_dir is not None and store_of(cache_dir, layer.folder, layer.key).newest() is not None
    except CacheRefusedError:
        return False
