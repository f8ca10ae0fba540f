"""A task whose engine fails and comes back, or does not: real supervisors, the stub engine."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import ResourcesConfig
from launch.model.fit_memory import LENGTH_STEP
from launch.rundir.chunks import read_chunks
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import FAILED, survey_settled
from launch.worker.longest_prompt import count_longest_prompt, longest_prompt
from tests.models import make_tiny_llama
from tests.runs import RUN_S
from tests.worker.build_run import MAX_MODEL_LEN, build_run
from tests.worker.tasks import (
    PATIENT_WORKER,
    ended,
    events,
    finish,
    num_committed,
    processes_with,
    run_task,
    start_task,
    wait_until,
)

pytestmark = pytest.mark.process
SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.05"}
"""All is claimed when the first item ends: a crash of the first start leaves no claim half made."""
MAX_TOKENS = 16
LIMITS = {"start_timeout_s": 20, "progress_timeout_s": 10}
"""Also of the starts that do not hang. One takes 0.6 s of CPU time; over 4 s were seen beside other work."""


def steps(run: RunPaths, attempt: int = 0) -> list[dict[str, Any]]:
    """What the ladder did, without when and where."""
    found = events(run, "ladder", attempt=attempt)
    return [{key: value for key, value in each.items() if key not in ("time", "event")} for each in found]


def settings(run: RunPaths, start: int, slot: int = 0) -> dict[str, Any]:
    """The settings in engine.json of a start."""
    facts = read_json(run.attempt(1, 0, 0).engine(slot, start).engine_json)
    assert facts is not None, f"start {start} of slot {slot} never ran"
    found: dict[str, Any] = facts["settings"]
    return found


def test_an_engine_without_memory_starts_again_with_fewer_sequences(tmp_path: Path):
    run = build_run(tmp_path, engine={"max_num_seqs": 32})
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="oom:max_num_seqs>16")
    assert (code, errors) == (0, "")
    assert survey_settled(run).num_done == 12
    assert steps(run) == [
        {
            "slot": 0,
            "start": 0,
            "class": "gpu_memory_at_start",
            "action": "shrink",
            "setting": "max_num_seqs",
            "from": 32,
            "to": 16,
        }
    ]
    assert settings(run, 1)["max_num_seqs"] == 16
    assert [(slot["start"], slot["said"]) for slot in ended(run)["slots"]] == [(0, "failed"), (1, "empty")]
    assert ended(run)["failure"] is None


def test_a_kv_cache_too_small_shortens_max_model_len_to_what_was_planned(tmp_path: Path):
    run = build_run(tmp_path, prompt={"max_prompt_tokens": 300})
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="kv:400")
    assert (code, errors) == (0, "")
    assert settings(run, 1)["max_model_len"] == 400
    assert "decided_s" not in steps(run)[0], "nothing had to be counted"


def test_or_to_what_is_left_of_it_and_not_below(tmp_path: Path):
    """512 tokens were planned for; the prompts that are left are shorter."""
    run = build_run(tmp_path / "short")
    needed = longest_prompt(run, 1) + MAX_TOKENS
    fits = -(-needed // LENGTH_STEP) * LENGTH_STEP
    code, errors = run_task(run, program=PATIENT_WORKER, VLLM_LAUNCH_STUB_FAIL=f"kv:{fits}")
    assert (code, errors) == (0, "")
    assert [(each["setting"], each["from"], each["to"]) for each in steps(run)] == [
        ("max_model_len", MAX_MODEL_LEN, fits)
    ]
    settled = survey_settled(run)
    assert (settled.num_done, settled.num_failed) == (12, 0)
    assert longest_prompt(run, 1) == 0, "nothing is left"

    other = build_run(tmp_path / "long")
    fails = f"kv:{fits - LENGTH_STEP}"
    code, errors = run_task(other, program=PATIENT_WORKER, VLLM_LAUNCH_STUB_FAIL=fails)
    assert code == 1 and "kv_cache_too_small" in str(ended(other)["failure"])
    assert steps(other) == [], "on a CPU nothing else makes the cache larger"
    settled = survey_settled(other)
    assert (settled.num_done, settled.num_failed) == (0, 0), "no item fails for it"


def test_or_to_where_the_model_is_another_one(tmp_path: Path):
    """Above 350 tokens this model has the long factors of its RoPE, which the plan's 512 ask for."""
    model = make_tiny_llama(tmp_path / "model", num_layers=1, num_heads=2, num_kv_heads=1)
    config = json.loads((model / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "longrope", "original_max_position_embeddings": 350}
    (model / "config.json").write_text(json.dumps(config))
    for name, planned in (("whole", {}), ("short", {"max_prompt_tokens": 300})):
        other = build_run(tmp_path / name, model={"checkpoint": model}, prompt=planned)
        code, errors = run_task(other, program=PATIENT_WORKER, VLLM_LAUNCH_STUB_FAIL="kv:350")
        assert code == 1 and "kv_cache_too_small" in str(ended(other)["failure"]), errors
        assert steps(other) == []
    run = build_run(tmp_path / "run", model={"checkpoint": model})
    assert run_task(run, program=PATIENT_WORKER, VLLM_LAUNCH_STUB_FAIL="kv:352") == (0, "")
    assert settings(run, 1)["max_model_len"] == 352


def test_what_is_left_is_counted_by_a_process_that_may_be_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = build_run(tmp_path)
    monkeypatch.setattr("launch.worker.longest_prompt.ANSWER_S", RUN_S)
    assert count_longest_prompt(run, 1) == longest_prompt(run, 1) > 0
    count_longest_prompt.cache_clear()
    monkeypatch.setattr("launch.worker.longest_prompt.ANSWER_S", 0.01)
    assert count_longest_prompt(run, 1) is None
    count_longest_prompt.cache_clear()


def test_nobody_counts_for_engines_that_have_another_transformers(tmp_path: Path):
    run = build_run(tmp_path, resources={"container": ["env", "A=1"]})
    assert count_longest_prompt(run, 1) is None


def test_memory_that_runs_out_while_generating_leaves_what_is_committed(tmp_path: Path):
    run = build_run(tmp_path, engine={"max_num_seqs": 16})
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="later:max_num_seqs>8")
    assert (code, errors) == (0, "")
    assert [each["class"] for each in steps(run)] == ["out_of_memory"]
    assert survey_settled(run).num_done == 12


