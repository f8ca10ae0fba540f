"""Special tokens that people spell in their texts stay text."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Protocol

from launch.model.chat_template import ChatTemplateError, Message

PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


class Encode(Protocol):
    """Text to ids; `literal`: the spelling of a special token is text like any other."""

    def __call__(self, text: str, *, literal: bool) -> list[int]: ...


class LiteralText:
    """Keeps special tokens that people wrote from becoming special.

    A message that spells none, which is nearly every one, is rendered and encoded in one go. Otherwise each
    spelling is stood in for by a private-use sequence while the template renders, and encoded literally in
    its place.
    """

    def __init__(self, special_tokens: Iterable[str]) -> None:
        longest_first = sorted(filter(None, special_tokens), key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def encode(
        self, messages: Sequence[Message], render: Callable[[Sequence[Message]], str], encode: Encode
    ) -> list[int]:
        """The ids of the rendered messages."""
        if self._spelled is None or not any(self._spelled.search(m["content"]) for m in messages):
            return encode(render(messages), literal=False)
        begin, end = _unused_characters(messages)
        stood_for: list[str] = []

        def stand_in(match: re.Match[str]) -> str:
            stood_for.append(match.group())
            return f"{begin}{len(stood_for) - 1}{end}"

        safe: list[Mapping[str, str]] = [
            {**message, "content": self._spelled.sub(stand_in, message["content"])} for message in messages
        ]
        ids: list[int] = []
        for place, piece in enumerate(re.split(f"{begin}([0-9]+){end}", render(safe))):
            text = stood_for[int(piece)] if place % 2 else piece
            if text:
                ids += encode(text, literal=bool(place % 2))
        return ids


def _unused_characters(messages: Sequence[Message]) -> tuple[str, str]:
    """Two private-use characters that no message holds."""
    held = set().union(*(message["content"] for message in messages))
    unused = (chr(code) for code in chain(*PRIVATE_USE) if chr(code) not in held)
    found = tuple(islice(unused, 2))
    if len(found) < 2:
        raise ChatTemplateError("the messages hold special tokens and every private-use character")
    return found[0], found[1]
