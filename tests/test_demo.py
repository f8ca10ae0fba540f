"""What `make demo` promises: it fails unless vLLM was the engine and every item is there."""

import json
import shutil
from pathlib import Path

import pytest

from scripts.demo import (
    ITEMS_PER_DATASET,
    DemoError,
    check,
    filled_items,
    sample_lines,
    shorten,
    submit_command,
)
from tests.cli.commands import submit_words, succeed
from tests.collect.test_schemas import check_directory
from tests.models import make_tiny_llama


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as the demo publishes it, but by the stub engine."""
    here = tmp_path_factory.mktemp("demo")
    succeed(*submit_words(make_tiny_llama(here / "model")), "--limit-items", str(ITEMS_PER_DATASET), cwd=here)
    return here / "outputs" / "leaderboards" / "r"


@pytest.fixture
def by_vllm(published: Path, tmp_path: Path) -> Path:
    """The same with vllm written as its engine."""
    directory = tmp_path / "published"
    shutil.copytree(published, directory)
    summary = json.loads((directory / "inference_summary.json").read_text())
    (directory / "inference_summary.json").write_text(json.dumps(summary | {"engine": "vllm"}))
    return directory


def test_the_stub_is_no_demo(published: Path):
    with pytest.raises(DemoError, match="expected vllm as the engine, got stub"):
        check(published)


def test_what_submit_publishes_is_as_its_schemas_say(published: Path):
    check_directory(published)


def test_every_item_has_to_be_there(by_vllm: Path):
    check(by_vllm)
    assert sum(1 for _ in filled_items(by_vllm)) == ITEMS_PER_DATASET
    file = by_vllm / "test_leaderboard.json"
    users = json.loads(file.read_text())
    users[0]["task"]["task_behavior_collections"][0]["data"][0]["continuations"] = []
    file.write_text(json.dumps(users))
    with pytest.raises(DemoError, match=f"expected {ITEMS_PER_DATASET} filled items, got 9"):
        check(by_vllm)


def test_what_it_types_is_a_submit_of_the_preset_with_vllm(tmp_path: Path):
    command = submit_command("DMSC", tmp_path)
    assert command[1:6] == ["launch/submit.py", "--preset", "quick_test", "--cluster", "none"]
    assert "model.engine=vllm" in command and f"publish.output_dir={tmp_path}" in command


def test_a_sample_is_shown_in_one_line():
    assert shorten("a\n b") == "a b"
    assert len(shorten("x" * 1000)) == 200 and shorten("x" * 1000).endswith("…")


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\x1b[2Jb", "a\\U0000001B[2Jb"),
        ("\x1b]0;title\x07", "\\U0000001B]0;title\\U00000007"),
        ("a\u202eb", "a\\U0000202Eb"),
        ("\x9b2J\u200b", "\\U0000009B2J\\U0000200B"),
    ],
    ids=["ESC", "OSC", "U+202E", "C1"],
)
def test_no_sample_and_no_name_steers_the_terminal(hostile: str, shown: str):
    item = {
        "context": [{"source": hostile, "content": hostile}],
        "continuation_prefix": hostile,
        "continuations": [hostile],
    }
    lines = list(sample_lines(hostile, item))
    assert lines == [f"  {shown}: {shown}", f"  -> {shown}: {shown}{shown}"]
    assert all(line.isprintable() for line in lines)
    assert len(shorten(hostile * 100)) == 200
