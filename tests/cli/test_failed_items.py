"""An item that cannot be done: named, nothing published unless allowed, marked where it is, tried again."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from launch.rundir import plan_check
from tests.cli.commands import Said, submit_words, succeed, vllm_launch
from tests.cli.refusals import refusal
from tests.models import CHATML, make_tiny_llama
from tests.scenarios import builders

pytestmark = pytest.mark.process

FAILED = "b2#0.0"
STUB = "; texts of the stub engine, not of a model"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario with a user whose profile alone is longer than the prompt budget."""
    root = tmp_path_factory.mktemp("failed")
    (root / "scenario").mkdir()
    long = builders.user("b2")
    long["user"]["profile"]["story"] = "It rained. " * 500
    users = [builders.user("a1"), long, builders.user("c3")]
    builders.write(root / "scenario" / "test_leaderboard.json", users)
    return root


@pytest.fixture(scope="module")
def refused(here: Path, checkpoint: Path) -> Said:
    """A run of it that may not fail anywhere."""
    words = [*submit_words(checkpoint, here / "scenario"), "--max-prompt-tokens", "600"]
    return vllm_launch(*words, cwd=here)


def published(here: Path) -> Path:
    return here / "outputs" / "leaderboards" / "r"


def read(here: Path, name: str) -> Any:
    return json.loads((published(here) / name).read_text())


def test_nothing_is_published(here: Path, refused: Said):
    run = here / "outputs" / "runs" / "r"
    assert refused.code == 3
    assert refused.errors == [
        f"vllm-launch: {run}: 1 failed ({FAILED} too_long); nothing was published. What is too_long fails"
        " again: a new run with a larger --max-model-len or --max-prompt-tokens, or a smaller --max-tokens,"
        f" may have room; `vllm-launch merge {run} --max-failed-items 1` publishes without those that failed."
    ]
    assert list(published(here).parent.iterdir()) == []
    again = vllm_launch("merge", "r", cwd=here)
    assert (again.code, again.errors) == (3, refused.errors)
    assert "failed   1" in succeed("status", "r", cwd=here).out


def test_what_cannot_fit_is_said_before(refused: Said):
    (note,) = [note for note in refused.notes if "fit" in note]
    assert re.fullmatch(
        r"1 of 3 items cannot fit: their prompts, without history and context, have up to [\d,]+ tokens, and"
        r" 600 are allowed\. Raise --max-model-len \(and --max-prompt-tokens, if set\), or lower"
        r" --max-tokens",
        note,
    )


def test_where_nothing_can_fit_nothing_is_spent(here: Path, checkpoint: Path):
    words = [*submit_words(checkpoint, here / "scenario", "none"), "--max-prompt-tokens", "20"]
    said = refusal(here, *words)
    assert said.startswith(
        "HERE/scenario/test_leaderboard.json: none of the 3 items can fit: their prompts, without history and"
    )
    assert said.endswith(
        ", and 20 are allowed. Raise --max-model-len (and --max-prompt-tokens, if set), or"
        " lower --max-tokens."
    )


def test_not_all_is_counted_in_a_large_plan(here: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan_check, "MAX_COUNTED_TOKENS", 2000)
    words = [*submit_words(checkpoint, here / "scenario", "large"), "--max-prompt-tokens", "20", "--dry-run"]
    said = succeed(*words, cwd=here)
    assert any(re.match(r"at least [12] of 3 items cannot fit: ", note) for note in said.notes)


def test_nothing_is_missing(here: Path, refused: Said):
    run = here / "outputs" / "runs" / "r"
    said = vllm_launch("resume", "r", cwd=here)
    assert said.code == 2
    assert said.errors == [
        f"vllm-launch: {run}: every item is settled, 1 failed; nothing is left to generate."
        f"{refused.errors[0].partition('nothing was published.')[2]}"
    ]


def test_failed_ones_are_tried_again_and_allowed(here: Path, refused: Said):
    said = vllm_launch("resume", "r", "--retry-failed", cwd=here)
    assert said.code == 3 and said.row("submission").startswith("2: 1 items")
    assert not published(here).exists()
    said = succeed("resume", "r", "--retry-failed", "--max-failed-items", "100", cwd=here)
    assert said.row("submission").startswith("3: 1 items")
    assert said.row("published") == (
        f"{published(here)}: 2 of 3 items done, 1 failed, 0 missing: marked in every file{STUB}"
    )
    for name in ("manifest.json", "inference_summary.json"):
        value = read(here, name)
        assert value["complete"] is False and [item["key"] for item in value["failed_items"]] == [FAILED]
        assert value["failed_items"][0]["failure_class"] == "too_long"
    filled = read(here, "test_leaderboard.json")
    item = filled[1]["task"]["task_behavior_collections"][0]["data"][0]
    assert item["continuations"] == [] and "too_long" in json.dumps(filled[1])
    assert "too_long" in json.dumps(read(here, "users/b2.json"))
    lines = [json.loads(line) for line in (published(here) / "generations.jsonl").read_bytes().splitlines()]
    assert [line["key"] for line in lines if "failure" in line] == [FAILED]
    lines = [json.loads(line) for line in (published(here) / "provenance.jsonl").read_bytes().splitlines()]
    assert [(line["key"], line["failed"]) for line in lines if "failed" in line] == [(FAILED, "too_long")]
    succeed("verify", published(here), cwd=here)


def test_allowed_from_the_start(here: Path, checkpoint: Path):
    words = [*submit_words(checkpoint, here / "scenario", "allowed"), "--max-prompt-tokens", "600"]
    said = succeed(*words, "--max-failed-items", "1", cwd=here)
    assert said.row("published").endswith(
        f"2 of 3 items done, 1 failed, 0 missing: marked in every file{STUB}"
    )


def test_a_conversation_that_the_chat_template_refuses(tmp_path: Path, scenario: Path):
    """Be it the first of all, by which prompts are estimated."""
    refuses = "{% if 'Hello' in message['content'] %}{{ raise_exception('no greetings') }}{% endif %}"
    template = CHATML.replace("{% for message in messages %}", "{% for message in messages %}" + refuses)
    checkpoint = make_tiny_llama(tmp_path / "tiny", chat_template=template)
    other = builders.user("c3", dialogue=[builders.dialogue_item(builders.turn("BEN", "Good night."))])
    builders.write(scenario / "test_leaderboard.json", [builders.user("a1"), other])
    said = vllm_launch(*submit_words(checkpoint, scenario), cwd=tmp_path)
    assert said.code == 3
    assert "1 failed (a1#0.0 chat_template); nothing was published." in said.errors[-1]
