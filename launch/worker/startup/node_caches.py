"""The caches of one engine start on its node: seeded, compiled by one engine at a time, written back.

A layer's directory on the node is <scratch>/caches/<layer>-<key>/. The first engine that finds the node cold
takes a lock, seeds what the shared directory has and, if that is not all, holds the lock until it is ready;
others wait for that long, within a bound, and find its kernels. Whatever goes wrong here costs a compilation
and never a start: it is told, and the engine goes on.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from launch.errors import StorageError
from launch.rundir.journal import write_json
from launch.rundir.process_mark import mark_process
from launch.worker.startup.boot_mark import forget_earlier_boot
from launch.worker.startup.cache_layers import GRAPHS, KERNELS, VLLM_CACHE, CacheLayer
from launch.worker.startup.cache_store import CacheStore, store_of
from launch.worker.startup.cache_tree import MARK_PREFIX
from launch.worker.startup.node_lock import LOOK_AGAIN_S, NodeLock
from launch.worker.startup.start_records import leave_start

WARM_MARK = f"{MARK_PREFIX}-warm"
"""In a layer's directory on the node: an engine has become ready with it, or it was seeded whole."""
WRITE_BACK_S = 60.0
"""How long an engine that has nothing left to do waits for its kernels to be written back."""

MODEL_FACTS = "modelinfos"
"""In VLLM_CACHE_ROOT: what vLLM found out about classes of models, each in a process that imports all of vLLM
(9 s of CPU on a small machine). It depends on vLLM alone, so all models of a node share it."""

Tell = Callable[..., None]


