"""An engine start that is prepared while others hold what it waits for."""

import time
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import EngineKind, RunConfig
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, load_submission, run_config
from launch.worker.startup import preparation
from launch.worker.startup.cache_layers import FOLDERS, cache_layers
from launch.worker.startup.cache_tree import MARK_PREFIX
from launch.worker.startup.ledger import StartLedger
from launch.worker.startup.node_lock import NodeLock
from launch.worker.startup.preparation import Preparation
from launch.worker.startup.staged_weights import weights_content
from tests.runs import make_run

START_TIMEOUT_S = 8


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A run whose weights are to be staged."""
    settings = {"resources.stage_weights": True, "data.limit_items": 3}
    return make_run(tmp_path, settings={**settings, "engine.start_timeout_s": START_TIMEOUT_S})


def vllm_config(run: RunPaths) -> RunConfig:
    """The run's settings, with the engine that has caches."""
    config = run_config(load_run(run), load_submission(run, 1))
    model = config.model.model_copy(update={"engine": EngineKind.VLLM})
    return config.model_copy(update={"model": model})


def hold(path: Path) -> NodeLock:
    """As another start of the node does that is not done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = NodeLock(path)
    assert lock.acquire()
    return lock


def test_a_start_that_waits_in_vain_has_most_of_its_time_out_left(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """For weights first, then for caches: what remains has to do for the start itself, or it is killed."""
    scratch, config, record = tmp_path / "scratch", vllm_config(run), load_run(run)
    own = {name: f"{scratch}/caches/{name}" for folders in FOLDERS.values() for name in folders}
    for name, place in own.items():
        monkeypatch.setenv(name, place)
    monkeypatch.setattr(preparation, "import_vllm", lambda: None)
    weights = weights_content(record)
    assert weights is not None
    compiling = cache_layers(record, config.engine, own)[-1].folder
    told: list[str] = []

    def tell(what: str, **_: Any) -> None:
        told.append(what)

    with (
        hold(scratch / "staged" / f"{weights.name}.lock"),
        hold(scratch / "caches" / f"{MARK_PREFIX}-{compiling}.lock"),
    ):
        start = Preparation(run, record, config, scratch, tell, StartLedger(lived_s=0.0))
        began = time.monotonic()
        start.prepare()
        waited_s = time.monotonic() - began
        start.close()
    assert told == ["weights_not_staged", "cache_wait_over"]
    assert 1 < waited_s < START_TIMEOUT_S / 2
    assert start.checkpoint == Path(record.checkpoint.path)
