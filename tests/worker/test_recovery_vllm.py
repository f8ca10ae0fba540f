"""The ladder and the watchdogs under real vLLM on a CPU: a task that comes back by itself."""

from pathlib import Path

import pytest

from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.worker.engines.shield import is_alive
from tests.models import make_tiny_llama
from tests.vllm_plugins import plugin_path
from tests.worker import core_signals
from tests.worker.build_run import build_run
from tests.worker.cores import wait_for_core
from tests.worker.tasks import events, finish, num_committed, processes_with, start_task

pytestmark = [pytest.mark.engine, pytest.mark.process, pytest.mark.timeout(500)]
TASK_S = 400
CPU = {"CUDA_VISIBLE_DEVICES": ""}
VLLM = {"engine": "vllm", "dtype": "float32"}
QUICK = {"enforce_eager": True, "max_num_seqs": 8}


def steps(run: RunPaths) -> list[tuple[str, str]]:
    """Class and action of every step."""
    return [(each["class"], each["action"]) for each in events(run, "ladder")]


def test_a_kv_cache_too_small_gets_a_shorter_max_model_len(tmp_path: Path):
    """Prompts of nearly 65,536 tokens were allowed; what is left was counted, and is short."""
    # 16 layers of 8 KV heads in float32: 32 KiB a token, so the 1 GiB of a CPU holds half of 65,536 tokens.
    shape = {"num_layers": 16, "num_kv_heads": 8, "max_position_embeddings": 131072}
    model = make_tiny_llama(tmp_path / "m", **shape)
    run = build_run(
        tmp_path,
        num_users=1,
        engine={**QUICK, "max_model_len": 65536},
        model={**VLLM, "checkpoint": model},
    )
    code, errors = finish(start_task(run, **CPU), TASK_S)
    assert (code, errors) == (0, "")
    (step,) = events(run, "ladder")
    assert (step["class"], step["setting"], step["from"]) == ("kv_cache_too_small", "max_model_len", 65536)
    assert 32000 < step["to"] <= 32768
    facts = read_json(run.attempt(1, 0, 0).engine(0, 1).engine_json)
    assert facts is not None and facts["settings"]["max_model_len"] == step["to"]
    assert survey_settled(run).num_done == 3


def test_a_core_that_stands_still_and_one_that_is_killed_are_started_again(tmp_path: Path):
    engine = {**QUICK, "max_num_seqs": 2, "progress_timeout_s": 8}
    run = build_run(tmp_path, num_users=15, items_per_user=20, engine=engine, model=VLLM)
    path = plugin_path(tmp_path / "plugin", "core_signals", "tests.worker.core_signals:register")
    signals = {"PYTHONPATH": path, core_signals.VARIABLE: str(run.attempt(1, 0, 0).root)}
    process = start_task(run, **CPU, **signals)
    core = wait_for_core(run)
    code, errors = finish(process, TASK_S)
    assert (code, errors) == (0, "")
    assert not is_alive(core)
    assert steps(run) == [("progress_timeout", "restart"), ("engine_dead", "restart")]
    assert [0 < num_committed(run, start=start) < 300 for start in range(3)] == [True] * 3
    assert survey_settled(run).num_done == 300
    assert processes_with(str(run.root)) == []