class NodeCaches:
    """The caches of one engine start. `tell(what, **details)` records an event.

    `state` says what became of it: "warm" (the node had them), "seeded", "after_another" (another engine
    compiled them while this one waited), "compiles", "unlocked" (it waited in vain), or "unusable" (no
    directory of ours, or no locks: the libraries' variables are left as they were, unless vLLM was imported
    while it waited).
    """

    def __init__(
        self, scratch: Path, layers: Sequence[CacheLayer], cache_dir: Path | None, tell: Tell
    ) -> None:
        self._root = scratch / "caches"
        self._layers = layers
        self._stores = [
            (layer, store_of(cache_dir, layer.folder, layer.key)) for layer in layers if cache_dir is not None
        ]
        self._tell = tell
        self._lock = NodeLock(self._root / f"{MARK_PREFIX}-{layers[-1].folder}.lock")
        self._writer: threading.Thread | None = None
        self.state = "cold"
        self.written: dict[str, str] = {}

    @property
    def variables(self) -> dict[str, str]:
        """The environment that points the libraries to the layers' directories."""
        return {
            variable: str(self._directory(layer) / folder)
            for layer in self._layers
            for variable, folder in layer.folders.items()
        }

    def wait(self, wait_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Makes the directories, and returns when the node is warm or this engine is the one to compile.

        `meanwhile` is done first where there is another to wait for.
        """
        if self._usable(self._begin):
            meanwhile()
            self._usable(partial(self._wait_for_another, wait_s))

    def seed(self) -> None:
        """Takes what the shared directory has, where this engine would compile; all of it: none waits."""
        if self.state != "compiles" or not self._stores:
            return
        seeded = [self._seed(layer, store) or not layer.is_awaited for layer, store in self._stores]
        if all(seeded):
            self.state = "seeded"
            self._set_warm()
            self._lock.release()

    def ready(self, start_s: float | None = None) -> None:
        """The engine is ready: lets the others go on, and begins to write back what is new.

        `start_s`: what the start took, waiting for others left out; kept for forecasts where it is known.
        """
        if self._lock.is_held:
            self._set_warm()
            self._lock.release()
        if self.state != "unusable":
            self._writer = threading.Thread(
                target=self._write, args=(start_s,), name="cache-writer", daemon=True
            )
            self._writer.start()

    def finish(self, hurry: threading.Event) -> None:
        """Waits for what is being written, within a bound and until `hurry`; what is cut is not there."""
        deadline = time.monotonic() + WRITE_BACK_S
        while self._writer is not None and self._writer.is_alive():
            if hurry.is_set() or time.monotonic() > deadline:
                return
            self._writer.join(LOOK_AGAIN_S)

    def close(self) -> None:
        """Gives the lock back; an engine that never became ready leaves the compiling to the next."""
        self._lock.release()

    def _usable(self, act: Callable[[], bool]) -> bool:
        """What `act` says; False where directories or locks cannot be had, which is told."""
        try:
            return act()
        except (StorageError, OSError) as error:
            self.state = "unusable"
            self._tell("cache_unusable", why=str(error))
            return False

    def _begin(self) -> bool:
        """Makes the directories; whether another engine compiles what this one lacks."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if forget_earlier_boot(self._root):
            self._tell("cache_removed", why="this machine was started anew since: what it holds may be torn")
        for layer in self._layers:  # a parent is made with the user's umask, which may let others write
            self._directory(layer).mkdir(mode=0o700, exist_ok=True)
        for place in self.variables.values():
            Path(place).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._share_model_facts()
        if self._is_warm():
            self.state = "warm"
            return False
        if not self._lock.acquire():
            return True
        self._take_turn()
        return False

    def _wait_for_another(self, wait_s: float) -> bool:
        if self._lock.acquire(wait_s):
            self._take_turn()
            return True
        self.state = "unlocked"
        self._tell("cache_wait_over", waited_s=round(wait_s))
        return False

    def _take_turn(self) -> None:
        """With the lock: nothing is left to compile, or this engine is the one to do it."""
        if self._is_warm():
            self.state = "after_another"
            self._lock.release()
        else:
            self.state = "compiles"

    def _directory(self, layer: CacheLayer) -> Path:
        return self._root / layer.folder

    def _share_model_facts(self) -> None:
        """A link from vLLM's cache, which is the model's own, into the kernels', which are not."""
        by_name = {layer.name: self._directory(layer) for layer in self._layers}
        if KERNELS not in by_name or VLLM_CACHE not in self.variables:
            return
        shared = by_name[KERNELS] / MODEL_FACTS
        link = Path(self.variables[VLLM_CACHE]) / MODEL_FACTS
        shared.mkdir(mode=0o700, exist_ok=True)
        # Another engine may have made it, or vLLM a folder before there was this.
        with contextlib.suppress(FileExistsError):
            link.symlink_to(os.path.relpath(shared, link.parent), target_is_directory=True)

    def _is_warm(self) -> bool:
        return all(
            (self._directory(layer) / WARM_MARK).exists() for layer in self._layers if layer.is_awaited
        )

    def _set_warm(self) -> None:
        for layer in self._layers:
            try:
                write_json(self._directory(layer) / WARM_MARK, mark_process().as_json())
            except (OSError, StorageError) as error:  # the next engine looks again
                self._tell("cache_unusable", why=str(error))

    def _seed(self, layer: CacheLayer, store: CacheStore) -> bool:
        """Whether it has all that the newest generation has; what stands in for that one may lack some."""
        try:
            generation = store.seed(self._directory(layer))
        except (StorageError, OSError) as error:
            self._tell("cache_refused", layer=layer.name, why=str(error))
            return False
        for why in store.refused.values():
            self._tell("cache_refused", layer=layer.name, why=why)
        if generation is None:
            return False
        self._tell("cache_seeded", layer=layer.name, generation=generation.number)
        return all(refused < generation.number for refused in store.refused)

    def _write(self, start_s: float | None) -> None:
        self._write_back()
        if start_s is not None:
            self._leave_start(start_s)

    def _leave_start(self, start_s: float) -> None:
        """Where submit looks: in the shared directory if there is one, else on this node."""
        folders = {layer.name: self._directory(layer) for layer in self._layers}
        folders |= {layer.name: store.folder for layer, store in self._stores}
        if GRAPHS not in folders:
            return
        try:
            leave_start(folders[GRAPHS], self.state, start_s)
        except (OSError, StorageError) as error:
            self._tell("start_not_recorded", why=str(error))

    def _write_back(self) -> None:
        for layer, store in self._stores:
            try:
                self.written[layer.name] = store.write_back(self._directory(layer))
            except (StorageError, OSError) as error:
                self.written[layer.name] = f"not written: {error}"
            self._tell("cache_written", layer=layer.name, outcome=self.written[layer.name])


def own_variables(scratch: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The cache variables that lie in our scratch folder: the user set none of them."""
    ours = str(scratch / "caches") + os.sep
    return {name: value for name, value in environment.items() if value.startswith(ours)}


def shared_cache_dir(configured: Path | None, run: Path, *, on_slurm: bool) -> Path | None:
    """resources.cache_dir, variables of the node in it replaced; None for none.

    Unless set: with Slurm outputs/caches for outputs/runs/<run>, and `caches` beside a run that lies
    elsewhere; on one machine none, for its scratch folder keeps them.
    """
    if configured is None:
        runs = run.parent
        default = runs.with_name("caches") if runs.name == "runs" else runs / "caches"
        return default if on_slurm else None
    if str(configured) == "none":
        return None
    return Path(os.path.expandvars(configured)).expanduser()


def as_json(caches: NodeCaches | None) -> dict[str, Any] | None:
    """What engine.json says of an engine's caches."""
    return None if caches is None else {"state": caches.state, "variables": caches.variables}
