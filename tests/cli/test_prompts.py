"""`prompts` shows what the model would be given, with token counts and cuts, and writes nothing."""

import re
from pathlib import Path

import pytest

from launch.config.schema import Ablation
from tests.cli.commands import succeed
from tests.cli.refusals import refusal
from tests.runs import SCENARIOS

HEADER = re.compile(
    r"=== (\d+)\. (\S+) \((\w+)\): (\d+) of (\d+) tokens; chat form native;"
    r" left out: (\d+) history entries, (\d+) turns; clipped: \d+ turns(.*)"
)


def headers(here: Path, checkpoint: Path, *words: str) -> tuple[list[re.Match[str]], str]:
    """The line above each prompt, and all that was said."""
    command = ["prompts", "--preset", "quick_test", "--checkpoint", str(checkpoint)]
    said = succeed(*command, "--scenario-path", SCENARIOS / "Chameleons", *words, cwd=here)
    found = [HEADER.fullmatch(line) for line in said.out.splitlines() if line.startswith("=== ")]
    assert list(here.iterdir()) == [], "prompts writes nothing"
    assert None not in found, said.out
    return [match for match in found if match], said.out


def test_every_ablation_shows_tokens_and_cuts(tmp_path: Path, checkpoint: Path):
    tokens = {}
    for ablation in Ablation:
        words = ["--show", "2", "--ablation-config", ablation.value, "--max-model-len", "8192"]
        found, text = headers(tmp_path, checkpoint, *words)
        assert [match[1] for match in found] == ["1", "2"]
        assert all(match[5] == "8160" and match[8] == "" for match in found)
        assert ("Who you are" in text) == ablation.uses_profile
        assert ("What you wrote before" in text) == ablation.uses_history
        tokens[ablation] = int(found[0][4])
    whole = tokens[Ablation.PROFILE_AND_HISTORY_AND_CONTEXT]
    assert all(count <= whole for count in tokens.values())
    assert tokens[Ablation.PROFILE_ONLY] < tokens[Ablation.PROFILE_AND_CONTEXT]
    assert len(set(tokens.values())) == len(Ablation)


def test_a_small_budget_shows_what_is_left_out(tmp_path: Path, checkpoint: Path):
    ablation = ["--ablation-config", "profile_and_history_and_context", "--show", "1"]
    (roomy,), _ = headers(tmp_path, checkpoint, *ablation, "--max-model-len", "8192")
    assert (roomy[6], roomy[7]) == ("0", "0")
    budget = int(roomy[4]) - 60
    (tight,), _ = headers(
        tmp_path, checkpoint, *ablation, "--max-prompt-tokens", str(budget), "--max-model-len", "8192"
    )
    assert int(tight[4]) <= budget and int(tight[6]) > 0
    (none,), _ = headers(tmp_path, checkpoint, *ablation, "--max-prompt-tokens", "50")
    assert none[8] == "; DOES NOT FIT: the item would fail"


@pytest.mark.parametrize("item_type", ["dialogue", "questionnaire"])
def test_only_items_of_a_type(tmp_path: Path, checkpoint: Path, item_type: str):
    found, _ = headers(tmp_path, checkpoint, "--show", "3", "--item-type", item_type)
    assert found and {match[3] for match in found} == {item_type}


def test_a_mistyped_type_is_an_error(tmp_path: Path, checkpoint: Path):
    words = ["prompts", "--preset", "quick_test", "--checkpoint", str(checkpoint), "--item-type", "dialog"]
    said = refusal(tmp_path, *words, prefix="vllm-launch prompts: ")
    assert said.startswith(
        "Invalid value for '--item-type': 'dialog' is not one of 'dialogue', 'movie_review'"
    )
