"""YAML with lines: what the scalars mean, and what each mistake is called."""

from pathlib import Path

import pytest

from launch.config.load import load_yaml, parse_value
from launch.errors import ConfigError

from .conftest import Write


def message_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-2.5e+1", -25.0),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("12:00:00", "12:00:00"),
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("'null'", "null"),
        ("2024-01-01", "2024-01-01"),
        ("1-00:00:00", "1-00:00:00"),
        ("1e", "1e"),
        (".inf", float("inf")),
        ("[a, 1, {b: null}]", ["a", 1, {"b": None}]),
        ("!!str 5", "5"),
        ("", None),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_value(text, "--set x")
    assert parsed == value and type(parsed) is type(value)


def test_lines_of_keys_and_entries(write: Write) -> None:
    document = load_yaml(
        write("p.yaml", "# c\nsampling:\n  top_p: 0.9\n\n  stop:\n    - a\n    - b\nmodel: {dtype: auto}\n")
    )
    lines = {
        key: document.line(key) for key in ("sampling", "sampling.top_p", "sampling.stop.1", "model.dtype")
    }
    assert lines == {"sampling": 2, "sampling.top_p": 3, "sampling.stop.1": 7, "model.dtype": 8}
    assert document.line("sampling.nothing") == 2 and document.line("nothing") == 1
    assert document.where("sampling.top_p") == "p.yaml:3"


def test_aliases_are_values(write: Write) -> None:
    document = load_yaml(write("p.yaml", "a: &mem [1, 2]\nb: *mem\n"))
    assert document.values == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "p.yaml:1: nothing in it; expected keys with values. Write at least description."),
        (
            "# only a comment\n",
            "p.yaml:1: nothing in it; expected keys with values. Write at least description.",
        ),
        ("\n- a\n", "p.yaml:2: expected keys with values, got a list. Write key: value."),
        ("text\n", "p.yaml:1: expected keys with values, got 'text'. Write key: value."),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "p.yaml:4: b.c: given twice, first in line 3. Remove one of the two."),
        ("a:\n\tb: 1\n", "p.yaml:2: a tab in the indentation. Write spaces."),
        ("a: [1,\n", "p.yaml:2: not YAML: did not find expected node content (column 1). Mend this line."),
        (
            "a: b: c\n",
            "p.yaml:1: not YAML: mapping values are not allowed in this context (column 5). Mend this line.",
        ),
        ("a: 1\n---\nb: 2\n", "p.yaml:2: not YAML: but found another document (column 1). Mend this line."),
        (
            "a: 1\nb: \x07\n",
            "p.yaml:2: a control character in it (control characters are not allowed). Remove it.",
        ),
        (
            "a: 1\r\nb: it\x92s\r\n",  # an apostrophe of Windows-1252, read as Latin-1
            "p.yaml:2: a control character in it (control characters are not allowed). Remove it.",
        ),
        (f"a: {'[' * 500}{']' * 500}\n", "p.yaml:1: nested deeper than 64 levels. Flatten it."),
        (f"a: {'{b: ' * 70}1{'}' * 70}\n", "p.yaml:1: nested deeper than 64 levels. Flatten it."),
        (
            f"a: {'9' * 5000}\n",
            f"p.yaml:1: {'9' * 57}... is no number of 64 bits. Write a smaller one, or quote it.",
        ),
        ("a: &x\n  b: *x\n", "p.yaml:1: an alias that contains itself. Write the value out."),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "p.yaml:3: expected a name before the colon. Write name: value."),
        ("? [a]\n: 1\n", "p.yaml:1: expected a name before the colon. Write name: value."),
        (
            "a: !!python/name:os.system x\n",
            "p.yaml:1: tag:yaml.org,2002:python/name:os.system 'x' is not plain YAML. Write the value"
            " without a tag.",
        ),
        (
            "a: !!int x\n",
            "p.yaml:1: tag:yaml.org,2002:int 'x' is not plain YAML. Write the value without a tag.",
        ),
    ],
)
def test_each_mistake_says_file_and_line(write: Write, text: str, expected: str) -> None:
    assert message_of(write("p.yaml", text)) == expected


def test_not_utf8(workspace: Path) -> None:
    path = workspace / "p.yaml"
    path.write_bytes("a: caf\xe9\n".encode("latin-1"))
    assert message_of(path) == "p.yaml: not UTF-8 text (byte 6). Save it as UTF-8."


def test_unreadable(workspace: Path) -> None:
    assert message_of(workspace) == ".: cannot be read: Is a directory. Check the path."


def test_a_key_cannot_break_the_line(write: Write) -> None:
    message = message_of(write("a\nb.yaml", '"x\\ny": 1\n"x\\ny": 2\n'))
    assert (
        message == "a\\U0000000Ab.yaml:2: x\\U0000000Ay: given twice, first in line 1. Remove one of the two."
    )


def test_a_set_is_named_without_a_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value("[a", "--set sampling.stop=[a")
    assert str(caught.value).startswith("--set sampling.stop=[a: not YAML: ")
