"""run.yaml and submission.yaml as files: written whole, and read again with every complaint in one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

import launch
from launch.config.schema import Section
from launch.config.wording import printable
from launch.errors import RunError, StorageError
from launch.rundir.journal import read_whole, write_bytes

FORMAT = 1
"""Counts up when the files of a run directory change their form."""
RecordT = TypeVar("RecordT", bound=Section)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_IS_C = _DUMPER is not yaml.SafeDumper
"""Without it every letter but ASCII is escaped: PyYAML's own dumper writes U+0085 as a line break."""


def write_record(path: Path, record: Section) -> None:
    """Writes a record as YAML, whole or not at all; StorageError for a name of a file that is not UTF-8."""
    values = record.model_dump(mode="json")
    for text in _texts(values):
        refuse_not_utf8(text)
    lines: str = yaml.dump(values, Dumper=_DUMPER, sort_keys=False, allow_unicode=_IS_C, width=110)
    write_bytes(path, lines.encode())


def _texts(value: object) -> Iterator[str]:
    """Every text that is a value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            yield from _texts(below)


def refuse_not_utf8(name: str) -> None:
    """StorageError for the name of a file that is not UTF-8: Python has it with lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise StorageError(
            f"{name}: not UTF-8, and the files of a run hold no other names. Rename it, or choose another."
        ) from None


def read_record(path: Path, kind: type[RecordT]) -> RecordT:
    """The record in a file; RunError when it is absent, damaged or of another form."""
    value = _read(path)
    found = value.get("format", FORMAT)
    if isinstance(found, int) and found > FORMAT:
        raise RunError(
            f"{path}: is of format {found}; vllm-launch {launch.__version__} knows formats up to {FORMAT}."
            " Use the newer vllm-launch that made the run."
        )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{path}: {where}: {first['msg']}. It was edited, or made by another version of vllm-launch than"
            f" {launch.__version__}: restore it, or use that one."
        ) from None


def damaged(path: Path, what: str) -> RunError:
    """The error for a file of a run that is not as it was written, and that nothing here can make again."""
    return RunError(f"{path}: {what}; it was damaged or edited. Restore it from a copy.")


def _read(path: Path) -> dict[str, Any]:
    try:
        value: Any = yaml.load(read_whole(path).decode(), _LOADER)
    except FileNotFoundError:
        raise RunError(
            f"{path}: not found; expected a run directory of vllm-launch. Restore it from a copy."
        ) from None
    except PermissionError:
        raise RunError(f"{path}: reading is not allowed. Ask its owner for permission.") from None
    except (IsADirectoryError, NotADirectoryError):
        raise damaged(path, "is no file") from None
    except UnicodeDecodeError:
        raise damaged(path, "is no text") from None
    except yaml.YAMLError as error:
        raise damaged(path, f"is no YAML ({_why(error)})") from None
    except (ValueError, LookupError, AttributeError):  # of a value that is not what its form or its tag says
        raise damaged(path, "holds a value that YAML does not have") from None
    if value is None:
        raise damaged(path, "is empty")
    if not isinstance(value, dict):
        raise damaged(path, "holds no record")
    return value


def _why(error: yaml.YAMLError) -> str:
    """Where and what, in a few words."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {printable(error.problem or '')}"
    return printable(str(error).splitlines()[0])
