"""From a preset, a cluster file, flags and --set to one configuration, and where each value came from.

Order, later wins: defaults, the preset's ancestors, the preset, the cluster file (only `resources`), then the
command line: flags, then --set. Mappings merge key by key; lists and values replace. Every layer is validated
alone, so a mistake is named in its own file and line even where a later layer hides it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from launch.config import checks
from launch.config.complaints import Complaint, complaints, one_line
from launch.config.datasets import dataset_name
from launch.config.load import Document, parse_value
from launch.config.presets import cluster_file, preset_chain
from launch.config.schema import RunConfig
from launch.config.trees import leaves, merge, nested
from launch.config.wording import printable
from launch.errors import ConfigError, InputError

DEFAULT = "default"
DEFAULT_CLUSTER = "none"
GIVEN_BEFORE = 0  # rank of what a run was planned with


@dataclass(frozen=True, slots=True)
class Layers:
    """What a user gave. `flags` holds only flags that were typed: dotted key -> (flag as typed, value).

    `cluster_from` is where the cluster's name was given.
    """

    preset: str | Path
    cluster: str | Path | None = None
    flags: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    sets: Sequence[str] = ()
    cluster_from: str = "--cluster"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A valid configuration; `origins` has every value's dotted key, `warnings` are to be said aloud."""

    config: RunConfig
    origins: Mapping[str, str]
    preset: str
    cluster: str
    warnings: tuple[str, ...]

    @property
    def places(self) -> dict[str, str]:
        """The origins of the values that somebody gave: none of a default."""
        return {key: origin for key, origin in self.origins.items() if origin != DEFAULT}


@dataclass(frozen=True, slots=True)
class Layer:
    """Values of one rank, in the shape of a RunConfig; `source` is a file, or the flag or --set as typed."""

    rank: int
    values: Mapping[str, Any]
    source: Document | str
    prefix: str = ""

    def line(self, key: str) -> int:
        """The line of a dotted key; 0 on the command line."""
        return 0 if isinstance(self.source, str) else self.source.line(self._inner(key))

    def where(self, key: str) -> str:
        """`file:line` of a dotted key, or the flag or --set as typed."""
        return self.source if isinstance(self.source, str) else self.source.where(self._inner(key))

    def _inner(self, key: str) -> str:
        return key.removeprefix(self.prefix)


def resolve(layers: Layers) -> Resolved:
    """The configuration of a run; ConfigError names the first mistake and counts the others."""
    cluster = DEFAULT_CLUSTER if layers.cluster is None else layers.cluster
    chain = preset_chain(layers.preset)
    stack = [Layer(rank, file.values, file.document) for rank, file in enumerate(chain, 1)]
    stack.append(_cluster_layer(cluster, len(stack) + 1, layers.cluster_from))
    stack.extend(_command_line(layers.flags, layers.sets, len(stack) + 1))
    return _combined(stack, str(layers.preset), str(cluster))


def overlay(
    config: RunConfig,
    cluster: str | Path | None = None,
    flags: Mapping[str, tuple[str, Any]] | None = None,
    sets: Sequence[str] = (),
) -> Resolved:
    """A run's configuration with a cluster file, flags and --set on top, as on resume.

    A cluster file replaces all of `resources`: another cluster's partition or account means nothing on it.
    """
    values = config.model_dump(mode="json")
    if cluster is not None:
        values.pop("resources")
    stack = [Layer(GIVEN_BEFORE, values, "run")]
    if cluster is not None:
        stack.append(_cluster_layer(cluster, 1))
    stack.extend(_command_line(flags or {}, sets, 2))
    return _combined(stack, "run", "run" if cluster is None else str(cluster))


def _combined(stack: Sequence[Layer], preset: str, cluster: str) -> Resolved:
    _refuse(stack)
    values: dict[str, Any] = {}
    holders: dict[str, Layer] = {}
    notices: list[str] = []
    for layer in stack:
        notices.extend(_hidden(layer, holders))
        values = merge(values, layer.values)
        holders.update(dict.fromkeys(leaves(layer.values), layer))
    places = {key: layer.where(key) for key, layer in holders.items()}
    ranks = {key: layer.rank for key, layer in holders.items()}
    greedy = checks.greedy(values.get("sampling", {}), ranks, places)
    if greedy:
        values = merge(values, {"sampling": {"num_samples": 1}})
        places["sampling.num_samples"] = f"temperature 0, {places['sampling.temperature']}"
        notices.append(greedy)
    config = RunConfig.model_validate(values)
    checks.refuse_impossible(config, ranks, places)
    _refuse_unknown_dataset(config, places)
    now_given = {key: place for key, place in places.items() if ranks.get(key) != GIVEN_BEFORE}
    notices.extend(checks.ignored(config, now_given))
    origins = {key: places.get(key, DEFAULT) for key in leaves(config.model_dump(mode="json"))}
    return Resolved(config, origins, preset, cluster, tuple(notices))


def _cluster_layer(cluster: str | Path, rank: int, where: str = "--cluster") -> Layer:
    file = cluster_file(cluster, where)
    return Layer(rank, {"resources": file.values}, file.document, "resources.")


def _command_line(flags: Mapping[str, tuple[str, Any]], sets: Sequence[str], rank: int) -> Iterator[Layer]:
    for key, (flag, value) in flags.items():
        yield Layer(rank, nested(key, value), printable(flag))
    for text in sets:
        yield Layer(rank, _setting(text), printable(f"--set {text}"))


def _setting(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    place = printable(f"--set {text}")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"{place}: expected section.key=value. Write --set sampling.top_p=0.9.")
    if not value:
        raise ConfigError(f"{place}: nothing after '='. Write null to unset it, or '\"\"' for an empty text.")
    return nested(key, parse_value(value, place))


def _refuse(stack: Sequence[Layer]) -> None:
    """Raises the first complaint about any layer, if there is one."""
    found_wrong = [f"{layer.where(each.key)}: {each}" for layer in stack for each in _complaints(layer)]
    if found_wrong:
        raise ConfigError(one_line(found_wrong[0], len(found_wrong) - 1))


def _complaints(layer: Layer) -> list[Complaint]:
    try:
        RunConfig.model_validate(layer.values)
    except ValidationError as error:
        found_wrong = complaints(error, RunConfig, layer.values)
        return sorted(found_wrong, key=lambda each: layer.line(each.key))
    return []


def _refuse_unknown_dataset(config: RunConfig, places: Mapping[str, str]) -> None:
    if config.data.dataset is None or config.data.scenario_path is not None:
        return
    try:
        dataset_name(config.data.dataset)
    except InputError as error:
        raise ConfigError(f"{places['data.dataset']}: data.dataset: {error}") from None


def _hidden(layer: Layer, holders: Mapping[str, Layer]) -> Iterator[str]:
    """A --set that hides a flag or an earlier --set is said; files are made to be overridden."""
    for key in leaves(layer.values):
        below = holders.get(key)
        if below is not None and isinstance(below.source, str) and below.rank != GIVEN_BEFORE:
            yield f"{below.source}: ignored, for {layer.source} comes later."
