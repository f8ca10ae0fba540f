"""The one rule by which a conversation meets a chat template, found once per run and recorded in run.yaml.

- native: the template takes a system message, an assistant's first turn and two turns of one role in a row.
- folded: it refuses or drops one of these (Gemma, Mistral). Then the system text goes to the front of the
  first user turn, neighbours of one role become one turn, with a blank line between, and roles alternate
  from user to user.
- text: there is no template. The conversation is a transcript with a label before each turn.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from launch.errors import CheckpointError
from launch.model.chat_template import ChatTemplateError, Message
from launch.model.tokenizer import ChatTokenizer

BLANK_LINE = "\n\n"
OPENING = "…"  # the user turn before an assistant's first one when there is no system text to stand there
LABELS = {"user": "User", "assistant": "Assistant"}


class ChatForm(StrEnum):
    """How conversations meet the checkpoint's chat template."""

    NATIVE = "native"
    FOLDED = "folded"
    TEXT = "text"


PROBES = (
    ("system", "user", "assistant", "user"),
    ("system", "assistant", "user"),
    ("system", "assistant", "user", "user"),
    ("system", "user", "assistant", "assistant", "user"),
    ("system", "user"),
)


def probe_chat_form(tokenizer: ChatTokenizer, kwargs: Mapping[str, object]) -> ChatForm:
    """The form that loses nothing with this template: native, else folded, else CheckpointError; text if
    none.

    Every conversation that we make ends in a user's turn, so a template may ask for that.
    """
    if not tokenizer.has_chat_template:
        return ChatForm.TEXT
    for form in (ChatForm.NATIVE, ChatForm.FOLDED):
        problems = [problem for roles in PROBES if (problem := _probe(tokenizer, form, roles, kwargs))]
        if not problems:
            return form
    raise CheckpointError(
        f"chat template: {problems[0]}, even with user and assistant in turn. Give the checkpoint another"
        " chat_template.jinja, or remove it for plain text."
    )


def probe_prompt(tokenizer: ChatTokenizer, form: ChatForm, kwargs: Mapping[str, object]) -> str:
    """A prompt of the shortest conversation that we make: for what stands at the end of every prompt."""
    messages = [{"role": role, "content": "probe"} for role in PROBES[-1]]
    return render_prompt(tokenizer, messages, form, kwargs)


def arrange(messages: Sequence[Message], form: ChatForm) -> list[dict[str, str]]:
    """The messages in the form's order of roles; text is joined, never changed or left out."""
    if form is not ChatForm.FOLDED:
        return [dict(message) for message in messages]
    folded: list[dict[str, str]] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if not folded and role == "assistant":
            folded.append({"role": "user", "content": OPENING})
        if folded and folded[-1]["role"] == role:
            folded[-1]["content"] += BLANK_LINE + message["content"]
        else:
            folded.append({"role": role, "content": message["content"]})
    return folded


def render_prompt(
    tokenizer: ChatTokenizer, messages: Sequence[Message], form: ChatForm, kwargs: Mapping[str, object]
) -> str:
    """The whole prompt as text; ChatTemplateError when the template refuses this very conversation."""
    if form is ChatForm.TEXT:
        return transcript(messages)
    return tokenizer.render_chat(arrange(messages, form), **kwargs)


def encode_prompt(
    tokenizer: ChatTokenizer, messages: Sequence[Message], form: ChatForm, kwargs: Mapping[str, object]
) -> list[int]:
    """The token ids of the whole prompt; ChatTemplateError as `render_prompt`."""
    if form is ChatForm.TEXT:
        return tokenizer.encode_text(transcript(messages))
    return tokenizer.encode_chat(arrange(messages, form), **kwargs)


def transcript(messages: Iterable[Message]) -> str:
    """The conversation for a model that knows no chat: system text, labelled turns, a label to go on from."""
    parts = [
        f"{LABELS[message['role']]}: {message['content']}"
        if message["role"] in LABELS
        else message["content"]
        for message in messages
    ]
    return BLANK_LINE.join([*parts, f"{LABELS['assistant']}:"])


def _probe(
    tokenizer: ChatTokenizer, form: ChatForm, roles: Sequence[str], kwargs: Mapping[str, object]
) -> str | None:
    """What goes wrong with a conversation of these roles, or None: each message once, in order."""
    messages = [{"role": role, "content": f"probe{place}marker"} for place, role in enumerate(roles)]
    try:
        text = tokenizer.render_chat(arrange(messages, form), **kwargs)
    except ChatTemplateError as error:
        return f"it refuses a conversation ({error})"
    places = [text.find(message["content"]) for message in messages]
    if min(places) < 0:
        return f"it drops a {roles[places.index(min(places))]} message"
    return None if places == sorted(places) else "it changes the order of messages"
