"""Trees of settings: nested mappings with string keys."""

from collections.abc import Iterator, Mapping
from typing import Any


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `above` winning; mappings merge, anything else replaces. Associative where shapes agree."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[key] = merge(under, value)
        else:
            merged[key] = value
    return merged


def leaves(values: Mapping[str, Any]) -> Iterator[str]:
    """Dotted keys of all values that are not mappings with something in them."""
    for key, value in values.items():
        yield from (name for name, _ in leaf_values(key, value))


def leaf_values(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The same with their values, of one value; each key begins with its name."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaf_values(f"{name}.{key}", inner)
    else:
        yield name, value


def nested(key: str, value: Any) -> dict[str, Any]:
    """The tree with one value, at a dotted key."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return dict(value)
