"""Looks at a Hugging Face checkpoint directory from outside: what it is, and what it lacks for generation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import CheckpointError
from launch.model.adapters import ADAPTER_CONFIG, Adapter
from launch.model.fingerprint import ADAPTER_FILES, TOKENIZER_FILES, digest_files, fingerprint_files
from launch.model.parts import Parts, find_parts
from launch.model.tokenizer_files import require_tokenizer
from launch.model.training_state import refuse_training_state
from launch.model.weights import find_weights, has_whole_weights, read_json_object


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that can be loaded as far as one can see without loading it.

    `path` is the directory of the model's weights, of an `adapter` its base model's; `tokenizer_dir` holds
    tokenizer and chat template, often the same. `architecture` is the first of config.json's `architectures`;
    `config` is config.json; `files` the digest of each file that counts, an adapter's behind `adapter/` and
    those of a tokenizer elsewhere behind `tokenizer/`, and `digest` one over all (launch.model.fingerprint
    says what they cannot see); `eos_token_ids` end a sample in every engine alike. `hub_id` is what was asked
    for where that was no directory; `notes` say how the parts were found.
    """

    path: Path
    architecture: str | None
    config: Mapping[str, Any]
    num_weight_bytes: int
    digest: str
    files: Mapping[str, str]
    eos_token_ids: tuple[int, ...]
    has_tokenizer_json: bool
    tokenizer_dir: Path
    adapter: Adapter | None = None
    hub_id: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The directory that was asked for: the adapter's, if it is one, else that of the weights."""
        return self.path if self.adapter is None else self.adapter.path


def inspect_checkpoint(
    path: Path, *, base: Path | None = None, tokenizer: Path | None = None, needs_weights: bool = True
) -> Checkpoint:
    """What is in the checkpoint `path`; reads headers and samples of the weights, not all of them.

    `path`, `base` (instead of what an adapter names) and `tokenizer` (instead of the checkpoint's own) are
    directories, or hub ids in the cache; the result's paths are absolute. CheckpointError when they are not
    there, or lack config.json, weights, a tokenizer or files that an index names, or hold Git-LFS pointers.
    Without `needs_weights` (engine.load_format dummy takes random ones) weights are not looked at.
    """
    try:
        return _inspect(find_parts(path, base, tokenizer, needs_weights=needs_weights), needs_weights)
    except OSError as error:
        where = error.filename or path
        raise CheckpointError(
            f"{where}: cannot be read: {error.strerror}. Look at its permissions and its disk."
        ) from error


def _inspect(parts: Parts, needs_weights: bool) -> Checkpoint:
    path = parts.weights
    for directory in dict.fromkeys((path, parts.tokenizer, parts.adapter.path if parts.adapter else path)):
        _refuse_broken_links(directory)
    if not has_whole_weights(path):
        refuse_training_state(path)
    _require_config(path)
    config = read_json_object(path / "config.json")
    weights = find_weights(path) if needs_weights else ()
    require_tokenizer(parts.tokenizer)
    files = _fingerprint(parts, weights)
    return Checkpoint(
        path=path,
        architecture=_architecture(path, config),
        config=config,
        num_weight_bytes=sum(file.stat().st_size for file in weights),
        digest=digest_files(files),
        files=files,
        eos_token_ids=_eos_token_ids(path, config),
        has_tokenizer_json=(parts.tokenizer / "tokenizer.json").is_file(),
        tokenizer_dir=parts.tokenizer,
        adapter=parts.adapter,
        hub_id=parts.hub_id,
        notes=parts.notes,
    )


def _fingerprint(parts: Parts, weights: Sequence[Path]) -> dict[str, str]:
    files = fingerprint_files(parts.weights, weights)
    if parts.adapter is not None:
        own = () if parts.adapter.weights is None else (parts.adapter.weights,)
        files |= fingerprint_files(parts.adapter.path, own, ADAPTER_FILES, "adapter/")
    if parts.tokenizer != parts.weights:
        files |= fingerprint_files(parts.tokenizer, (), TOKENIZER_FILES, "tokenizer/")
    return files


def _refuse_broken_links(path: Path) -> None:
    for entry in sorted(path.iterdir()):
        if entry.is_symlink() and not entry.exists():
            raise CheckpointError(
                f"{entry}: links to {entry.readlink()}, which does not exist."
                " Copy the checkpoint with `cp -rL`, which copies what links point to."
            )


def _require_config(path: Path) -> None:
    if (path / "config.json").is_file():
        return
    inside = {
        file.parent
        for name in ("config.json", ADAPTER_CONFIG)
        for pattern in ("*", "snapshots/*")
        for file in path.glob(f"{pattern}/{name}")
    }
    if inside:
        raise CheckpointError(
            f"{path}: config.json: not found here, but in {max(inside, key=_natural)}. Give that directory."
        )
    if any(path.glob("*.gguf")):
        advice = "GGUF files are not supported; give the model in Hugging Face form."
    else:
        advice = "Give a directory in Hugging Face form: config.json, weights and tokenizer."
    raise CheckpointError(f"{path}: config.json: not found. {advice}")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Orders checkpoint-1000 behind checkpoint-500."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _architecture(path: Path, config: Mapping[str, Any]) -> str | None:
    names = config.get("architectures")
    if names is None or names == []:
        return None
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise CheckpointError(
            f"{path / 'config.json'}: architectures: expected a list of names, got {names!r}."
        )
    return names[0]


def _eos_token_ids(path: Path, config: Mapping[str, Any]) -> tuple[int, ...]:
    """Of generation_config.json, else of config.json, else none."""
    source = path / "generation_config.json"
    value = read_json_object(source).get("eos_token_id") if source.is_file() else None
    if value is None:
        source, value = path / "config.json", _setting(config, "eos_token_id")
    if value is None:
        return ()
    ids = value if isinstance(value, list) else [value]
    if any(_whole_number(token) is None for token in ids):
        raise CheckpointError(
            f"{source}: eos_token_id: expected an integer or a list of them, got {value!r}."
        )
    return tuple(dict.fromkeys(ids))


def _setting(config: Mapping[str, Any], name: str) -> Any:
    """A setting of the text model: at the top of config.json, or in text_config of a multimodal model."""
    nested = config.get("text_config")
    value = config.get(name)
    return nested.get(name) if value is None and isinstance(nested, dict) else value


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
