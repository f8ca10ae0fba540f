"""Renders a checkpoint's chat template as transformers does, without transformers.

The conventions are those of transformers.utils.chat_template_utils (5.19): a sandbox with trim_blocks and
lstrip_blocks, loop controls, `{% generation %}`, raise_exception, tojson without HTML escapes, strftime_now
and the special tokens as variables. One thing differs on purpose: strftime_now answers PROMPT_DATE for
ever, because a prompt must not depend on the day on which a task runs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
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
from launch.model.weights import read_json_object, refuse_lfs_pointer

PROMPT_DATE = datetime(2026, 1, 1, tzinfo=UTC)
SPECIAL_TOKEN_NAMES = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip

# A template is a program of somebody else's: what its expressions can raise.
TEMPLATE_FAILURES = (
    TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError,
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
    name, and for a template that is no text or no Jinja.
    """
    file = checkpoint / "chat_template.jinja"
    if file.is_file():
        refuse_lfs_pointer(file, "chat template")
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise CheckpointError(f"{file}: chat template: not UTF-8 text. Copy the file anew.") from None
        return _checked(text, lambda line: f"{file}:{line}: chat template")
    config = checkpoint / "tokenizer_config.json"
    stored = read_tokenizer_config(checkpoint).get("chat_template")
    template = _default_of(stored, config) if isinstance(stored, list) else stored
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{config}: chat_template: expected text. Copy the file anew.")
    return template and _checked(template, lambda line: f"{config}: chat_template, line {line}")


def _default_of(stored: list[Any], config: Path) -> Any:
    """The template called "default" of several with names."""
    named = {entry.get("name"): entry.get("template") for entry in stored if isinstance(entry, dict)}
    if "default" not in named:
        names = ", ".join(sorted(map(str, named))) or "none with a name"
        raise CheckpointError(
            f"{config}: chat_template has {names} but no `default`. Put the one to use into"
            " chat_template.jinja."
        )
    return named["default"]


def _checked(template: str, place: Callable[[int], str]) -> str:
    """The template, when it is one; `place` says where a line of it stands."""
    try:
        _compile(template)
    except TemplateSyntaxError as error:
        what = (error.message or "cannot be read").rstrip(".")
        raise CheckpointError(
            f"{place(error.lineno)}: {what}. Mend it, or take another one for chat_template.jinja."
        ) from None
    return template


def read_tokenizer_config(checkpoint: Path) -> dict[str, Any]:
    """tokenizer_config.json, or nothing when there is none; CheckpointError when it is no JSON object."""
    path = checkpoint / "tokenizer_config.json"
    return read_json_object(path) if path.is_file() else {}


def read_special_tokens(checkpoint: Path) -> dict[str, str]:
    """The special tokens by name (bos_token ...) of tokenizer_config.json, else special_tokens_map.json."""
    config = read_tokenizer_config(checkpoint)
    path = checkpoint / "special_tokens_map.json"
    older = read_json_object(path) if path.is_file() else {}
    tokens = {}
    for name in SPECIAL_TOKEN_NAMES:
        token = config.get(name, older.get(name))
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            tokens[name] = token
    return tokens


def render_chat_template(
    source: str, messages: Sequence[Message], special_tokens: Mapping[str, str], /, **kwargs: object
) -> str:
    """The prompt text for a conversation, ending with the generation prompt; ChatTemplateError if refused."""
    variables = {**special_tokens, **kwargs}
    try:
        return _compile(source).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, **variables
        )
    except TEMPLATE_FAILURES as error:
        raise ChatTemplateError(" ".join(str(error).split()) or type(error).__name__) from error


def template_variables(source: str) -> frozenset[str]:
    """The variables that a template read here uses; a setting for any other would be ignored."""
    return frozenset(meta.find_undeclared_variables(_environment().parse(source)))


def frozen_strftime(pattern: str) -> str:
    """PROMPT_DATE as the pattern says, whatever the day."""
    return PROMPT_DATE.strftime(pattern)


@lru_cache(maxsize=8)
def _compile(source: str) -> Template:
    return _environment().from_string(source)


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
