"""Files of named rows: configs/datasets.yaml and configs/gpus.yaml."""

from typing import TypeVar

from pydantic import ValidationError

from launch.config.complaints import complaints, one_line
from launch.config.load import Document
from launch.config.schema import Section
from launch.config.wording import found
from launch.errors import ConfigError

RowT = TypeVar("RowT", bound=Section)


def rows(document: Document, key: str, row: type[RowT]) -> dict[str, RowT]:
    """The rows under a top-level key, by name, in file order; ConfigError says `file:line`."""
    values = document.values.get(key)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{document.where(key)}: {key}: expected rows by name, got {found(values)}. Add rows."
        )
    return {name: _row(document, f"{key}.{name}", value, row) for name, value in values.items()}


def refuse_other_keys(document: Document, known: tuple[str, ...]) -> None:
    """ConfigError for a top-level key that is not known."""
    for name in document.values:
        if name not in known:
            choices = ", ".join(known)
            raise ConfigError(f"{document.where(name)}: {name}: unknown key. Write one of {choices}.")


def _row(document: Document, dotted: str, value: object, row: type[RowT]) -> RowT:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{document.where(dotted)}: {dotted}: expected keys with values, got {found(value)}."
            " Write key: value."
        )
    try:
        return row.model_validate(value)
    except ValidationError as error:
        wrong = complaints(error, row, value)
        wrong.sort(key=lambda each: document.line(f"{dotted}.{each.key}"))
        place = document.where(f"{dotted}.{wrong[0].key}")
        raise ConfigError(one_line(f"{place}: {dotted}.{wrong[0]}", len(wrong) - 1)) from None
