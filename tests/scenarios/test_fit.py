"""Prompts that fit: what is cut, in which order, and what cannot fit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.config.schema import Ablation, EngineConfig, Language, PromptConfig, RunConfig, SamplingConfig
from launch.model.chat_template import Message
from launch.model.tokenizer import ChatTokenizer
from launch.scenarios.chat import ChatForm, encode_prompt
from launch.scenarios.fit import PromptMaker, fit, fit_prompt, open_prompt_maker
from launch.scenarios.history import HistoryEntry, stream_history
from launch.scenarios.records import Cuts, Generation, Item, Request, item_seed
from tests.scenarios import chat_templates
from tests.scenarios.builders import (
    PROMPT_FILES,
    Record,
    dialogue_item,
    items_of,
    prompt_writer,
    turn,
    user,
    write,
)
from tests.scenarios.conftest import TokenizerFor


class Counting:
    """A tokenizer that counts how often it encodes."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self.num_encoded = 0

    @property
    def has_chat_template(self) -> bool:
        return self._tokenizer.has_chat_template

    def render_chat(self, messages: Sequence[Message], /, **kwargs: object) -> str:
        return self._tokenizer.render_chat(messages, **kwargs)

    def encode_chat(self, messages: Sequence[Message], /, **kwargs: object) -> list[int]:
        self.num_encoded += 1
        return self._tokenizer.encode_chat(messages, **kwargs)

    def encode_text(self, text: str) -> list[int]:
        self.num_encoded += 1
        return self._tokenizer.encode_text(text)


@pytest.fixture
def record() -> Record:
    """Twelve turns of words in common and a number."""
    turns = [turn(("BEN", "ADA")[n % 2], f"turn {n} of the talk about the weather") for n in range(12)]
    return user("a", dialogue=[dialogue_item(*turns)])


@pytest.fixture
def item(record: Record, tmp_path: Path) -> Item:
    return items_of(record, tmp_path)[0]


@pytest.fixture
def history(tmp_path: Path) -> list[HistoryEntry]:
    items = [
        {"continuation": f"entry {n} of what was written before", "timestamp": f"2001-01-{n + 1:02d}"}
        for n in range(20)
    ]
    return dict(stream_history(write(tmp_path / "train.json", [user("a", movie_review=items)]), 30, 300))["a"]


@pytest.fixture
def maker(tokenizer_for: TokenizerFor) -> PromptMaker:
    return PromptMaker(
        prompt_writer(), Counting(tokenizer_for(chat_templates.CHATML)), ChatForm.NATIVE, 100_000, run_seed=42
    )


def with_budget(maker: PromptMaker, budget: int) -> PromptMaker:
    return PromptMaker(maker.writer, maker.tokenizer, maker.form, budget, maker.run_seed)


def size(maker: PromptMaker, record: Record, item: Item, history: Any, entries: int, turns: int) -> int:
    """Tokens of the prompt with so many entries and turns, counted apart from `fit`."""
    conversation = maker.writer.conversation(
        record, item, history, history_entries=entries, context_turns=turns
    )
    return len(encode_prompt(maker.tokenizer, conversation.messages, maker.form, {}))


def test_what_fits_is_encoded_once(maker: PromptMaker, record: Record, item: Item, history: Any) -> None:
    request = fit(maker, record, item, history)
    assert isinstance(request, Request)
    assert isinstance(maker.tokenizer, Counting)
    assert maker.tokenizer.num_encoded == 1
    assert request.cuts == Cuts()
    assert len(request.token_ids) == size(maker, record, item, history, 20, 12)
    assert (request.number, request.key, request.digest) == (item.number, item.key, item.digest)
    assert request.seed == item_seed(42, item.key)


def test_every_budget_is_used_as_far_as_it_goes(
    maker: PromptMaker, record: Record, item: Item, history: Any
) -> None:
    """Against every choice there is: the most history with all turns, else the most turns without history."""
    with_history = [size(maker, record, item, history, entries, 12) for entries in range(21)]
    without = [size(maker, record, item, history, 0, turns) for turns in range(13)]
    assert with_history == sorted(with_history)
    assert without == sorted(without)
    for budget in range(without[0] - 2, with_history[-1] + 3, 7):
        made = fit(with_budget(maker, budget), record, item, history)
        if budget >= with_history[0]:
            kept = max(n for n in range(21) if with_history[n] <= budget)
            expected, length = Cuts(history=20 - kept), with_history[kept]
        elif budget >= without[0]:
            kept = max(n for n in range(13) if without[n] <= budget)
            expected, length = Cuts(history=20, context=12 - kept), without[kept]
        else:
            assert isinstance(made, Generation)
            continue
        assert isinstance(made, Request)
        assert made.cuts == expected
        assert len(made.token_ids) == length <= budget


def test_cutting_takes_few_encodings(maker: PromptMaker, record: Record, item: Item, history: Any) -> None:
    budget = size(maker, record, item, history, 0, 5)
    assert isinstance(maker.tokenizer, Counting)
    maker.tokenizer.num_encoded = 0
    assert isinstance(fit(with_budget(maker, budget), record, item, history), Request)
    assert maker.tokenizer.num_encoded <= 1 + 1 + 1 + 4


