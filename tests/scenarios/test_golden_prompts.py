"""One prompt per item type and language, as a person would read it.

A change of the prompt files shows here as a diff. To accept it, read the diff and run
`VLLM_LAUNCH_ACCEPT_GOLDEN=1 pytest tests/scenarios/test_golden_prompts.py`, then commit the files in golden/.
"""

import difflib
import os
from pathlib import Path

import pytest

from launch.config.schema import Ablation, Language
from launch.scenarios.history import stream_history
from launch.scenarios.records import ItemType
from tests.scenarios.builders import (
    Record,
    items_of,
    one_of_each_type,
    prompt_writer,
    text_of,
    turn,
    user,
    write,
)

GOLDEN = Path(__file__).with_name("golden")
ACCEPT = "VLLM_LAUNCH_ACCEPT_GOLDEN"


def train() -> Record:
    return user(
        "a1",
        dialogue=[
            {"context": [turn("BEN", "Tea?")], "continuation": "Always.", "timestamp": "2019-01-01"},
            {
                "context": [turn("ADA", "I said no.")],
                "continuation": "And I meant it.",
                "timestamp": "2019-01-02",
            },
        ],
        movie_review=[
            {
                "context": [],
                "continuation_prefix": "Ran: ",
                "continuation": "Long, red.",
                "timestamp": "2019-01-03",
            }
        ],
        questionnaire=[
            {
                "context": [turn("questionnaire", "Cats?\n1. Yes")],
                "continuation": "1",
                "timestamp": "2019-01-04",
            }
        ],
    )


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("item_type", list(ItemType))
def test_the_prompt_is_the_accepted_one(item_type: ItemType, language: Language, tmp_path: Path) -> None:
    record = one_of_each_type()
    history = dict(stream_history(write(tmp_path / "train.json", [train()]), 30, 300))["a1"]
    (item,) = (item for item in items_of(record, tmp_path) if item.item_type is item_type)
    writer = prompt_writer(Ablation.PROFILE_AND_HISTORY_AND_CONTEXT, language)
    conversation = writer.conversation(record, item, history, history_entries=30, context_turns=15)
    text = text_of(conversation.messages) + "\n"
    path = GOLDEN / f"{item_type.value}.{language.value}.txt"
    if os.environ.get(ACCEPT) == "1":
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8") if path.is_file() else ""
    diff = "\n".join(
        difflib.unified_diff(
            expected.splitlines(), text.splitlines(), str(path), "as rendered now", lineterm=""
        )
    )
    assert text == expected, f"{diff}\nIf this is meant: {ACCEPT}=1 pytest {Path(__file__).name}"
