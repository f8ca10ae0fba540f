"""Preset and cluster files: finding them by name or path, and following `extends`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.config.load import Document, load_yaml
from launch.config.schema import RunConfig
from launch.config.shipped import shipped
from launch.config.wording import found, nearest
from launch.errors import ConfigError

PRESETS, CLUSTERS = "presets", "clusters"
NOT_OF_A_CLUSTER = dict.fromkeys(RunConfig.model_fields, "Put it into a preset") | {
    "resources": "Write its keys at the top level",
    "extends": "Write all keys out",
}
WORD = {PRESETS: "preset", CLUSTERS: "cluster"}


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A preset or cluster file without its `description` and `extends`."""

    name: str
    document: Document
    values: Mapping[str, Any]
    extends: str | None


def list_presets() -> list[tuple[str, str, Path]]:
    """Name, description and path of every shipped preset, by name."""
    return _list_files(PRESETS)


def list_clusters() -> list[tuple[str, str, Path]]:
    """Name, description and path of every shipped cluster file, by name."""
    return _list_files(CLUSTERS)


def preset_chain(preset: str | Path) -> list[SettingsFile]:
    """A preset and what it extends, the furthest ancestor first; ConfigError for a circle."""
    chain = [_open(PRESETS, preset, "--preset", Path())]
    seen = [chain[0].document.path.resolve()]
    while (parent := chain[0].extends) is not None:
        document = chain[0].document
        place = f"{document.where('extends')}: extends"
        chain.insert(0, _open(PRESETS, parent, place, document.path.parent))
        path = chain[0].document.path.resolve()
        if path in seen:
            names = " -> ".join([file.name for file in reversed(chain)])
            raise ConfigError(f"{place}: a circle: {names}. Remove one extends.")
        seen.append(path)
    return chain


def cluster_file(cluster: str | Path, where: str) -> SettingsFile:
    """A cluster file; its top level is the section `resources`, beside `description`."""
    file = _open(CLUSTERS, cluster, where, Path())
    for name in file.values:
        if name in NOT_OF_A_CLUSTER:
            raise ConfigError(
                f"{file.document.where(name)}: {name}: a cluster file holds the section resources and nothing"
                f" else. {NOT_OF_A_CLUSTER[name]}."
            )
    return file


def is_path(name: str | Path) -> bool:
    """Whether a preset or cluster is given as a path rather than a name."""
    return isinstance(name, Path) or "/" in name or name.endswith((".yaml", ".yml"))


def _open(kind: str, name: str | Path, where: str, beside: Path) -> SettingsFile:
    path = beside / Path(name) if is_path(name) else shipped("configs", kind, f"{name}.yaml")
    if not path.is_file():
        raise ConfigError(_unknown(kind, name, where))
    document = load_yaml(path)
    _text(document, "description")
    extends = _text(document, "extends") if kind == PRESETS else None
    own = {"description", "extends"} if kind == PRESETS else {"description"}
    values = {key: value for key, value in document.values.items() if key not in own}
    return SettingsFile(str(name), document, values, extends)


def _text(document: Document, key: str) -> str | None:
    value = document.values.get(key)
    if key in document.values and not (isinstance(value, str) and value):
        raise ConfigError(f"{document.where(key)}: {key}: expected text, got {found(value)}. Write a text.")
    return value


def _unknown(kind: str, name: str | Path, where: str) -> str:
    word = WORD[kind]
    if is_path(name):
        return f"{where}: no {word} file {str(name)!r}. Check the path."
    names = [known for known, _, _ in _list_files(kind)]
    close = nearest(str(name), names)
    guess = f" Did you mean {close}?" if close else ""
    return (
        f"{where}: no {word} named {str(name)!r}.{guess} Write one of {', '.join(names)}, or a file's path."
    )


def _list_files(kind: str) -> list[tuple[str, str, Path]]:
    files = sorted(shipped("configs", kind).glob("*.yaml"))
    return [(path.stem, str(load_yaml(path).values.get("description", "")), path) for path in files]
