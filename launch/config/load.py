"""YAML files with the line of every key.

The rules of plain scalars are YAML 1.2's, not PyYAML's: `1e-3` is a number, while `12:00:00`, `no`, `0123`
and `2024-01-01` stay the text that was written. Duplicate keys are errors; anchors work, merge keys do not.
"""

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from launch.config.shipped import shown
from launch.config.wording import printable
from launch.errors import ConfigError

BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Place = Callable[[int], str]
TAG = "tag:yaml.org,2002:"
PLAIN_SCALARS = (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))", list("-+.")),
)


NOT_IN_YAML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
MOST_DIGITS = 19  # of a number of 64 bits
MAX_DEPTH = 64


class CoreLoader(BaseLoader):  # type: ignore[misc]  # Any: the C loader when PyYAML has it
    """PyYAML's safe loader with the scalar rules of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in PLAIN_SCALARS:
    CoreLoader.add_implicit_resolver(TAG + _tag, re.compile(f"^{_pattern}$"), _first)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: its values, and the line (from 1) of every dotted key and list entry."""

    path: Path
    values: dict[str, Any]
    lines: dict[str, int]

    def line(self, dotted: str) -> int:
        """The line of a key, or of the nearest key around it; 1 when there is none."""
        while dotted:
            if dotted in self.lines:
                return self.lines[dotted]
            dotted = dotted.rpartition(".")[0]
        return 1

    def where(self, dotted: str) -> str:
        """`file:line` of a key, as messages begin."""
        return f"{shown(self.path)}:{self.line(dotted)}"


def load_yaml(path: Path) -> Document:
    """A file whose top level is a mapping; ConfigError says `file:line` of what is wrong with it."""
    name = shown(path)

    def place(line: int) -> str:
        return f"{name}:{line}"

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}. Check the path.") from None
    node = _compose(text, place)
    if node is None:
        raise ConfigError(
            f"{place(1)}: nothing in it; expected keys with values. Write at least description."
        )
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise ConfigError(f"{place(line)}: expected keys with values, got {_kind(node)}. Write key: value.")
    builder = _Builder(place, {})
    return Document(path, builder.build(node, ""), builder.lines)


def given_text(text: str, name: str) -> str:
    """The text itself; ConfigError, which says `name`, where its bytes on the command line are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name}: not UTF-8 text (at character {error.start + 1}). A run's files hold no other: write it"
            " in UTF-8, or rename what it names."
        ) from None
    return text


def parse_value(text: str, name: str) -> Any:
    """The value of a YAML scalar or flow collection, as in `--set sampling.stop=[END]`; errors say `name`."""

    def place(line: int) -> str:
        return name

    node = _compose(given_text(text, name), place)
    return None if node is None else _Builder(place, {}).build(node, "")


def _compose(text: str, place: Place) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=CoreLoader)
    except yaml.reader.ReaderError as error:
        character = NOT_IN_YAML.search(text)
        line = text.count("\n", 0, character.start()) + 1 if character else 1
        problem = f"a control character in it ({error.reason}). Remove it"
        raise ConfigError(f"{place(line)}: {problem}.") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(text, place, error)) from None
    return node


def _syntax(text: str, place: Place, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{place(1)}: not YAML: {error.problem}. Mend it."
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{place(mark.line + 1)}: a tab in the indentation. Write spaces."
    return f"{place(mark.line + 1)}: not YAML: {error.problem} (column {mark.column + 1}). Mend this line."


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else repr(node.value)[:60]


@dataclass(slots=True)
class _Builder:
    """Turns composed nodes into values, noting the line of every key on the way."""

    place: Place
    lines: dict[str, int]

    def build(self, node: yaml.Node, dotted: str, around: tuple[int, ...] = ()) -> Any:
        if id(node) in around:
            raise self.error(node, "an alias that contains itself", "Write the value out")
        if len(around) > MAX_DEPTH:
            raise self.error(node, f"nested deeper than {MAX_DEPTH} levels", "Flatten it")
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, dotted, around)
        if isinstance(node, yaml.SequenceNode):
            return [self.entry(child, _join(dotted, str(i)), around) for i, child in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, dotted: str, around: tuple[int, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, child in node.value:
            key: Hashable = key_node.value
            is_merge = key == "<<" and not key_node.style  # in quotes it is a name
            if not isinstance(key, str) or is_merge:
                raise self.error(key_node, "expected a name before the colon", "Write name: value")
            inner = _join(dotted, key)
            line = key_node.start_mark.line + 1
            if key in values:
                first = self.lines[inner]
                raise self.error(
                    key_node, f"{inner}: given twice, first in line {first}", "Remove one of the two"
                )
            self.lines[inner] = line
            values[key] = self.build(child, inner, around)
        return values

    def entry(self, node: yaml.Node, dotted: str, around: tuple[int, ...]) -> Any:
        self.lines[dotted] = node.start_mark.line + 1
        return self.build(node, dotted, around)

    def scalar(self, node: yaml.Node) -> Any:
        text: str = node.value
        try:
            match node.tag.removeprefix(TAG):
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return self.whole_number(node)
                case "float":
                    return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
        except (KeyError, ValueError):
            pass
        raise self.error(node, f"{node.tag} {text!r} is not plain YAML", "Write the value without a tag")

    def whole_number(self, node: yaml.Node) -> int:
        """Of 64 bits: a longer one could not be written to a run's files."""
        digits = node.value.lstrip("-+")
        if len(digits) <= MOST_DIGITS and -(2**63) <= (value := int(node.value)) < 2**63:
            return value
        shown = node.value if len(digits) <= 60 else f"{node.value[:57]}..."
        raise self.error(node, f"{shown} is no number of 64 bits", "Write a smaller one, or quote it")

    def error(self, node: yaml.Node, problem: str, advice: str) -> ConfigError:
        return ConfigError(printable(f"{self.place(node.start_mark.line + 1)}: {problem}. {advice}."))


def _join(dotted: str, key: str) -> str:
    return f"{dotted}.{key}" if dotted else key
