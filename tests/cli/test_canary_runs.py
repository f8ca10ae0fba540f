"""A run whose first items do not look right warns, or stops and can go on."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import submit_words, vllm_launch

pytestmark = pytest.mark.process  # whole runs


@pytest.fixture
def words(checkpoint: Path) -> list[str]:
    """A stub run whose texts have few tokens to end within: every sample is cut."""
    return [
        *submit_words(checkpoint),
        *("--max-tokens", "1", "--canary-items", "5", "--max-cut-rate", "0.1", "--limit-items", "12"),
    ]


def found(here: Path) -> list[str]:
    (path,) = (here / "outputs" / "runs" / "r" / "tasks").glob("1/0/*/events.jsonl")
    events = map(json.loads, path.read_text().splitlines())
    return [event["found"] for event in events if event["event"] == "canary"]


def test_a_warning_goes_on(tmp_path: Path, words: list[str]) -> None:
    said = vllm_launch(*words, cwd=tmp_path)
    assert said.code == 0, said.err
    (finding,) = found(tmp_path)
    assert finding.startswith("of the first 5 items ") and "were cut at max_tokens" in finding
    summary = json.loads((tmp_path / "outputs" / "leaderboards" / "r" / "inference_summary.json").read_text())
    (row,) = summary["canary"]
    assert (row["task"], row["slot"], row["found"]) == (0, 0, finding)


def test_a_stop_keeps_what_is_there_and_says_how_to_go_on(tmp_path: Path, words: list[str]) -> None:
    said = vllm_launch(*words, "--canary", "stop", cwd=tmp_path, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.05")
    assert said.code == 3
    assert "were cut at max_tokens (canary.max_cut_rate allows 10%)" in said.err
    assert "resume with --canary none." in said.err
    said = vllm_launch("resume", "r", "--canary", "none", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "5 of 12" not in said.out and "12 of 12 items done" in said.out
