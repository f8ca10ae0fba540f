"""The one rule by which a conversation meets a chat template."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.errors import CheckpointError
from launch.model.chat_template import ChatTemplateError
from launch.scenarios.chat import (
    OPENING,
    ChatForm,
    arrange,
    encode_prompt,
    probe_chat_form,
    render_prompt,
    transcript,
)
from tests.scenarios import chat_templates as templates
from tests.scenarios.conftest import TokenizerFor

FORMS = {
    "chatml": "native",
    "llama3": "native",
    "gemma": "folded",
    "mistral": "folded",
    "drops system": "folded",
}
MESSAGES = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1, max_size=5)), max_size=8
).map(
    lambda middle: [
        {"role": role, "content": content}
        for role, content in [("system", "SYSTEM"), *middle, ("user", "INSTRUCTION")]
    ]
)


@pytest.mark.parametrize("kind", FORMS)
def test_the_form_of_each_family(kind: str, tokenizer_for: TokenizerFor) -> None:
    assert probe_chat_form(tokenizer_for(templates.KINDS[kind]), {}) is ChatForm(FORMS[kind])


def test_no_template_is_text(tokenizer_for: TokenizerFor) -> None:
    assert probe_chat_form(tokenizer_for(None), {}) is ChatForm.TEXT


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (templates.REFUSES_ALL, "it refuses a conversation (not today nor"),
        (templates.DROPS_ALL, "it drops a system"),
    ],
)
def test_a_template_that_takes_nothing_is_an_error(
    template: str, what: str, tokenizer_for: TokenizerFor
) -> None:
    with pytest.raises(CheckpointError) as caught:
        probe_chat_form(tokenizer_for(template), {})
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_reach_the_template(tokenizer_for: TokenizerFor) -> None:
    strict = "{% if not tame %}{{ raise_exception('wild') }}{% endif %}" + templates.CHATML
    assert probe_chat_form(tokenizer_for(strict), {"tame": True}) is ChatForm.NATIVE
    with pytest.raises(CheckpointError, match="wild"):
        probe_chat_form(tokenizer_for(strict), {})


@given(messages=MESSAGES)
def test_folded_alternates_from_user_to_user_and_loses_nothing(messages: list[dict[str, str]]) -> None:
    before = [dict(message) for message in messages]
    folded = arrange(messages, ChatForm.FOLDED)
    assert messages == before
    assert [m["role"] for m in folded] == ["user", "assistant"] * (len(folded) // 2) + ["user"]
    joined = "\n\n".join(message["content"] for message in messages)
    assert "\n\n".join(message["content"] for message in folded) == joined


def test_folding_puts_the_system_text_before_an_assistant_s_first_turn() -> None:
    folded = arrange(
        [
            {"role": "system", "content": "S"},
            {"role": "assistant", "content": "A"},
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": "C"},
            {"role": "user", "content": "D"},
        ],
        ChatForm.FOLDED,
    )
    assert folded == [
        {"role": "user", "content": "S"},
        {"role": "assistant", "content": "A\n\nB"},
        {"role": "user", "content": "C\n\nD"},
    ]


def test_without_system_text_an_opening_stands_there() -> None:
    folded = arrange(
        [{"role": "assistant", "content": "A"}, {"role": "user", "content": "B"}], ChatForm.FOLDED
    )
    assert [message["content"] for message in folded] == [OPENING, "A", "B"]


@given(messages=MESSAGES)
def test_native_and_text_leave_the_messages_as_they_are(messages: list[dict[str, str]]) -> None:
    assert arrange(messages, ChatForm.NATIVE) == messages
    assert arrange(messages, ChatForm.TEXT) == messages


def test_a_transcript_has_labels_and_ends_with_one() -> None:
    messages = [{"role": role, "content": role.upper()} for role in ("system", "assistant", "user")]
    assert transcript(messages) == "SYSTEM\n\nAssistant: ASSISTANT\n\nUser: USER\n\nAssistant:"


@pytest.mark.parametrize("kind", [*FORMS, None])
def test_every_family_gives_a_prompt_for_every_order_of_roles(
    kind: str | None, tokenizer_for: TokenizerFor
) -> None:
    tokenizer = tokenizer_for(templates.KINDS[kind] if kind else None)
    form = probe_chat_form(tokenizer, {})

    @given(messages=MESSAGES)
    def check(messages: list[dict[str, Any]]) -> None:
        text = render_prompt(tokenizer, messages, form, {})
        places = [text.find(part) for part in ("SYSTEM", "INSTRUCTION")]
        assert -1 < places[0] < places[1]
        assert encode_prompt(tokenizer, messages, form, {})

    check()


def test_a_refusal_at_run_time_is_told_apart(tokenizer_for: TokenizerFor) -> None:
    picky = (
        "{% if 'bad' in messages[0]['content'] %}{{ raise_exception('no') }}{% endif %}" + templates.CHATML
    )
    with pytest.raises(ChatTemplateError, match="no"):
        encode_prompt(tokenizer_for(picky), [{"role": "user", "content": "bad"}], ChatForm.NATIVE, {})
