"""Records in the scenario's shape, small and complete, for tests to bend."""

import json
from pathlib import Path
from typing import Any

from launch.config.schema import Ablation, Language, PromptConfig
from launch.scenarios.prompts import PromptWriter
from launch.scenarios.records import Item
from launch.scenarios.stream import stream_users

REPOSITORY = Path(__file__).resolve().parents[2]
PROMPT_FILES = REPOSITORY / "templates" / "prompts"
DEMO = REPOSITORY / "demo" / "scenarios"
# A sample of a real dataset (Japanese dialogue), which a developer may have beside or in the checkout.
SAMPLES = [folder / "shared" / "data" / "RealPersonaChat" for folder in (REPOSITORY, REPOSITORY.parent)]

Record = dict[str, Any]


def scenarios() -> list[Path]:
    """The scenario directories at hand: the demo's, and the real sample where there is one."""
    return [DEMO / "Chameleons", DEMO / "DMSC", *[path for path in SAMPLES if path.is_dir()][:1]]


def turn(source: str, content: str, timestamp: str = "2020-01-01T10:00:00") -> Record:
    return {"source": source, "content": content, "timestamp": timestamp}


def dialogue_item(*turns: Record, continuation: str | None = "the true answer", **more: Any) -> Record:
    item: Record = {"context": list(turns), "timestamp": "2020-01-01T11:00:00", **more}
    return item if continuation is None else {**item, "continuation": continuation}


def user(user_hash: str = "a1", name: str | None = "ADA", **collections: list[Record]) -> Record:
    """A user with a collection per keyword, its item type; a dialogue of one item unless any is given."""
    chosen = collections or {"dialogue": [dialogue_item(turn("BEN", "Hello, Ada."))]}
    profile: Record = {"gender": "f"} if name is None else {"name": name, "gender": "f"}
    return {
        "user_hash": user_hash,
        "user": {
            "profile": profile,
            "personality": {"structured": {"Calm": 3}, "unstructured": "Likes order."},
        },
        "task": {
            "description": "Continue as the person.",
            "task_behavior_collections": [
                {"type": item_type, "type_desc": f"a {item_type}", "data": data}
                for item_type, data in chosen.items()
            ],
        },
    }


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def items_of(record: Record, tmp_path: Path) -> tuple[Item, ...]:
    """The record's items as the stream makes them."""
    (read,) = stream_users(write(tmp_path / "one.json", [record]))
    return read.items


def prompt_writer(
    ablation: Ablation = Ablation.PROFILE_AND_HISTORY_AND_CONTEXT,
    language: Language = Language.ENGLISH,
    **settings: Any,
) -> PromptWriter:
    return PromptWriter(PROMPT_FILES, PromptConfig(ablation_config=ablation, **settings), language)


def text_of(messages: Any) -> str:
    """The whole conversation as one text."""
    return "\n".join(f"<{message['role']}>\n{message['content']}" for message in messages)


def one_of_each_type() -> Record:
    """A user with an item of every type."""
    return user(
        dialogue=[
            dialogue_item(
                turn("BEN", "Where were you?"),
                turn("ADA", "On the roof."),
                turn("CLEO", "Both of you, quiet."),
            )
        ],
        movie_review=[
            {
                "context": [],
                "continuation_prefix": "钢铁侠1: ",
                "continuation": "Loud.",
                "timestamp": "2020-02-01",
            }
        ],
        movie_rating=[
            {
                "context": [],
                "continuation_prefix": "Heat (1995): ",
                "continuation": "4.5",
                "timestamp": "2020-02-02",
            }
        ],
        questionnaire=[
            {
                "context": [turn("questionnaire", "Do you like tea?\n1. Yes\n2. No")],
                "continuation": "1",
                "timestamp": "2020-02-03",
            }
        ],
    )
