"""Writes a conversation for an item from the prompt files in templates/prompts/.

A prompt file per item type has two blocks, `system` and `instruction`; words.<language>.j2 holds the
language. The conversation is the system message (stable over the items of a user, so that their prompts
share a prefix), then the turns before the continuation, then the instruction as the last user turn. The
target user's turns have the role assistant; everyone else's the role user, with the speaker's name before
the text, in every conversation: a third speaker may join at any turn, and the turns before must not change
then. Prompt files never see the item's `continuation`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any

from jinja2 import (
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from launch.config.schema import Language, PromptConfig
from launch.errors import InputError
from launch.scenarios.history import HistoryEntry
from launch.scenarios.readable import readable
from launch.scenarios.records import Item, ItemType, JsonObject
from launch.scenarios.turns import Turn, choose_turns, is_target, target_name

Message = dict[str, str]
BLOCKS = ("system", "instruction")
WORDS = (
    "role", "task", "kind", "profile", "personality", "history", "you", "next_message", "any_message",
    "review", "rating", "answer", "begins",
)  # fmt: skip
COLONS = ":："


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages of role system, user or assistant, the last a user's; `clipped_turns` were cut in length."""

    messages: tuple[Message, ...]
    clipped_turns: int


class PromptWriter:
    """The prompt files of a run, compiled. Raises InputError with file:line when one cannot be used."""

    def __init__(self, templates: Path, prompt: PromptConfig, language: Language) -> None:
        self._folder = templates
        self._prompt = prompt
        self._environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(templates),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters["readable"] = readable
        self._words = self._load_words(f"words.{language.value}.j2")
        self._templates = {item_type: self._load(f"{item_type.value}.j2") for item_type in ItemType}

    def num_turns(self, record: JsonObject, item: Item) -> int:
        """How many turns the settings let into the item's prompt: the most that `context_turns` can mean."""
        return len(choose_turns(item.item_type, item.data, target_name(record), self._prompt)[1])

    def num_history(self, history: Sequence[HistoryEntry]) -> int:
        """How many entries the settings let into a prompt: the most that `history_entries` can mean."""
        if not self._prompt.ablation_config.uses_history:
            return 0
        return min(len(history), self._prompt.max_history_entries)

    def conversation(
        self,
        record: JsonObject,
        item: Item,
        history: Sequence[HistoryEntry],
        *,
        history_entries: int,
        context_turns: int,
    ) -> Conversation:
        """The conversation for an item with the newest `history_entries` entries and `context_turns` turns.

        `history` is oldest first and without test items (see `leave_out_test_items`). More than the settings
        let in (`num_history`, `num_turns`) are never taken.
        """
        name = target_name(record)
        questions, spoken = choose_turns(item.item_type, item.data, name, self._prompt)
        turns = _newest(spoken, context_turns)
        entries = _newest(history, min(history_entries, self.num_history(history)))
        variables = self._variables(record, item, entries, has_turns=bool(turns))
        messages = [
            {"role": "system", "content": self._render(item.item_type, "system", variables)},
            *(_message(turn) for turn in (*turns, *questions)),
            {"role": "user", "content": self._render(item.item_type, "instruction", variables)},
        ]
        return Conversation(tuple(messages), sum(turn.is_clipped for turn in turns))

    def _variables(
        self, record: JsonObject, item: Item, entries: Sequence[HistoryEntry], *, has_turns: bool
    ) -> dict[str, Any]:
        user = record.get("user") or {}
        task = record["task"]
        uses_profile = self._prompt.ablation_config.uses_profile
        personality = (user.get("personality") or {}) if uses_profile else {}
        prefix = item.data.get("continuation_prefix") or ""
        return {
            "name": target_name(record) if uses_profile else None,
            "system_prompt": self._prompt.system_prompt or "",
            "task_description": (task.get("description") or "").strip(),
            "profile": (user.get("profile") or {}) if uses_profile else {},
            "personality": {"structured": None, "unstructured": None, **personality},
            "history": [self._history_view(entry, target_name(record)) for entry in entries],
            "item_desc": (task["task_behavior_collections"][item.collection].get("type_desc") or "").strip(),
            "film": film_of(prefix),
            "prefix": prefix,
            "has_turns": has_turns,
            "words": self._words,
        }

    def _history_view(self, entry: HistoryEntry, name: str | None) -> Mapping[str, Any]:
        return {
            "type": entry["type"],
            "turns": [
                {
                    "label": self._words.you if is_target(turn["source"], name) else turn["source"],
                    "content": turn["content"],
                }
                for turn in entry["context"]
            ],
            "prefix": entry["prefix"],
            "text": entry["continuation"],
        }

    def _render(self, item_type: ItemType, block: str, variables: Mapping[str, Any]) -> str:
        template = self._templates[item_type]
        try:
            text = "".join(template.blocks[block](template.new_context(dict(variables)))).strip()
        except TemplateError as error:
            raise self._unusable(f"{item_type.value}.j2", error) from None
        if not text:
            raise InputError(
                f"{self._folder / item_type.value}.j2: block `{block}` is empty for {item_type.value} items."
                " Let it say something."
            )
        return text

    def _load(self, name: str) -> Template:
        template: Template = self._compile(name, self._environment.get_template)
        missing = [block for block in BLOCKS if block not in template.blocks]
        if missing:
            raise InputError(
                f"{self._folder / name}: no block `{missing[0]}`. Add {{% block {missing[0]} %}}."
            )
        return template

    def _load_words(self, name: str) -> Any:
        words = self._compile(name, lambda file: self._environment.get_template(file).module)
        missing = [word for word in WORDS if not hasattr(words, word)]
        if missing:
            raise InputError(f"{self._folder / name}: `{missing[0]}` is not defined. Define it.")
        return words

    def _compile(self, name: str, load: Callable[[str], Any]) -> Any:
        try:
            return load(name)
        except TemplateError as error:
            raise self._unusable(name, error) from None

    def _unusable(self, name: str, error: TemplateError) -> InputError:
        if isinstance(error, TemplateNotFound):
            return InputError(f"{self._folder / str(error.name)}: not found. Put the prompt file there.")
        where = f"{self._folder / name}{_line_of(error)}"
        what = " ".join((error.message or type(error).__name__).split())
        return InputError(f"{where}: {what}. Mend the prompt file.")


def _line_of(error: TemplateError) -> str:
    """`:line` in the file that was asked for, or in the one that it includes (named); "" when not known."""
    if isinstance(error, TemplateSyntaxError):
        return f" ({Path(error.filename or error.name or '').name}:{error.lineno})"
    places = [
        (frame.f_globals["__jinja_template__"], line)
        for frame, line in walk_tb(error.__traceback__)
        if "__jinja_template__" in frame.f_globals
    ]
    if not places:
        return ""
    template, line = places[-1]
    return f" ({template.name}:{template.get_corresponding_lineno(line)})"


def film_of(prefix: str) -> str:
    """The film that a `continuation_prefix` such as "The Harbour: " names."""
    return prefix.strip().rstrip(COLONS).strip()


def _message(turn: Turn) -> Message:
    if turn.is_target:
        return {"role": "assistant", "content": turn.content}
    content = turn.content if turn.is_question or not turn.source else f"{turn.source}: {turn.content}"
    return {"role": "user", "content": content}


def _newest(entries: Iterable[Any], number: int) -> list[Any]:
    return list(entries)[-number:] if number > 0 else []
