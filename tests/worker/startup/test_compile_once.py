"""Two engines that start together on a node compile once, and one of another node not at all.

What the two took that compiled nothing, a third start beside them makes the forecast of the next submission.
Counted in vLLM's own logs. Real vLLM on a CPU, compiled by Inductor. tests/worker/startup/loadable.py mends a
fault of vLLM 0.32.0, without which no start on a CPU loads what another one saved.
"""

from pathlib import Path
from secrets import token_hex
from statistics import median
from typing import Any

import pytest

from launch.planning.rates import CPU_STARTUP_S, SUPERVISOR_S
from launch.rundir.create import RunRequest, create_run
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import load_run, load_submission, task_config
from launch.rundir.sharing import Place
from launch.rundir.submissions import Opened, open_submission
from launch.worker.startup.expected_caches import expect_on_nodes
from launch.worker.startup.start_records import leave_start, read_starts
from launch.worker.startup.vllm_lines import read_lines
from tests.models import make_tiny_llama
from tests.vllm_plugins import plugin_path
from tests.worker.build_run import build_run
from tests.worker.tasks import events, finish, start_task

pytestmark = [pytest.mark.engine, pytest.mark.process, pytest.mark.timeout(1800)]
TASK_S = 850
"""A start of a minute took over six on a machine of two cores with a load of 20."""


def run_on(node: Path, root: Path, model: Path, num_engines: int, **environment: str) -> RunPaths:
    """A run of `num_engines` engines in one task on a node whose scratch is `node`."""
    run = build_run(
        root,
        num_users=6,
        engine={
            "enforce_eager": False,
            "max_num_seqs": 8,
            "engines_per_node": num_engines,
            "max_model_len": 256,
        },
        model={"engine": "vllm", "dtype": "float32", "checkpoint": model},
        resources={"cache_dir": root.parent / "shared", "scratch_dir": node, "num_tasks": 1},
    )
    code, errors = finish(start_task(run, CUDA_VISIBLE_DEVICES="", **environment), TASK_S)
    assert (code, errors) == (0, "")
    assert survey_settled(run).num_done == 18  # and nothing of the warm-up
    return run


def started(run: RunPaths, slot: int) -> tuple[dict[str, Any], dict[str, int]]:
    """What engine.json says of a slot's start, and the lines counted in its log when it has ended."""
    paths = run.attempt(1, 0, 0).engine(slot, 0)
    engine = read_json(paths.engine_json)
    assert engine is not None
    return engine["startup"], read_lines(paths.log.read_text(encoding="utf-8", errors="replace")).counts


def forecast_of(run: RunPaths) -> Opened:
    """The plan of another submission of a run's items, which another run makes for the purpose."""
    config = task_config(load_run(run), load_submission(run, 1))
    root = run.root.parent.parent
    again = create_run(RunRequest(config, preset="test", runs_dir=root / "again", name=token_hex(4)))
    cache_dir = config.resources.cache_dir
    on_cpus = config.model_copy(
        update={"resources": config.resources.model_copy(update={"gpus_per_task": 0})}
    )
    warmth = expect_on_nodes(load_run(again), on_cpus, cache_dir)
    return open_submission(again, config, Place(1001, None, 0, warmth=warmth))


def test_engines_started_together_compile_once_and_another_node_not_at_all(tmp_path: Path):
    plugin = plugin_path(tmp_path / "plugin", "loadable", "tests.worker.startup.loadable:register")
    model = make_tiny_llama(tmp_path / "model")
    together = run_on(tmp_path / "node", tmp_path / "one", model, 2, PYTHONPATH=plugin)
    starts = [started(together, slot) for slot in (0, 1)]
    assert sorted(startup["caches"]["state"] for startup, _ in starts) == ["after_another", "compiles"]
    by_state = {startup["caches"]["state"]: counts for startup, counts in starts}
    assert by_state == {
        "compiles": {"compiled": 1, "loaded": 0, "not_loadable": 0},
        "after_another": {"compiled": 0, "loaded": 1, "not_loadable": 0},
    }
    first, second = sorted((startup for startup, _ in starts), key=lambda each: each["total_s"])
    own_s = {row["part"]: row["seconds"] for row in second["parts"] if row["within"] == "start"}
    assert own_s["wait_for_caches"] > 0 and own_s["import"] > 0
    waited_s = second["total_s"] - own_s["engine"] - own_s["warm_up"]
    assert waited_s < first["total_s"] + own_s["import"] / 2, "it imported vLLM while the other compiled"
    written = [each["outcome"] for each in events(together, "startup") if each["what"] == "cache_written"]
    assert sum(outcome.startswith("generation 1: ") for outcome in written) == 2  # of each layer one

    elsewhere = run_on(tmp_path / "another-node", tmp_path / "two", model, 1, PYTHONPATH=plugin)
    startup, counts = started(elsewhere, 0)
    assert startup["caches"]["state"] == "seeded"
    assert counts == {"compiled": 0, "loaded": 1, "not_loadable": 0}

    parts = {(row["within"], row["part"]): row["seconds"] for row in startup["parts"]}
    own = sum(seconds for (within, _), seconds in parts.items() if within == "start")
    assert own == pytest.approx(startup["total_s"], abs=0.02)
    names = ("python", "first_request", "wait_for_caches", "seed_caches", "import", "engine", "warm_up")
    assert all(("start", name) in parts for name in names)
    assert 0 < parts["warm_up", "first_token"] <= parts["start", "warm_up"]
    assert parts["engine", "init_engine"] < parts["start", "engine"]
    assert parts["init_engine", "compile_and_run"] <= parts["engine", "init_engine"] + 1
    assert ("engine", "unexplained") in parts

    took = [
        second["total_s"] - own_s["wait_for_caches"],
        startup["total_s"] - parts["start", "wait_for_caches"],
    ]
    (folder,) = (tmp_path / "shared").glob("user-*/graphs-*")
    assert sorted(read_starts(folder)) == pytest.approx(sorted(took), abs=0.01)
    leave_start(folder, "warm", max(took) + 1)
    leave_start(folder, "warm", max(took) + 2)
    rate = forecast_of(elsewhere).plan.rate
    assert rate.starts is not None and len(rate.starts.seconds) == 4
    said = [CPU_STARTUP_S, *(each + SUPERVISOR_S for each in (*took, max(took) + 1, max(took) + 2))]
    assert rate.warm_startup_s == pytest.approx(median(said), abs=0.01)
