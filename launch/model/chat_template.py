"""Renders a checkpoint's chat template as transformers does, without transformers.

The conventions are those of transformers.utils.chat_template_utils (5.19): a sandbox with trim_blocks and
lstrip_blocks, loop controls, `{% generation %}`, raise_exception, tojson without HTML escapes, strftime_now
and the special tokens as variables. One thing differs on purpose: strftime_now answers PROMPT_DATE for
ever, because a prompt must not depend on the day on which a task runs.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, meta, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from launch.errors import CheckpointError

PROMPT_DATE = datetime(2026, 1, 1, tzinfo=UTC)
SPECIAL_TOKEN_NAMES = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip

Message = Mapping[str, str]


class ChatTemplateError(Exception):
    """A chat template refused this conversation."""


class _GenerationTag(Extension):
    """`{% generation %}` marks what the assistant wrote, for training; here its body is merely rendered."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def read_chat_template(checkpoint: Path) -> str | None:
    """The chat template of a checkpoint, or None: chat_template.jinja, else what tokenizer_config.json holds.

    Of several named templates the one called "default" is meant. CheckpointError when there is none of that
    name.
    """
    file = checkpoint / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = read_tokenizer_config(checkpoint).get("chat_template")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        if "default" not in named:
            raise CheckpointError(
                f"{checkpoint / 'tokenizer_config.json'}: chat_template has {', '.join(sorted(named))} but no"
                " `default`. Put the one to use into chat_template.jinja."
            )
        template = named["default"]
    return template if isinstance(template, str) else None


def read_tokenizer_config(checkpoint: Path) -> dict[str, Any]:
    """tokenizer_config.json, or nothing when there is none; CheckpointError when it is not JSON."""
    path = checkpoint / "tokenizer_config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}). Copy the checkpoint again.") from None
    return value if isinstance(value, dict) else {}


def read_special_tokens(checkpoint: Path) -> dict[str, str]:
    """The special tokens by name (bos_token ...) of tokenizer_config.json, else special_tokens_map.json."""
    config = read_tokenizer_config(checkpoint)
    path = checkpoint / "special_tokens_map.json"
    older: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    tokens = {}
    for name in SPECIAL_TOKEN_NAMES:
        token = config.get(name, older.get(name))
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            tokens[name] = token
    return tokens


def render_chat_template(
    source: str, messages: Sequence[Message], special_tokens: Mapping[str, str], **kwargs: object
) -> str:
    """The prompt text for a conversation, ending with the generation prompt; ChatTemplateError if refused."""
    variables = {**special_tokens, **kwargs}
    try:
        return _compile(source).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, **variables
        )
    except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
        raise ChatTemplateError(" ".join(str(error).split()) or type(error).__name__) from error


def template_variables(source: str) -> frozenset[str]:
    """The variables that a template reads; a setting for any other would be ignored."""
    _compile(source)  # a template that is no Jinja is an error of the checkpoint here too
    return frozenset(meta.find_undeclared_variables(_environment().parse(source)))


def frozen_strftime(pattern: str) -> str:
    """PROMPT_DATE as the pattern says, whatever the day."""
    return PROMPT_DATE.strftime(pattern)


@lru_cache(maxsize=8)
def _compile(source: str) -> Template:
    try:
        return _environment().from_string(source)
    except TemplateSyntaxError as error:
        raise CheckpointError(
            f"chat template, line {error.lineno}: {error.message}. Mend the checkpoint's chat_template.jinja."
        ) from None


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = frozen_strftime
    return environment


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
