"""What --print-config shows: the configuration as YAML that is itself a preset, with each value's origin."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from launch.config.layers import Resolved
from launch.config.wording import printable

PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./+-]*")
NOT_PLAIN = {"null", "true", "false"}


def present(resolved: Resolved) -> str:
    """YAML with `# origin` behind every value, what is to be said on top; reading it back gives the same."""
    head = [f"preset {resolved.preset}, cluster {resolved.cluster}", *resolved.warnings]
    lines = [f"# {printable(each)}" for each in head]
    lines.extend(_section(resolved.config.model_dump(mode="json"), resolved.origins, "", 0))
    return "\n".join(lines) + "\n"


def _section(values: Mapping[str, Any], origins: Mapping[str, str], prefix: str, depth: int) -> Iterator[str]:
    for key, value in values.items():
        name = f"{'  ' * depth}{_scalar(key)}:"
        if isinstance(value, Mapping) and value:
            yield name
            yield from _section(value, origins, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{name} {_value(value)}  # {printable(origins[f'{prefix}{key}'])}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_scalar(each) for each in value)}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in NOT_PLAIN:
        return value
    return printable(json.dumps(value, ensure_ascii=False))
