"""Prompts as a model would get them, before anything is spent: `vllm-launch prompts --show N`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from launch.scenarios.chat import render_prompt
from launch.scenarios.fit import PromptMaker, fit_prompt
from launch.scenarios.history import HistoryEntry, leave_out_test_items
from launch.scenarios.records import Cuts, Item, ItemType, JsonObject, User


@dataclass(frozen=True, slots=True)
class PromptPreview:
    """A prompt as the model would get it. `fits` is False where the item would fail as too long.

    `num_test_items_left_out`: history entries that are test items of this user, and were not shown to the
    model.
    """

    key: str
    item_type: ItemType
    text: str
    num_tokens: int
    cuts: Cuts
    fits: bool
    num_test_items_left_out: int


def preview(
    maker: PromptMaker,
    users: Iterable[tuple[User, Sequence[Item]]],
    history: Mapping[str, Sequence[HistoryEntry]],
) -> Iterator[PromptPreview]:
    """The prompts of the items given with each user, in order, lazily: take as many as are to be shown.

    Raises ChatTemplateError for a conversation that the chat template refuses.
    """
    for user, items in users:
        entries, left_out = leave_out_test_items(history.get(user.user_hash, ()), user.record)
        for item in items:
            yield preview_item(maker, user.record, item, entries, left_out)


def preview_item(
    maker: PromptMaker, record: JsonObject, item: Item, entries: Sequence[HistoryEntry], left_out: int
) -> PromptPreview:
    """The prompt of one item; `entries` and `left_out` are what `leave_out_test_items` gave of its user.

    Raises ChatTemplateError for a conversation that the chat template refuses.
    """
    fitted = fit_prompt(maker, record, item, entries)
    text = render_prompt(
        maker.tokenizer, fitted.conversation.messages, maker.form, maker.chat_template_kwargs
    )
    num_tokens = len(fitted.token_ids)
    fits = num_tokens <= maker.max_prompt_tokens
    return PromptPreview(item.key, item.item_type, text, num_tokens, fitted.cuts, fits, left_out)
