"""Flags for every setting, made from the schema: one place says what a setting is called and means.

A flag is the field's name with hyphens (underscores work too); its value is read as YAML reads it and
validated with all the rest. A flag for true or false may stand alone: that is true. Names that two sections
share (such as merge.partition) have no flag of their own: `--set resources.merge.partition=cpu` reaches
everything.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from launch.config.home import expand_home
from launch.config.load import given_text, parse_value
from launch.config.schema import RunConfig

Command = TypeVar("Command", bound=Callable[..., Any])

_NAMES = {
    "model.checkpoint": ["--checkpoint-dir", "--checkpoint"],
    "engine.tensor_parallel_size": ["--tensor-parallel-size", "--tp"],
    "resources.num_tasks": ["--num-tasks", "--tasks"],
}
"""Of the settings whose flag has several names, in the order of --help."""
_FLAGS = {"canary.action": "canary", "canary.num_items": "canary-items"}
_TEXT_FIELDS = frozenset(
    {
        "model.checkpoint",
        "model.base_checkpoint",
        "model.tokenizer",
        "data.dataset",
        "data.scenario_path",
        "prompt.system_prompt",
        "prompt.reasoning_end",
        "publish.output_dir",
        "publish.references",
        "resources.partition",
        "resources.account",
        "resources.qos",
        "resources.constraint",
        "resources.time",
        "resources.gpu_type",
        "resources.mem",
        "resources.scratch_dir",
        "resources.python",
    }
)


class GivenPath(click.Path):
    """A path, `~` and `~name` written out: a shell leaves them in --runs-dir=~/runs.

    An empty one, which would be the current directory, is refused: a variable that is not set.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if value == "":
            self.fail("expected a path, got ''.", param, ctx)
        try:
            return expand_home(Path(str(super().convert(value, param, ctx))))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class Choice(click.Choice):  # type: ignore[type-arg]  # which older versions of click do not take
    """One of some words, as they are written: only names of flags are `hyphenated`."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """The word itself."""
        return str(choice)


def setting_fields() -> Iterator[tuple[str, str, str]]:
    """(dotted key, field name, meaning) of every setting that has a flag, in the order of the schema."""
    for section in RunConfig.model_fields:
        for name, setting in _model(section).model_fields.items():
            if name != "merge":
                yield f"{section}.{name}", name, setting.description or ""


def _model(section: str) -> type[BaseModel]:
    model = RunConfig.model_fields[section].annotation
    assert isinstance(model, type) and issubclass(model, BaseModel)
    return model


def setting_options(
    command: Command, required: Collection[str] = (), meanings: Mapping[str, str] | None = None
) -> Command:
    """Decorates a click command with a flag for every setting; `collect_flags` reads what was given.

    Help says of the settings `required` that they are; asking for them is the command's. `meanings` are
    those that are others here than the schema's.
    """
    own = meanings or {}
    rows = [
        (key, _described(key, own.get(key, meaning), key in required)) for key, _, meaning in setting_fields()
    ]
    return _add_options(command, rows)


def chosen_options(*keys: str) -> Callable[[Command], Command]:
    """The same for the settings `keys` alone, for a command that reads no others."""
    meanings = {key: _described(key, meaning) for key, _, meaning in setting_fields()}
    return lambda command: _add_options(command, [(key, meanings[key]) for key in keys])


def _add_options(command: Command, rows: Sequence[tuple[str, str]]) -> Command:
    for key, meaning in reversed(rows):
        names = [*_NAMES.get(key, [flag_of(key)]), _parameter(key)]
        if _is_switch(key):
            option = click.option(
                *names, help=meaning, metavar="[true|false]", is_flag=False, flag_value="true"
            )
        else:
            option = click.option(*names, help=meaning, metavar="VALUE")
        command = option(command)
    return command


def _is_switch(key: str) -> bool:
    """Whether a setting is true or false and nothing else, null aside."""
    section, _, name = key.partition(".")
    return _model(section).model_fields[name].annotation in (bool, bool | None)


def _described(key: str, meaning: str, is_required: bool = False) -> str:
    """Meaning, key, and the value where neither preset nor flag speaks, unless that is computed."""
    section, _, name = key.partition(".")
    value = getattr(getattr(RunConfig(), section), name)
    if is_required:
        return f"{meaning} [{key}; required]"
    if isinstance(value, bool):
        value = str(value).lower()
    return (
        f"{meaning} [{key}; default {value}]"
        if isinstance(value, str | int | float)
        else f"{meaning} [{key}]"
    )


def collect_flags(values: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The settings given as flags: dotted key to (flag as shown, value as YAML reads it)."""
    given = {}
    for key, _, _ in setting_fields():
        text = values.get(_parameter(key))
        if text is not None:
            given[key] = (flag_of(key), _value(flag_of(key), key, text))
    return given


def flag_of(key: str) -> str:
    """The flag of a setting: `--top-p` for `sampling.top_p`."""
    return "--" + _FLAGS.get(key, key.rpartition(".")[2].replace("_", "-"))


def _parameter(key: str) -> str:
    return key.replace(".", "__")


def _value(flag: str, key: str, text: str) -> Any:
    if key in _TEXT_FIELDS:
        return given_text(text, flag)
    return parse_value(text, flag)


def hyphenated(flag: str) -> str:
    """The name of a flag with hyphens, so that --num_samples and --num-samples both work.

    click asks for it of names alone: a value may begin with two hyphens, too.
    """
    return flag.replace("_", "-")
