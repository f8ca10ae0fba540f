"""From what a user writes to where a checkpoint's parts lie: weights, adapter, tokenizer."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launch.config.home import expand_home
from launch.errors import CheckpointError
from launch.model.adapters import ADAPTER_CONFIG, MERGE_ADVICE, Adapter, is_adapter, read_adapter
from launch.model.hub import CACHE_VARIABLES, find_snapshot, hub_cache, is_hub_id, not_in_cache
from launch.model.tokenizer_files import find_tokenizer_files


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a checkpoint; every path is absolute. `notes` say what was looked up, for the user.

    `weights` is the model's directory, of an adapter its base's; `tokenizer` holds tokenizer and template;
    `hub_id` is what the user wrote when that was an id.
    """

    weights: Path
    adapter: Adapter | None
    tokenizer: Path
    hub_id: str | None
    notes: tuple[str, ...]


def find_parts(path: Path, base: Path | None, tokenizer: Path | None, *, needs_weights: bool) -> Parts:
    """Finds the parts of the checkpoint `path`: a model's directory, an adapter's, or a hub id in the cache.

    `base` overrides what an adapter says of its base model, `tokenizer` names another directory for the
    tokenizer; both may be hub ids. Without it an adapter's own tokenizer is taken if it has one.
    CheckpointError for what is not there, for an adapter of an adapter, and for a `base` that nothing reads.
    """
    notes: list[str] = []
    found = find_directory(path, "model.checkpoint", notes)
    adapter = read_adapter(found, needs_weights=needs_weights) if is_adapter(found) else None
    if adapter is None and base is not None:
        raise CheckpointError(
            f"--base-checkpoint: {path} is not a LoRA adapter and has no base. Leave it out."
        )
    weights = found if adapter is None else _find_base(adapter, base, notes)
    return Parts(
        weights=weights,
        adapter=adapter,
        tokenizer=_find_tokenizer(found, weights, tokenizer, notes),
        hub_id=str(path) if is_hub_id(str(path)) and not path.is_dir() else None,
        notes=tuple(notes),
    )


def find_directory(path: Path, setting: str, notes: list[str]) -> Path:
    """The directory `path`, or the snapshot of the hub id that it is; that is noted; else CheckpointError."""
    path = path.expanduser()
    if path.is_dir():
        return path.absolute()
    if path.exists():
        raise CheckpointError(
            f"{path}: expected a checkpoint directory, got a file. Give the directory it lies in."
        )
    if not is_hub_id(str(path)):
        raise CheckpointError(f"{path}: there is no such directory. Check the path ({setting}).")
    snapshot = find_snapshot(str(path))
    if snapshot is None:
        raise not_in_cache(str(path))
    notes.append(f"{setting}: {path} is {snapshot} in the Hugging Face cache")
    return snapshot


def _find_base(adapter: Adapter, given: Path | None, notes: list[str]) -> Path:
    base = find_directory(given, "model.base_checkpoint", notes) if given else _named_base(adapter, notes)
    if is_adapter(base):
        raise CheckpointError(
            f"{adapter.path}: its base {base} is a LoRA adapter, too. Take that one and {MERGE_ADVICE}."
        )
    notes.append(f"LoRA adapter {adapter.path}, rank {adapter.rank}, over the base model {base}")
    return base


def _named_base(adapter: Adapter, notes: list[str]) -> Path:
    """The base that adapter_config.json names: a path, seen from the adapter or from here, or a hub id."""
    source = adapter.path / ADAPTER_CONFIG
    name = adapter.base_name
    if name is None:
        raise CheckpointError(
            f"{source}: base_model_name_or_path: not set. Give the base model with --base-checkpoint."
        )
    written = Path(str(adapter.config["base_model_name_or_path"]))
    with suppress(ValueError):  # the home of somebody who trained it elsewhere
        written = expand_home(written)
    for directory in (adapter.path / written, Path.cwd() / written):
        if directory.is_dir():
            return directory
    looked = ""
    if is_hub_id(name):
        snapshot = find_snapshot(name)
        if snapshot is not None:
            notes.append(f"base model: {name} is {snapshot} in the Hugging Face cache")
            return snapshot
        looked = f", and not in {hub_cache()} ({CACHE_VARIABLES})"
    raise CheckpointError(
        f"{source}: base_model_name_or_path: {name} is no directory here{looked}."
        " Give the base model with --base-checkpoint."
    )


def _find_tokenizer(found: Path, weights: Path, given: Path | None, notes: list[str]) -> Path:
    if given is not None:
        directory = find_directory(given, "model.tokenizer", notes)
        if directory != found:
            notes.append(f"tokenizer and chat template of {directory}, as asked for")
    elif found != weights and find_tokenizer_files(found):
        directory = found
        notes.append(f"tokenizer and chat template are the adapter's own, not its base model's: {found}")
    else:
        directory = weights
    return directory
