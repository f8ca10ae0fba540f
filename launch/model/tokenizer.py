"""Turns a conversation into token ids, with or without transformers, to the same ids.

`open_light_tokenizer` needs tokenizers and jinja2 only (login node, previews, the stub engine);
`open_reference_tokenizer` is transformers' own (vllm and transformers engines). Both treat what people
wrote as text: a `<|im_end|>` inside a message is tokenized letter by letter and never ends the message.
Without that, data could put words into the system's mouth. The text itself is not changed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from launch.errors import CheckpointError
from launch.model.chat_template import (
    TEMPLATE_FAILURES,
    ChatTemplateError,
    Message,
    frozen_strftime,
    read_chat_template,
    read_special_tokens,
    render_chat_template,
)
from launch.model.literal import LiteralText
from launch.model.weights import refuse_lfs_pointer


class ChatTokenizer(Protocol):
    """Text to token ids, as the model was trained to read it. Not thread-safe: one thread uses it."""

    @property
    def has_chat_template(self) -> bool:
        """Whether render_chat and encode_chat can be called."""
        ...

    def render_chat(self, messages: Sequence[Message], /, **kwargs: object) -> str:
        """The prompt text, with the generation prompt at its end; ChatTemplateError when it is refused."""
        ...

    def encode_chat(self, messages: Sequence[Message], /, **kwargs: object) -> list[int]:
        """The token ids of that text. Special tokens are the template's alone; none is added."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """The token ids of plain text, with what the tokenizer adds of itself (a begin of sequence)."""
        ...


def open_light_tokenizer(checkpoint: Path) -> ChatTokenizer:
    """A tokenizer from tokenizer.json and the chat template.

    Renders without tokenizer.json, and raises CheckpointError only when ids are asked for. As transformers 5
    does, it takes from tokenizer.json alone what is added to plain text, whatever add_bos_token says.
    """
    return _LightTokenizer(checkpoint)


def open_reference_tokenizer(checkpoint: Path, trust_remote_code: bool) -> ChatTokenizer:
    """transformers' own tokenizer of a checkpoint; CheckpointError when it cannot be loaded."""
    return _ReferenceTokenizer(checkpoint, trust_remote_code)


def load_tokenizer_file(checkpoint: Path) -> Tokenizer:
    """tokenizer.json of a checkpoint, whole texts, no padding; CheckpointError when it cannot be read."""
    path = checkpoint / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not found; tokens cannot be counted without it. Save it there with"
            " transformers' AutoTokenizer (save_pretrained)."
        )
    refuse_lfs_pointer(path, "tokenizer")
    try:
        loaded = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises nothing narrower
        raise CheckpointError(f"{path}: not a tokenizer ({error}). Copy the checkpoint again.") from None
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


class _LightTokenizer:
    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._template = read_chat_template(checkpoint)
        self._special_tokens = read_special_tokens(checkpoint)
        self._loaded: Tokenizer | None = None
        self._guard: LiteralText | None = None

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    def render_chat(self, messages: Sequence[Message], /, **kwargs: object) -> str:
        if self._template is None:
            raise ChatTemplateError("the checkpoint has no chat template")
        return render_chat_template(self._template, messages, self._special_tokens, **kwargs)

    def encode_chat(self, messages: Sequence[Message], /, **kwargs: object) -> list[int]:
        tokenizer = self._tokenizer()
        if self._guard is None:
            added = tokenizer.get_added_tokens_decoder().values()
            self._guard = LiteralText(token.content for token in added if token.special)
        return self._guard.encode(messages, lambda safe: self.render_chat(safe, **kwargs), self._encode)

    def encode_text(self, text: str) -> list[int]:
        return self._encode(text, literal=True, special=True)

    def _encode(self, text: str, *, literal: bool, special: bool = False) -> list[int]:
        tokenizer = self._tokenizer()
        tokenizer.encode_special_tokens = literal
        ids: list[int] = tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def _tokenizer(self) -> Tokenizer:
        if self._loaded is None:
            self._loaded = load_tokenizer_file(self._checkpoint)
        return self._loaded


class _ReferenceTokenizer:
    def __init__(self, checkpoint: Path, trust_remote_code: bool) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                str(checkpoint), trust_remote_code=trust_remote_code, local_files_only=True
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            what = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{checkpoint}: the tokenizer cannot be loaded: {what}") from error
        added = self._tokenizer.added_tokens_decoder.values()
        self._guard = LiteralText(token.content for token in added if token.special)

    @property
    def has_chat_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    def render_chat(self, messages: Sequence[Message], /, **kwargs: object) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=True,
                strftime_now=frozen_strftime,
                **kwargs,
            )
        except TEMPLATE_FAILURES as error:
            raise ChatTemplateError(" ".join(str(error).split()) or type(error).__name__) from error
        return text

    def encode_chat(self, messages: Sequence[Message], /, **kwargs: object) -> list[int]:
        return self._guard.encode(messages, lambda safe: self.render_chat(safe, **kwargs), self._encode)

    def encode_text(self, text: str) -> list[int]:
        return self._encode(text, literal=True, special=True)

    def _encode(self, text: str, *, literal: bool, special: bool = False) -> list[int]:
        encoded = self._tokenizer(
            text, add_special_tokens=special, split_special_tokens=literal, verbose=False
        )
        ids: list[int] = list(encoded["input_ids"])
        return ids
