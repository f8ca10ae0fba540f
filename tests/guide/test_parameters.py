"""The table "All parameters" of both guides: every flag of inference_vllm.py with its true default."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from launch.cli.inference_vllm import command
from launch.cli.options import setting_fields
from launch.cli.single_node import DEFAULT_PRESET, REQUIRED
from launch.config.layers import Layers, resolve
from tests.guide.commands import GUIDES

REQUIRED_WORD = {"en": "required", "zh": "必填"}
ROW = re.compile(r"^\| `(--[^`]*)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def rows(language: str) -> list[tuple[str, str, str]]:
    """(flag, default, meaning) of every row between the two comments."""
    text = GUIDES[language].read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- parameters -->\n")
    table, end, _ = rest.partition("<!-- /parameters -->\n")
    assert end
    return [(flag, default, meaning) for flag, default, meaning in ROW.findall(table)]


def expected(language: str) -> Iterator[tuple[str, str]]:
    """(flag, default) of every flag, in the order of --help."""
    config = resolve(Layers(DEFAULT_PRESET, "none", {}, ())).config.model_dump(mode="json")
    keys = {key.replace(".", "__"): key for key, _, _ in setting_fields()}
    for option in command.params:
        assert isinstance(option, click.Option)
        flag = option.opts[0].replace("-", "_").replace("__", "--", 1)
        key = keys.get(option.name or "")
        if key in REQUIRED:
            yield flag, REQUIRED_WORD[language]
        elif key is not None:
            section, _, name = key.partition(".")
            yield flag, in_code(config[section][name])
        elif option.secondary_opts:
            yield f"{flag}/{option.secondary_opts[0]}", f"`{flag}`"
        else:
            yield flag, in_code(option.default if isinstance(option.default, str) else None)


def in_code(value: object) -> str:
    """A default as the table has it: as one types it, `-` for what is not set."""
    if value is None:
        return "-"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


@pytest.mark.parametrize("language", GUIDES)
def test_every_flag_is_there_with_its_default(language: str):
    assert [row[:2] for row in rows(language)] == list(expected(language))


@pytest.mark.parametrize("language", GUIDES)
def test_every_flag_is_explained(language: str):
    explained = [meaning.strip() for _, _, meaning in rows(language)]
    assert all(len(meaning) > 3 for meaning in explained)
    assert len(set(explained)) == len(explained)


def test_other_flags_stand_in_no_table_of_this_kind():
    for path in GUIDES.values():
        assert len(ROW.findall(Path(path).read_text(encoding="utf-8"))) == len(rows("en"))
