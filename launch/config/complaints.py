"""pydantic's errors as sentences: what was expected, what was found, what to write.

Each sentence follows a place (`file:line`, a flag or a --set): `<place>: model.dtype: expected auto,
bfloat16, float16 or float32, got 'bf16'. Write bfloat16.`
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from launch.config.slurm_values import split_command, word_list
from launch.config.wording import found, listed, nearest, printable

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "names with values",
    "model_type": "settings under it",
    "model_attributes_type": "settings under it",
}
BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
BOOLEANS = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong: the dotted key it is about, and the sentence about it."""

    key: str
    sentence: str

    def __str__(self) -> str:
        return printable(f"{self.key}: {self.sentence}")


def complaints(error: ValidationError, model: type[BaseModel], values: Mapping[str, Any]) -> list[Complaint]:
    """One complaint per key, in pydantic's order; `values` is what was validated, by `model`."""
    by_key: dict[str, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        path = _written(details["loc"], values)
        if details["type"] == "missing":
            path.append(str(details["loc"][-1]))
        by_key.setdefault(".".join(path), []).append(details)
    return [_complaint(key, group, model) for key, group in by_key.items()]


def one_line(first: str, num_others: int) -> str:
    """The first of several complaints, and how many more there are."""
    return f"{first} (and {num_others} more)" if num_others else first


def section_at(model: type[BaseModel], path: Iterable[str]) -> type[BaseModel] | None:
    """The section that a dotted path leads to; None when it leads to a value."""
    for name in path:
        field = model.model_fields.get(name)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        model = annotation
    return model


def _written(loc: tuple[str | int, ...], values: Any) -> list[str]:
    """The part of a location that the file has: pydantic adds the member of a union behind it."""
    path: list[str] = []
    for part in loc:
        inside = isinstance(values, Mapping) and part in values
        if not inside and not (isinstance(values, list | tuple) and isinstance(part, int)):
            break
        values = values[part]
        path.append(str(part))
    return path


def _complaint(key: str, group: list[ErrorDetails], model: type[BaseModel]) -> Complaint:
    details = group[0]
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return Complaint(key, _unknown_key(key, model))
    if kind == "missing":
        return Complaint(key, "missing. Write it.")
    if kind == "value_error":
        return _from_validator(key, str(details["ctx"]["error"]))
    expected = listed(dict.fromkeys(_expected(each) for each in group))
    advice = "Write one of these" if len(group) > 1 else _advice(key, details, model)
    return Complaint(key, f"expected {expected}, got {found(value)}. {advice}.")


def _from_validator(key: str, message: str) -> Complaint:
    """Our validators write the sentence; one over a whole section begins it with the name of a key."""
    inner = re.match(r"([A-Za-z0-9_-]+): ", message)
    if inner:
        return Complaint(f"{key}.{inner[1]}", f"{message[inner.end() :]}.")
    return Complaint(key, f"{message}.")


def _expected(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in BOUNDS:
        words, name = BOUNDS[kind]
        return f"{words} {context[name]:g}"
    if kind in ("literal_error", "enum"):
        return listed(_choices(details))
    if kind == "string_too_short":
        return "text that is not empty"
    return EXPECTED.get(kind) or details["msg"]


def _choices(details: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", details["ctx"]["expected"])


def _advice(key: str, details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value = details["type"], details["input"]
    if kind in ("model_type", "model_attributes_type"):
        return "Write settings under it, indented, or leave it out"
    if value is None:
        return f"Leave it out{_default(key, model)}"
    if kind in ("literal_error", "enum"):
        close = nearest(str(value), _choices(details))
        return f"Write {close}" if close else "Write one of these"
    if kind == "bool_type":
        return f"Write {BOOLEANS.get(str(value).lower(), 'true or false')}"
    if kind == "string_type" and isinstance(value, int | float):
        return f"Write '{str(value).lower()}' in quotes"
    if kind == "tuple_type" and not isinstance(value, Mapping):
        return _list_advice(key, value)
    return _number_advice(kind, value) or f"Mend it or leave it out{_default(key, model)}"


def _list_advice(key: str, value: Any) -> str:
    """How to write as a list what is none."""
    if not isinstance(value, str):
        return f"Write [{value}]"
    if len(value.splitlines()) > 1:
        return "Write one entry a line, each after `- `"
    words = split_command(value) if key == "resources.container" else [value.strip()]
    return f"Write {word_list(words)}"


def _number_advice(kind: str, value: Any) -> str | None:
    if kind.startswith("int_") and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}"
    whole = isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,19}", value)  # of 64 bits
    if whole and value != str(int(value)):
        return f"Write {int(value)}"
    decimal = isinstance(value, str) and re.fullmatch(r"[-+]?\d*\.?\d+([eE][-+]?\d+)?", value)
    if (kind == "int_type" and whole) or (kind == "float_type" and decimal):
        return f"Write {value} without quotes"
    return None


def _default(key: str, model: type[BaseModel]) -> str:
    *path, name = key.split(".")
    section = section_at(model, path)
    field = section.model_fields.get(name) if section else None
    default = field.get_default() if field else PydanticUndefined
    if default in (PydanticUndefined, None) or isinstance(default, BaseModel | tuple):
        return ""
    return f" for the default, {default}"


def _unknown_key(key: str, model: type[BaseModel]) -> str:
    *path, name = key.split(".")
    if key in all_keys(model):  # the right words, written as one name
        return f"unknown key: dots are for --set. Write {name} below {path[-1]}, indented."
    section = section_at(model, path) or model
    elsewhere = [dotted for dotted in all_keys(model) if dotted.rpartition(".")[2] == name and dotted != key]
    if elsewhere:
        return f"unknown key; there is {listed(elsewhere, 'and')}. Write it there."
    close = nearest(name, section.model_fields, cutoff=0.6)
    if close:
        return f"unknown key. Did you mean {close}?"
    close = nearest(name, (dotted.rpartition(".")[2] for dotted in all_keys(model)), cutoff=0.75)
    if close:
        places = [dotted for dotted in all_keys(model) if dotted.rpartition(".")[2] == close]
        return f"unknown key. Did you mean {listed(places)}?"
    own = () if path else ("extends", "description")
    if name in own:
        return f"only a file has {name}. Write it in a preset."
    close = nearest(name, own, cutoff=0.6)
    if close:
        return f"unknown key. Did you mean {close}?"
    return f"unknown key. Write one of {', '.join([*section.model_fields, *own])}."


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key below a model, its sections included."""
    keys: list[str] = []
    for name in model.model_fields:
        keys.append(prefix + name)
        section = section_at(model, [name])
        if section:
            keys.extend(all_keys(section, f"{prefix}{name}."))
    return keys
