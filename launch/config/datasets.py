"""A dataset is a name for a scenario directory: configs/datasets.yaml gives folder, language and aliases."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from launch.config.home import expand_home
from launch.config.load import Document, load_yaml
from launch.config.schema import AsLanguage, Language, RunConfig, Section
from launch.config.shipped import shipped
from launch.config.tables import refuse_other_keys, rows
from launch.config.wording import found, nearest
from launch.errors import ConfigError, InputError

ROOT_VARIABLE = "VLLM_LAUNCH_DATA_ROOT"


class DatasetRow(Section):
    """One dataset of configs/datasets.yaml."""

    folder: str = Field(description="Of the scenario, below the data root.")
    language: AsLanguage = Field(description="Of the instruction in its prompts.")
    aliases: tuple[str, ...] = Field(default=(), strict=False, description="Other names for it.")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset whose directory is there; `name` is the one configs/datasets.yaml has, never an alias."""

    name: str
    language: Language
    scenario_path: Path
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A row of configs/datasets.yaml with its name; `folder` is relative to the data root."""

    name: str
    language: Language
    folder: str
    aliases: tuple[str, ...]


def find_dataset(name: str, root: Path | None = None) -> Dataset:
    """The dataset of that name or alias, however it is capitalised.

    Looked for at <root>/<folder>, <root>/<name> and <root>/<alias>; the root is the argument, else
    $VLLM_LAUNCH_DATA_ROOT, else `root` of configs/datasets.yaml. InputError says where it looked.
    """
    document = _document()
    known = _known(document)
    own_name = _own_name(name, known)
    row = known[own_name]
    base = root if root is not None else _root(document)
    if base is None:
        raise InputError(
            f"dataset {own_name}: no data root. Give --data-root or the scenario's own path, or set"
            f" {ROOT_VARIABLE} or root in {document.where('root').rpartition(':')[0]}."
        )
    places = list(dict.fromkeys(base / folder for folder in (row.folder, own_name, *row.aliases)))
    for place in places:
        if place.is_dir():
            return Dataset(own_name, row.language, place, row.aliases)
    looked = ", ".join(str(place) for place in places)
    raise InputError(f"dataset {own_name}: no directory for it; looked for {looked}. Check the data root.")


def with_dataset(config: RunConfig, data_root: Path | None) -> RunConfig:
    """The configuration with scenario path and language filled in from the dataset's name."""
    path, language, name = config.data.scenario_path, config.prompt.language, config.data.dataset
    if name is not None and path is None:
        dataset = find_dataset(name, data_root)
        name, path, language = dataset.name, dataset.scenario_path, language or dataset.language
    elif name is not None:
        language = language or dataset_language(name)
    if path is None:
        raise ConfigError(
            "--dataset: not set; expected a dataset's name, or --scenario-path with a directory that holds"
            " test_leaderboard.json. Give one."
        )
    data = config.data.model_copy(update={"dataset": name, "scenario_path": path})
    prompt = config.prompt.model_copy(update={"language": language or Language.ENGLISH})
    return config.model_copy(update={"data": data, "prompt": prompt})


def dataset_name(name: str) -> str:
    """The dataset's own name for a name or alias; InputError names the nearest and lists all."""
    return _own_name(name, _known(_document()))


def list_datasets() -> list[KnownDataset]:
    """Every dataset of configs/datasets.yaml, in file order, whether its directory is there or not."""
    known = _known(_document())
    return [KnownDataset(name, row.language, row.folder, row.aliases) for name, row in known.items()]


def dataset_language(name: str) -> Language | None:
    """The language of a dataset by name or alias; None for a name that is not in configs/datasets.yaml."""
    known = _known(_document())
    own_name = _by_folded(known).get(_folded(name))
    return known[own_name].language if own_name else None


def _document() -> Document:
    document = load_yaml(shipped("configs", "datasets.yaml"))
    refuse_other_keys(document, ("description", "root", "datasets"))
    return document


def _root(document: Document) -> Path | None:
    value, where = os.environ.get(ROOT_VARIABLE), ROOT_VARIABLE
    if not value:
        value, where = document.values.get("root"), f"{document.where('root')}: root"
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{where}: expected a path, got {found(value)}. Write a path.")
    try:
        return expand_home(Path(value)) if value else None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}.") from None


def _known(document: Document) -> dict[str, DatasetRow]:
    known = rows(document, "datasets", DatasetRow)
    names: dict[str, str] = {}
    for own_name, row in known.items():
        for each in (own_name, *row.aliases):
            first = names.setdefault(_folded(each), own_name)
            if first != own_name:
                key = f"datasets.{own_name}"
                raise ConfigError(
                    f"{document.where(key)}: {key}: {each!r} already names {first}. Write another name."
                )
    return known


def _own_name(name: str, known: dict[str, DatasetRow]) -> str:
    own_name = _by_folded(known).get(_folded(name))
    if own_name:
        return own_name
    close = nearest(name, [each for own, row in known.items() for each in (own, *row.aliases)])
    guess = f" Did you mean {close}?" if close else ""
    raise InputError(
        f"no dataset named {name!r}.{guess} Write one of {', '.join(known)}, or give the scenario's path."
    )


def _by_folded(known: dict[str, DatasetRow]) -> dict[str, str]:
    return {_folded(each): own for own, row in known.items() for each in (own, *row.aliases)}


def _folded(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()