def test_three_more_starts_and_no_fourth(tmp_path: Path):
    run = build_run(tmp_path)
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="raise:Address already in use")
    assert code == 1
    assert "a network port is taken" in errors
    assert [each["action"] for each in steps(run)] == ["restart"] * 3
    assert [slot["start"] for slot in ended(run)["slots"]] == [0, 1, 2, 3]
    assert ended(run)["failure"]["class"] == "port_in_use"


def test_letters_that_the_log_has_no_code_for_end_no_task(tmp_path: Path):
    run = build_run(tmp_path)
    fails = "raise:Address already in use — 端口@0"
    assert run_task(run, VLLM_LAUNCH_STUB_FAIL=fails, PYTHONIOENCODING="ascii") == (0, "")
    assert [(step["class"], step["action"]) for step in steps(run)] == [("port_in_use", "restart")]


@pytest.mark.parametrize(
    "told",
    [
        "raise:Model architectures ['X'] are not supported for now",
        "raise:Total number of attention heads (9) must be divisible by tensor parallel size (2).",
        "raise:Unknown quantization method: x",
        "raise:SafetensorError: HeaderTooLarge",
        "raise:Engine core initialization failed. See root cause above",
        "step:2",
    ],
)
def test_what_cannot_be_mended_here_is_tried_once(tmp_path: Path, told: str):
    run = build_run(tmp_path)
    assert run_task(run, VLLM_LAUNCH_STUB_FAIL=told)[0] == 1
    assert steps(run) == []
    assert [slot["start"] for slot in ended(run)["slots"]] == [0]


def test_a_start_that_hangs_is_killed_and_tried_again(tmp_path: Path):
    run = build_run(tmp_path, engine=LIMITS)
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="hang:start@0")
    assert (code, errors) == (0, "")
    assert [(each["class"], each["action"]) for each in steps(run)] == [("start_timeout", "restart")]
    first = ended(run)["slots"][0]
    assert (first["was_killed"], first["failure"]["class"]) == (True, "start_timeout")
    assert "did not start within 20 s" in events(run, "kill")[0]["why"]
    assert survey_settled(run).num_done == 12


def test_a_start_that_always_hangs_ends_with_its_class(tmp_path: Path):
    run = build_run(tmp_path, engine={"start_timeout_s": 1})
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="hang:start")
    assert code == 1
    assert "did not start in time" in errors and "--start-timeout-s 2" in errors
    assert ended(run)["failure"]["class"] == "start_timeout"
    assert len(ended(run)["slots"]) == 2
    assert processes_with(str(run.root)) == []


def test_an_engine_that_stands_still_is_killed_and_the_rest_is_generated(tmp_path: Path):
    run = build_run(tmp_path, engine=LIMITS)
    code, errors = run_task(
        run, VLLM_LAUNCH_STUB_FAIL="hang:user1#0.1@0", VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.3"
    )
    assert (code, errors) == (0, "")
    assert [(each["class"], each["action"]) for each in steps(run)] == [("progress_timeout", "restart")]
    assert survey_settled(run).num_done == 12
    first, second = num_committed(run), num_committed(run, start=1)
    assert first > 0 and first + second == 12, "nothing that was committed is generated twice"


