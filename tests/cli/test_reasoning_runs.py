"""A model that thinks, from submit to what is published: its reasoning stands apart, cut or not."""

import json
from pathlib import Path
from typing import Any

import pytest

from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run
from tests.cli.commands import Said, submit_words, succeed
from tests.models import CHATML, make_tiny_llama

pytestmark = pytest.mark.process

# As the templates of models that think have it: the opening mark is in the prompt, or an empty thought is.
THINKING = CHATML + "{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}"
SAID = "prompt.reasoning_end: </think>, which the chat template has: reasoning is stored apart"


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose chat template knows `enable_thinking`."""
    return make_tiny_llama(tmp_path_factory.mktemp("thinker"), chat_template=THINKING)


def run(
    here: Path, checkpoint: Path, kwargs: dict[str, Any], *words: str
) -> tuple[Said, list[dict[str, Any]]]:
    """A run of two items, and its published lines."""
    asked = ["--limit-items", "2", "--chat-template-kwargs", json.dumps(kwargs), *words]
    said = succeed(*submit_words(checkpoint), *asked, cwd=here)
    lines = (here / "outputs" / "leaderboards" / "r" / "generations.jsonl").read_bytes().splitlines()
    return said, [sample for line in lines for sample in json.loads(line)["samples"]]


def test_a_sample_that_never_ends_its_reasoning_is_no_continuation(tmp_path: Path, thinker: Path):
    said, samples = run(tmp_path, thinker, {"enable_thinking": True})
    assert SAID in said.notes
    assert all(sample["text"] == "" and "[stub]" in sample["reasoning"] for sample in samples)
    record = load_run(RunPaths(tmp_path / "outputs" / "runs" / "r"))
    assert (record.prompt.reasoning_end, record.reasoning_opened) == ("</think>", True)
    summary = json.loads((tmp_path / "outputs" / "leaderboards" / "r" / "inference_summary.json").read_text())
    assert summary["num_empty_samples"] == 2 and SAID in summary["notes"]


def test_without_thinking_the_text_is_the_answer(tmp_path: Path, thinker: Path):
    _, samples = run(tmp_path, thinker, {"enable_thinking": False})
    assert all("[stub]" in sample["text"] and "reasoning" not in sample for sample in samples)


def test_nothing_is_split_when_that_is_asked_for(tmp_path: Path, thinker: Path):
    said, samples = run(tmp_path, thinker, {"enable_thinking": True}, "--reasoning-end", "")
    assert SAID not in said.notes
    assert all("[stub]" in sample["text"] and "reasoning" not in sample for sample in samples)


def test_what_the_template_does_not_read_is_said(tmp_path: Path, thinker: Path, checkpoint: Path):
    ignored = "prompt.chat_template_kwargs: enable_thinkin: ignored, the chat template does not read it"
    said, _ = run(tmp_path, thinker, {"enable_thinkin": True})
    assert ignored in said.notes
    plain = make_tiny_llama(tmp_path / "plain", chat_template=None)
    words = [*submit_words(plain, name="p"), "--chat-template-kwargs", '{"a": 1}', "--dry-run"]
    notes = succeed(*words, cwd=tmp_path).notes
    assert "prompt.chat_template_kwargs: a: ignored, there is no chat template" in notes
