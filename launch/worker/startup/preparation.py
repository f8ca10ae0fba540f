"""What an engine process does before it opens its engine, and when that is ready: caches, weights, ledger."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.config.schema import EngineKind, RunConfig, Scheduler
from launch.errors import StorageError
from launch.rundir.layout import RunPaths
from launch.rundir.records import RunRecord
from launch.worker.engines.vllm_calls import import_vllm
from launch.worker.startup.cache_layers import cache_layers
from launch.worker.startup.ledger import StartLedger
from launch.worker.startup.node_caches import NodeCaches, as_json, own_variables, shared_cache_dir
from launch.worker.startup.node_lock import WAIT_SHARE
from launch.worker.startup.staged_weights import wants_weights, weights_content
from launch.worker.startup.staging import GIB, StagingArea, StagingError
from launch.worker.startup.vllm_lines import read_lines

Tell = Callable[..., None]


@dataclass(slots=True)
class Preparation:
    """One engine start, prepared: where its weights lie, and what is still held for it.

    `tell` records an event and a line; `scratch` is the user's folder on the node, None: no caches of ours,
    no staging.
    """

    run: RunPaths
    record: RunRecord
    config: RunConfig
    scratch: Path | None
    tell: Tell
    ledger: StartLedger = field(default_factory=StartLedger)
    checkpoint: Path = field(init=False)
    caches: NodeCaches | None = None
    staged: dict[str, Any] | None = None
    _area: StagingArea | None = None

    def __post_init__(self) -> None:
        self.checkpoint = Path(self.record.checkpoint.path)

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's directory: beside the weights, unless it is elsewhere."""
        elsewhere = self.record.checkpoint.tokenizer
        return self.checkpoint if elsewhere is None else Path(elsewhere)

    def prepare(self) -> None:
        """Stages the weights, waits for and seeds the caches, sets the variables that point to them."""
        if self.scratch is None:
            return
        if wants_weights(self.config):
            with self.ledger.part("stage_weights"):
                self._stage_weights(self.scratch)
        if self.config.model.engine is EngineKind.VLLM:
            self._open_caches(self.scratch)

    def as_json(self, log: Path, phases_s: Mapping[str, float]) -> dict[str, Any]:
        """What engine.json says of this start; `phases_s` are what the engine measured of its opening."""
        for phase, part in (("import", "import"), ("load", "engine"), ("warm_up", "warm_up")):
            if phase in phases_s:
                self.ledger.add(part, phases_s[phase])
        if "first_token" in phases_s:
            self.ledger.add("first_token", phases_s["first_token"])
        lines = read_lines(_read_log(log))
        return {**self.ledger.as_json(lines), "caches": as_json(self.caches), "weights": self.staged}

    def ready(self, total_s: float) -> None:
        """The engine is ready, `total_s` after its process was made: others need not wait for it any more."""
        if self.caches is not None:
            self.caches.ready(total_s - self.ledger.parts["wait_for_caches"])

    def finish(self, hurry: threading.Event) -> None:
        """Waits for what is being written back, within a bound and until `hurry` is set."""
        if self.caches is not None:
            self.caches.finish(hurry)

    def close(self) -> None:
        """Gives back what the start held."""
        if self.caches is not None:
            self.caches.close()

    @property
    def _wait_s(self) -> float:
        """What is left for waiting, for weights and caches together; copying may take long by itself."""
        return max(0.0, WAIT_SHARE * self.config.engine.start_timeout_s - self.ledger.age_s)

    def _open_caches(self, scratch: Path) -> None:
        own = own_variables(scratch)
        layers = cache_layers(self.record, self.config.engine, own)
        if not layers:
            return
        on_slurm = self.config.resources.scheduler is Scheduler.SLURM
        shared = shared_cache_dir(self.config.resources.cache_dir, self.run.root, on_slurm=on_slurm)
        self.caches = NodeCaches(scratch, layers, shared, self.tell)
        with self.ledger.part("wait_for_caches"):
            self.caches.wait(self._wait_s, self._import_ahead)
        with self.ledger.part("seed_caches"):
            self.caches.seed()
        if self.caches.state != "unusable":
            os.environ.update(self.caches.variables)

    def _import_ahead(self) -> None:
        """Imports vLLM while another engine compiles; libraries may read their variables just then."""
        assert self.caches is not None
        os.environ.update(self.caches.variables)
        with self.ledger.part("import"):
            import_vllm()

    def _stage_weights(self, scratch: Path) -> None:
        budget = self.config.resources.stage_budget_gib
        self._area = StagingArea(scratch, None if budget is None else budget * GIB)
        try:
            content = weights_content(self.record)
            if content is None:
                return
            self.checkpoint, made = self._area.place(content, self._wait_s)
        except (StagingError, OSError) as error:
            self.staged = {"staged": False, "why": str(error)}
            self.tell("weights_not_staged", why=str(error))
            return
        self.staged = {"staged": True, "made": made, "bytes": content.num_bytes}
        self.tell("weights_staged", made=made)


@contextlib.contextmanager
def prepared(preparation: Preparation) -> Iterator[Preparation]:
    """A prepared start; whatever ends it, its locks are given back."""
    try:
        preparation.prepare()
        yield preparation
    finally:
        preparation.close()


def _read_log(log: Path) -> str:
    """The log so far; empty when it cannot be read, and then nothing vLLM said is explained."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except (OSError, StorageError):
        return ""
