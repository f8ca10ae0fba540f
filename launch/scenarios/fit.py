"""Makes a request of an item: its prompt as token ids, shortened until it fits, or why that cannot be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.config.schema import Language, RunConfig
from launch.model.chat_template import ChatTemplateError
from launch.model.tokenizer import ChatTokenizer
from launch.scenarios.chat import ChatForm, encode_prompt
from launch.scenarios.history import HistoryEntry
from launch.scenarios.prompts import Conversation, PromptWriter
from launch.scenarios.records import Cuts, Failure, Generation, Item, JsonObject, Request, item_seed

TOO_LONG = "too_long"
TEMPLATE_REFUSED = "chat_template"


@dataclass(frozen=True, slots=True)
class PromptMaker:
    """All that turns items of one run into prompts; the same on every task."""

    writer: PromptWriter
    tokenizer: ChatTokenizer
    form: ChatForm
    max_prompt_tokens: int
    run_seed: int
    chat_template_kwargs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt and its token ids; `cuts` says what was left out."""

    conversation: Conversation
    token_ids: list[int]
    cuts: Cuts


def open_prompt_maker(
    config: RunConfig, templates: Path, language: Language, tokenizer: ChatTokenizer, form: ChatForm
) -> PromptMaker:
    """The prompt maker of a run. `language` is the dataset's; prompt.language goes before it."""
    return PromptMaker(
        writer=PromptWriter(templates, config.prompt, config.prompt.language or language),
        tokenizer=tokenizer,
        form=form,
        max_prompt_tokens=config.max_prompt_tokens,
        run_seed=config.sampling.seed,
        chat_template_kwargs=config.prompt.chat_template_kwargs,
    )


def fit(
    maker: PromptMaker, record: JsonObject, item: Item, history: Sequence[HistoryEntry]
) -> Request | Generation:
    """The request of an item, or its failure when even the barest prompt is too long or the template
    refuses it.

    Pure: the same arguments give the same result. `history` is the plan's, oldest first, without the user's
    own test items (`leave_out_test_items`, once a user: it looks at all of them).
    """
    seed = item_seed(maker.run_seed, item.key)
    try:
        fitted = fit_prompt(maker, record, item, history)
    except ChatTemplateError as error:
        message = f"the chat template refused the conversation: {error}"
        return _failed(item, seed, 0, Cuts(), Failure(TEMPLATE_REFUSED, message))
    num_tokens = len(fitted.token_ids)
    if num_tokens > maker.max_prompt_tokens:
        message = (
            f"prompt of {num_tokens} tokens, without history and context, exceeds the budget of"
            f" {maker.max_prompt_tokens}"
        )
        return _failed(item, seed, num_tokens, fitted.cuts, Failure(TOO_LONG, message))
    return Request(item.number, item.key, item.digest, tuple(fitted.token_ids), seed, fitted.cuts)


def barest_length(maker: PromptMaker, record: JsonObject, item: Item) -> int:
    """Tokens of the shortest prompt that an item can have: the one without history and context."""
    barest = maker.writer.conversation(record, item, (), history_entries=0, context_turns=0)
    return len(encode_prompt(maker.tokenizer, barest.messages, maker.form, maker.chat_template_kwargs))


def fit_prompt(
    maker: PromptMaker, record: JsonObject, item: Item, history: Sequence[HistoryEntry]
) -> FittedPrompt:
    """The longest prompt within the budget: oldest history goes first, then oldest turns; the barest if
    none fits.

    One encoding when nothing must go, else about log2(entries) + log2(turns) more. `cuts.history` and
    `cuts.context` count what went for the budget only, not what the settings keep out; `cuts.clipped_turns`
    the turns in the prompt that max_chars_per_turn shortened.
    """
    num_history, num_turns = maker.writer.num_history(history), maker.writer.num_turns(record, item)

    def attempt(history_entries: int, context_turns: int) -> FittedPrompt:
        conversation = maker.writer.conversation(
            record, item, history, history_entries=history_entries, context_turns=context_turns
        )
        ids = encode_prompt(maker.tokenizer, conversation.messages, maker.form, maker.chat_template_kwargs)
        cuts = Cuts(num_history - history_entries, num_turns - context_turns, conversation.clipped_turns)
        return FittedPrompt(conversation, ids, cuts)

    def fits(prompt: FittedPrompt) -> bool:
        return len(prompt.token_ids) <= maker.max_prompt_tokens

    whole = attempt(num_history, num_turns)
    if fits(whole):
        return whole
    best = _most(lambda entries: attempt(entries, num_turns), fits, num_history) if num_history else None
    if best is None and num_turns:
        best = _most(lambda turns: attempt(0, turns), fits, num_turns)
    return best or attempt(0, 0)


def _most(
    attempt: Callable[[int], FittedPrompt], fits: Callable[[FittedPrompt], bool], too_many: int
) -> FittedPrompt | None:
    """The prompt with the most parts below `too_many` that fits, by bisection; None when none does."""
    best = attempt(0)
    if not fits(best):
        return None
    low, high = 0, too_many
    while high - low > 1:
        middle = (low + high) // 2
        prompt = attempt(middle)
        if fits(prompt):
            low, best = middle, prompt
        else:
            high = middle
    return best


def _failed(item: Item, seed: int, num_tokens: int, cuts: Cuts, failure: Failure) -> Generation:
    return Generation(item.number, item.key, item.digest, seed, num_tokens, cuts, failure=failure)