def test_what_never_fits_is_a_failed_item(
    maker: PromptMaker, record: Record, item: Item, history: Any
) -> None:
    barest = size(maker, record, item, history, 0, 0)
    made = fit(with_budget(maker, barest - 1), record, item, history)
    assert isinstance(made, Generation)
    assert made.failure is not None
    assert made.failure.failure_class == "too_long"
    assert made.failure.message == (
        f"prompt of {barest} tokens, without history and context, exceeds the budget of {barest - 1}"
    )
    assert (made.num_prompt_tokens, made.samples, made.cuts) == (barest, (), Cuts(20, 12, 0))
    assert isinstance(fit(with_budget(maker, barest), record, item, history), Request)


def test_clipped_turns_in_the_prompt_are_counted(tmp_path: Path, maker: PromptMaker) -> None:
    record = user(
        "a", dialogue=[dialogue_item(turn("BEN", "x" * 400), turn("BEN", "y"), turn("BEN", "z" * 301))]
    )
    (item,) = items_of(record, tmp_path)
    made = fit(maker, record, item, [])
    assert made.cuts == Cuts(clipped_turns=2)
    budget = size(maker, record, item, [], 0, 2)
    assert fit(with_budget(maker, budget), record, item, []).cuts == Cuts(context=1, clipped_turns=1)


def test_a_huge_profile_is_a_failed_item_not_a_crash(tmp_path: Path, maker: PromptMaker) -> None:
    record = user("a")
    record["user"]["profile"]["life"] = "words " * 10_000
    (item,) = items_of(record, tmp_path)
    made = fit(with_budget(maker, 1000), record, item, [])
    assert isinstance(made, Generation)
    assert made.failure is not None
    assert made.failure.failure_class == "too_long"


def test_a_template_that_refuses_one_conversation_fails_that_item(
    tmp_path: Path, tokenizer_for: TokenizerFor
) -> None:
    picky = (
        "{% if 'BAD' in messages[1].content %}{{ raise_exception('no\nway') }}{% endif %}"
        + chat_templates.CHATML
    )
    maker = PromptMaker(prompt_writer(), tokenizer_for(picky), ChatForm.NATIVE, 10_000, run_seed=1)
    record = user("a", dialogue=[dialogue_item(turn("BEN", "BAD")), dialogue_item(turn("BEN", "good"))])
    bad, good = (fit(maker, record, item, []) for item in items_of(record, tmp_path))
    assert isinstance(good, Request)
    assert isinstance(bad, Generation)
    assert bad.failure is not None
    assert bad.failure.failure_class == "chat_template"
    assert bad.failure.message == "the chat template refused the conversation: no way"


TEMPLATES = {
    ChatForm.NATIVE: chat_templates.CHATML,
    ChatForm.FOLDED: chat_templates.GEMMA,
    ChatForm.TEXT: None,
}
TURNS = st.lists(
    st.builds(
        turn,
        st.sampled_from(["ADA", "BEN", "user", ""]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ),
    max_size=6,
)


@pytest.mark.parametrize("form", list(ChatForm))
def test_any_budget_and_any_form_give_a_request_or_a_failure(
    form: ChatForm, tokenizer_for: TokenizerFor, item: Item
) -> None:
    tokenizer, writer = tokenizer_for(TEMPLATES[form]), prompt_writer()

    @settings(max_examples=50)
    @given(turns=TURNS, budget=st.integers(1, 400))
    def check(turns: list[Record], budget: int) -> None:
        record = user("a", dialogue=[dialogue_item(*turns)])
        changed = replace(item, data=dialogue_item(*turns))
        maker = PromptMaker(writer, tokenizer, form, budget, run_seed=1)
        made = fit(maker, record, changed, [])
        if isinstance(made, Request):
            assert 0 < len(made.token_ids) <= budget
        else:
            assert made.num_prompt_tokens > budget

    check()


def test_a_maker_of_a_run_has_the_run_s_settings(tokenizer_for: TokenizerFor) -> None:
    config = RunConfig(
        prompt=PromptConfig(
            ablation_config=Ablation.PROFILE_ONLY,
            language=Language.JAPANESE,
            chat_template_kwargs={"x": True},
        ),
        sampling=SamplingConfig(seed=7, max_tokens=100),
        engine=EngineConfig(max_model_len=1000),
    )
    tokenizer = tokenizer_for(chat_templates.CHATML)
    maker = open_prompt_maker(config, PROMPT_FILES, Language.ENGLISH, tokenizer, ChatForm.NATIVE)
    assert (maker.max_prompt_tokens, maker.run_seed, maker.chat_template_kwargs) == (900, 7, {"x": True})


def test_the_language_of_the_preset_goes_first(
    tokenizer_for: TokenizerFor, record: Record, item: Item
) -> None:
    tokenizer = tokenizer_for(chat_templates.CHATML)
    for chosen, words in ((None, "你就是"), (Language.JAPANESE, "あなたは")):
        config = RunConfig(prompt=PromptConfig(language=chosen))
        maker = open_prompt_maker(config, PROMPT_FILES, Language.CHINESE, tokenizer, ChatForm.NATIVE)
        assert fit_prompt(maker, record, item, []).conversation.messages[0]["content"].startswith(words)
