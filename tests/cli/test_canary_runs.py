"""A run whose first items do not look right warns, or stops all its tasks and can go on."""

import json
from pathlib import Path
from typing import Any

import pytest

from launch.rundir.canary import CanaryRecord, read_canary
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from tests.cli.commands import submit_words, vllm_launch

pytestmark = pytest.mark.process  # whole runs

NUM_ITEMS, NUM_TASKS, NUM_JUDGED = 92, 4, 12
MAX_NUM_SEQS = 4  # so few that three tasks do not claim the work of a fourth that starts late
WINDOW = 2 * MAX_NUM_SEQS
CUT = "were cut at max_tokens (canary.max_cut_rate allows 10%)"


@pytest.fixture
def words(checkpoint: Path) -> list[str]:
    """A stub run whose texts have one token to end within: nearly every sample is cut."""
    return [
        *submit_words(checkpoint),
        *("--max-tokens", "1", "--canary-items", str(NUM_JUDGED), "--max-cut-rate", "0.1"),
        *("--limit-items", "null", "--num-tasks", str(NUM_TASKS), "--max-concurrent", str(NUM_TASKS)),
        *("--max-num-seqs", str(MAX_NUM_SEQS)),
    ]


def run_in(here: Path) -> RunPaths:
    return RunPaths(here / "outputs" / "runs" / "r")


def judged(here: Path) -> CanaryRecord:
    record = read_canary(run_in(here))
    assert record is not None
    return record


def summary(here: Path) -> dict[str, Any]:
    path = here / "outputs" / "leaderboards" / "r" / "inference_summary.json"
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def told(here: Path) -> list[str]:
    """What the tasks' events say of the canary."""
    events = [
        json.loads(line)
        for path in run_in(here).tasks.glob("*/*/*/events.jsonl")
        for line in path.read_text().splitlines()
    ]
    return [event["found"] for event in events if event["event"] == "canary"]


def ends(here: Path, submission: int) -> list[tuple[int, str | None]]:
    """Exit code and failure class of every attempt of a submission."""
    found = [read_json(path) or {} for path in run_in(here).tasks.glob(f"{submission}/*/*/ended.json")]
    return [(each["code"], (each["failure"] or {}).get("class")) for each in found]


def test_a_stop_reaches_every_task_and_a_resume_goes_on_unjudged(tmp_path: Path, words: list[str]) -> None:
    slow = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.8"}
    said = vllm_launch(*words, "--canary", "stop", cwd=tmp_path, **slow)
    assert said.code == 3
    assert CUT in said.err and "goes on and judges no more" in said.err
    assert ends(tmp_path, 1) == [(2, "CanaryError")] * NUM_TASKS
    num_done = survey_settled(run_in(tmp_path)).num_done
    assert NUM_JUDGED <= num_done <= NUM_JUDGED + NUM_TASKS * WINDOW < NUM_ITEMS
    record = judged(tmp_path)
    assert record.stops and record.num_items == NUM_JUDGED
    assert told(tmp_path) == [record.sentence]
    shown = " ".join(vllm_launch("status", "r", cwd=tmp_path).out.split())
    assert f"{record.sentence}; it stopped submission 1" in shown
    assert "Not published: stopped by its canary." in shown
    said = vllm_launch("resume", "r", cwd=tmp_path)
    assert said.code == 0, said.err
    assert f"{NUM_ITEMS} of {NUM_ITEMS} items done" in said.out
    assert f"note: the canary found that {record.sentence}" in said.err
    assert told(tmp_path) == [record.sentence] and judged(tmp_path) == record
    assert summary(tmp_path)["canary"]["stopped_submission"] == 1


def test_tasks_that_wait_while_the_others_are_stopped_start_no_engine(
    tmp_path: Path, words: list[str]
) -> None:
    slow = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.3"}
    said = vllm_launch(*words, "--canary", "stop", "--max-concurrent", "2", cwd=tmp_path, **slow)
    assert said.code == 3
    assert ends(tmp_path, 1) == [(2, "CanaryError")] * NUM_TASKS
    assert len(list(run_in(tmp_path).tasks.glob("1/*/*/*.log"))) == 2


def test_a_warning_stands_once_in_the_summary(tmp_path: Path, words: list[str]) -> None:
    said = vllm_launch(*words, cwd=tmp_path, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.2")
    assert said.code == 0, said.err
    finding = judged(tmp_path).sentence
    assert finding.startswith(f"of the first {NUM_JUDGED} items ") and CUT in finding
    assert told(tmp_path) == [finding] and said.err.count(CUT) == 1
    canary = summary(tmp_path)["canary"]
    assert (canary["num_items"], canary["stopped_submission"]) == (NUM_JUDGED, None)
    assert "; ".join(canary["found"]) in finding and canary["rates"]["max_cut_rate"] > 0.1


def test_a_run_smaller_than_the_first_items_is_judged_at_its_end(tmp_path: Path, words: list[str]) -> None:
    said = vllm_launch(*words, "--canary-items", "200", "--canary", "stop", cwd=tmp_path)
    assert said.code == 0, said.err
    assert f"note: the canary found that of the first {NUM_ITEMS} items" in said.err and CUT in said.err
    canary = summary(tmp_path)["canary"]
    assert (canary["num_items"], canary["judged_by"]) == (NUM_ITEMS, "merge")
    assert "canary" in vllm_launch("status", "r", cwd=tmp_path).out and not judged(tmp_path).stops


def test_none_judges_nothing(tmp_path: Path, words: list[str]) -> None:
    said = vllm_launch(*words, "--canary", "none", "--num-tasks", "1", cwd=tmp_path)
    assert said.code == 0, said.err
    assert summary(tmp_path)["canary"] is None and read_canary(run_in(tmp_path)) is None
