"""Cluster none, as one types it: the engine chosen aloud, GPUs shared out, stopped and killed on the way."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from launch.rundir.layout import RunPaths
from tests.local_submit import Command, Desk, digests, lives, num_settled
from tests.models import make_tiny_llama
from tests.worker.tasks import wait_until

pytestmark = pytest.mark.process

NUM_ITEMS = 92  # of the scenario
ALL_ITEMS = ("--preset", "quick_test", "--engine", "stub", "--limit-items", "null")
SLOW = "VLLM_LAUNCH_STUB_SECONDS_PER_ITEM"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    home = tmp_path_factory.mktemp("desk")
    return Desk(home, make_tiny_llama(home / "model"))


@pytest.fixture(scope="module")
def uninterrupted(desk: Desk) -> dict[str, str]:
    """Digests of what one undisturbed run of every item publishes."""
    code, _, errors = desk.submit("whole", *ALL_ITEMS).finish()
    assert code == 0, errors
    return digests(desk.published("whole"))


# The engine


@pytest.mark.engine
def test_auto_takes_transformers_for_what_vllm_does_not_know_and_says_so(tmp_path: Path):
    desk = Desk(tmp_path, make_tiny_llama(tmp_path / "foo", architecture="FooForCausalLM"))
    words = ("--preset", "quick_test", "--engine", "auto", "--dtype", "float32", "--limit-items", "3")
    code, output, errors = desk.submit("foo", *words).finish(240)
    assert code == 0, errors
    choice = "engine transformers, several times slower than vllm: vllm"
    assert any(choice in line and "does not know FooForCausalLM" in line for line in errors.splitlines())
    assert "engine transformers" in output
    summary = desk.summary("foo")
    assert summary["engine"] == summary["model"]["engine"] == "transformers"
    assert summary["num_data_items_filled"] == 3 and summary["total_samples"] == 3
    assert set(summary["finish_reasons"]) <= {"stop", "length"}
    assert any(choice in note and "FooForCausalLM" in note for note in summary["notes"])
    assert [engine["kind"] for engine in summary["engines"]] == ["transformers"]
    assert choice in desk.run("foo").run_yaml.read_text()


# GPUs


def intervals(run: RunPaths) -> list[tuple[float, float, tuple[str, ...]]]:
    """Start, end and GPUs of every attempt."""
    return [(about["started"], ended["ended"], tuple(about["gpus"])) for about, ended in lives(run)]


def at_once(spans: list[tuple[float, float, tuple[str, ...]]]) -> list[list[tuple[str, ...]]]:
    """The GPUs of all that lived at the moment when each of them started."""
    return [[gpus for begin, end, gpus in spans if begin <= start < end] for start, _, _ in spans]


def test_three_tasks_on_two_gpus_run_two_at_a_time_each_on_its_own(desk: Desk):
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", SLOW: "0.03"}
    code, output, errors = desk.submit("two-gpus", *ALL_ITEMS, "--num-tasks", "3", **environment).finish()
    assert code == 0, errors
    assert f"{NUM_ITEMS} of {NUM_ITEMS} items done" in output
    spans = intervals(desk.run("two-gpus"))
    assert len(spans) == 3
    assert {gpus for _, _, gpus in spans} == {("0",), ("1",)}
    together = at_once(spans)
    assert max(map(len, together)) == 2
    assert all(len(set(each)) == len(each) for each in together)
    for about, ended in lives(desk.run("two-gpus")):
        nothing_left = ended["reason"] == "empty" and not ended["slots"]  # the two had done the third's work
        assert nothing_left or [slot["gpus"] for slot in about["slots"]] == [about["gpus"]]


def test_max_concurrent_is_kept_although_there_are_more_gpus(desk: Desk):
    words = (*ALL_ITEMS, "--num-tasks", "3", "--max-concurrent", "1")
    code, _, errors = desk.submit("one-by-one", *words, CUDA_VISIBLE_DEVICES="0,1").finish()
    assert code == 0, errors
    spans = intervals(desk.run("one-by-one"))
    assert [gpus for _, _, gpus in spans] == [("0",)] * 3
    assert max(map(len, at_once(spans))) == 1


# Stopped on the way


def generate_some(desk: Desk, name: str, seconds_per_item: str, **settings: Any) -> Command:
    """Submit in the middle of generating."""
    command = desk.submit(name, *ALL_ITEMS, **{SLOW: seconds_per_item}, **settings)
    wait_until(lambda: num_settled(desk.run(name)) > 0, "a commit", timeout_s=90)
    command.look()
    return command


def resume(desk: Desk, name: str) -> str:
    """Resumes to the end; what was said."""
    code, output, errors = desk.launch("resume", str(desk.run(name).root)).finish()
    assert code == 0, errors
    return output


def test_ctrl_c_keeps_what_is_generated_and_resume_completes(desk: Desk, uninterrupted: dict[str, str]):
    command = generate_some(desk, "stopped", "0.2")  # more than a drain can finish
    os.killpg(command.process.pid, signal.SIGINT)  # as a terminal does: submit is alone in its group
    code, _, errors = command.finish(25)
    kept = num_settled(desk.run("stopped"))
    assert code == 3
    assert 0 < kept < NUM_ITEMS
    last = errors.splitlines()[-1]
    assert f"{NUM_ITEMS - kept} of {NUM_ITEMS} items are missing" in last
    assert f"`vllm-launch resume {desk.run('stopped').root}` generates what is missing" in last
    assert "Traceback" not in errors
    assert not desk.published("stopped").exists()
    assert command.left() == []
    assert f"{NUM_ITEMS - kept} items in" in resume(desk, "stopped")
    assert digests(desk.published("stopped")) == uninterrupted


def test_kill_9_of_submit_leaves_no_process_and_resume_completes(desk: Desk, uninterrupted: dict[str, str]):
    command = generate_some(desk, "killed", "1.5")  # what its window holds would take another 24 s
    assert len(command.below) >= 3, "submit, supervisor and engine process were expected"
    command.process.kill()
    command.process.communicate()
    wait_until(lambda: command.left() == [], "no process left", timeout_s=30)
    kept = num_settled(desk.run("killed"))
    assert 0 < kept < NUM_ITEMS
    assert f"{NUM_ITEMS - kept} items in" in resume(desk, "killed")
    assert digests(desk.published("killed")) == uninterrupted


def test_under_nohup_a_closed_terminal_ends_nothing(desk: Desk, uninterrupted: dict[str, str]):
    command = desk.submit("nohup", *ALL_ITEMS, wrapper=("nohup",), **{SLOW: "0.05"})
    wait_until(lambda: num_settled(desk.run("nohup")) > 0, "a commit", timeout_s=90)
    os.killpg(command.process.pid, signal.SIGHUP)
    code, _, errors = command.finish()
    assert code == 0, errors
    assert len(lives(desk.run("nohup"))) == 1
    assert digests(desk.published("nohup")) == uninterrupted
