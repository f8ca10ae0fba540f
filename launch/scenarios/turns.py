"""Which turns before a continuation go into a prompt, as whom, and how they are shortened."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from launch.config.schema import PromptConfig
from launch.scenarios.records import ItemType, JsonObject

ELLIPSIS = "…"
TARGET_SOURCE = "user"
QUESTION_SOURCE = "questionnaire"


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as it goes into a prompt. `is_target`: the user whose continuation is asked for spoke it.

    `is_question`: it is what the item asks, not conversation; whole, and there whatever else is left out.
    """

    source: str
    content: str
    is_target: bool
    is_question: bool = False
    is_clipped: bool = False


def clip(text: str, max_chars: int) -> str:
    """The text, or as much of it as `max_chars` characters hold together with an ellipsis at the end."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + ELLIPSIS


def target_name(record: JsonObject) -> str | None:
    """profile.name, the source of the target user's own turns; None where a dataset has no names."""
    profile: Any = (record.get("user") or {}).get("profile") or {}
    return profile.get("name") or None


def is_target(source: str, name: str | None) -> bool:
    """Whether a turn of this source was spoken by the target user."""
    return source in (name, TARGET_SOURCE)


def choose_turns(
    item_type: ItemType, item: JsonObject, name: str | None, prompt: PromptConfig
) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """(question turns, conversation turns) of an item, as the prompt settings and the ablation let them in.

    Conversation: the `max_context_turns` newest, each clipped to `max_chars_per_turn`, none when the ablation
    leaves context out. A questionnaire's turns by "questionnaire" are the question itself: like the film of a
    review they are there in every ablation, and whole, because its options stand at the end.
    """
    turns: Sequence[JsonObject] = item.get("context") or ()
    asks = item_type is ItemType.QUESTIONNAIRE
    questions = tuple(
        Turn(turn["source"], turn["content"], False, is_question=True)
        for turn in turns
        if asks and turn["source"] == QUESTION_SOURCE
    )
    spoken = [turn for turn in turns if not (asks and turn["source"] == QUESTION_SOURCE)]
    if not prompt.ablation_config.uses_context or not prompt.max_context_turns:
        return questions, ()
    newest = spoken[-prompt.max_context_turns :]
    return questions, tuple(_turn(turn, name, prompt.max_chars_per_turn) for turn in newest)


def _turn(turn: JsonObject, name: str | None, max_chars: int) -> Turn:
    content = turn["content"]
    return Turn(
        source=turn["source"],
        content=clip(content, max_chars),
        is_target=is_target(turn["source"], name),
        is_clipped=len(content) > max_chars,
    )