@pytest.mark.parametrize("mode", ["die", "crash"])
def test_an_engine_that_dies_while_it_runs_is_started_again(tmp_path: Path, mode: str):
    run = build_run(tmp_path)
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL=f"{mode}:user2#0.0@0", **SLOW)
    assert (code, errors) == (0, "")
    assert [(each["class"], each["action"]) for each in steps(run)] == [("engine_dead", "restart")]
    assert survey_settled(run).num_done == 12


def test_the_other_slot_goes_on_undisturbed(tmp_path: Path):
    # Ample limits: a start may be slow. A slot that stands still is found before the test's own limit.
    limits = {"start_timeout_s": 40, "progress_timeout_s": 40}
    run = build_run(tmp_path, num_users=40, items_per_user=5, engine={"engines_per_node": 2, **limits})
    code, errors = run_task(
        run, VLLM_LAUNCH_STUB_FAIL="die:user0#0.3@0", VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.01"
    )
    assert (code, errors) == (0, "")
    assert survey_settled(run).num_done == 200
    found = [(slot["slot"], slot["start"], slot["said"]) for slot in ended(run)["slots"]]
    assert len(found) == 3 and sorted(each[:2] for each in found)[-1][0] == 1
    assert sum(each[2] == "failed" for each in found) == 1


def test_a_drain_while_a_start_is_due_ends_at_once_and_the_task_continues(tmp_path: Path):
    run = build_run(tmp_path)
    process = start_task(run, VLLM_LAUNCH_STUB_FAIL="raise:CUDA-capable device(s) is/are busy or unavailable")
    wait_until(lambda: len(events(run, "ladder")) == 1, "the first step")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 75
    (step,) = events(run, "ladder")
    assert ended(run)["ended"] < step["time"] + step["wait_s"], "before the start was due"
    assert [slot["start"] for slot in ended(run)["slots"]] == [0]
    assert ended(run)["failure"] is None
    assert processes_with(str(run.root)) == []


def test_a_drain_during_the_second_start_ends_it(tmp_path: Path):
    run = build_run(tmp_path)
    process = start_task(run, VLLM_LAUNCH_STUB_FAIL="die:user0#0.1@0,hang:start@1")
    wait_until(lambda: any(each["start"] == 1 for each in events(run, "phase")), "the second start")
    process.send_signal(signal.SIGUSR2)
    assert finish(process)[0] == 75
    (told,) = events(run, "signal")
    assert ended(run)["ended"] - told["time"] < ResourcesConfig().signal_lead_s / 2, "not at its deadline"
    assert ended(run)["reason"] == "killed"
    assert processes_with(str(run.root)) == []


def failed_items(run: RunPaths) -> list[int]:
    """Numbers of the items that have failed for good."""
    return [number for number, state in enumerate(survey_settled(run).states) if state == FAILED]


@pytest.mark.parametrize("mode", ["die", "crash"])
def test_an_item_that_kills_every_engine_is_found_and_given_up(tmp_path: Path, mode: str):
    run = build_run(tmp_path, num_users=10, items_per_user=3)
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL=f"{mode}:user4#0.1", **SLOW)
    assert (code, errors) == (0, "")
    found = [(each["action"], each.get("to")) for each in steps(run)]
    assert found == [("restart", None), ("bisect", 8), ("bisect", 1), ("fail_item", 13)]
    assert failed_items(run) == [13]
    assert survey_settled(run).num_done == 29
    assert ended(run)["slots"][-1]["said"] == "empty"


def test_two_of_them_are_both_found(tmp_path: Path):
    run = build_run(tmp_path, num_users=10, items_per_user=3)
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="die:user0#0.0,die:user9#0.2")
    assert (code, errors) == (0, "")
    assert failed_items(run) == [0, 29]
    assert survey_settled(run).num_done == 28


def test_an_engine_that_dies_of_every_item_gives_none_up(tmp_path: Path):
    run = build_run(tmp_path, num_users=1, items_per_user=3)
    words = ",".join(f"die:user0#0.{place}" for place in range(3))
    code, _ = run_task(run, VLLM_LAUNCH_STUB_FAIL=words)
    assert code == 1
    assert failed_items(run) == []
    assert ended(run)["failure"]["class"] == "engine_dead"
    assert "fail_item" in {each["action"] for each in steps(run)}


def test_a_death_after_the_cautious_part_blames_no_item_of_it(tmp_path: Path):
    run = build_run(tmp_path, num_users=20, items_per_user=8, engine={"max_num_seqs": 4})
    order = [item for chunk in read_chunks(run.submission(1)) for item in chunk.items]
    early, late = (f"user{item // 8}#0.{item % 8}" for item in (order[2], order[-1]))
    told = f"die:{early}@0,die:{early}@1,die:{late}@2"
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL=told, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.03")
    assert (code, errors) == (0, "")
    assert [(each["action"], each.get("from")) for each in steps(run)] == [
        ("restart", None),
        ("bisect", None),
        ("bisect", None),
    ]
    assert failed_items(run) == []
    assert survey_settled(run).num_done == 160
