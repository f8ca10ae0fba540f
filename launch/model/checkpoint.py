"""Looks at a Hugging Face checkpoint directory from outside: what it is, and what it lacks for generation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import CheckpointError
from launch.model.fingerprint import digest_files, fingerprint_files
from launch.model.weights import find_weights, read_json_object, refuse_lfs_pointer

# One of these must be there whole. tekken.json is Mistral's own; *.tiktoken comes with remote code.
TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("tekken.json",),
    ("spiece.model",),
    ("vocab.txt",),
    ("*.tiktoken",),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that can be loaded as far as one can see without loading it.

    `architecture` is the first of config.json's `architectures`; `config` is config.json; `files` the digest
    of each file that counts and `digest` one over all (launch.model.fingerprint says what they cannot see);
    `eos_token_ids` end a sample in every engine alike.
    """

    path: Path
    architecture: str | None
    config: Mapping[str, Any]
    num_weight_bytes: int
    digest: str
    files: Mapping[str, str]
    eos_token_ids: tuple[int, ...]
    max_position_embeddings: int | None
    has_tokenizer_json: bool


def inspect_checkpoint(path: Path, *, needs_weights: bool = True) -> Checkpoint:
    """What is in the checkpoint directory `path`; reads headers and samples of the weights, not all of them.

    CheckpointError when it is no directory, lacks config.json, weights or tokenizer, holds Git-LFS pointers,
    or lacks files that its index names. Without `needs_weights` (engine.load_format dummy takes random ones)
    weights are not looked at. The result's path is absolute.
    """
    try:
        _require_directory(path)
        return _inspect(path.absolute(), needs_weights)
    except OSError as error:
        where = error.filename or path
        raise CheckpointError(
            f"{where}: cannot be read: {error.strerror}. Look at its permissions and its disk."
        ) from error


def _inspect(path: Path, needs_weights: bool) -> Checkpoint:
    _refuse_broken_links(path)
    _require_config(path)
    config = read_json_object(path / "config.json")
    _refuse_adapter(path)
    weights = find_weights(path) if needs_weights else ()
    _require_tokenizer(path)
    files = fingerprint_files(path, weights)
    return Checkpoint(
        path=path,
        architecture=_architecture(path, config),
        config=config,
        num_weight_bytes=sum(file.stat().st_size for file in weights),
        digest=digest_files(files),
        files=files,
        eos_token_ids=_eos_token_ids(path, config),
        max_position_embeddings=_whole_number(_setting(config, "max_position_embeddings")),
        has_tokenizer_json=(path / "tokenizer.json").is_file(),
    )


def _require_directory(path: Path) -> None:
    if path.is_dir():
        return
    if path.exists():
        raise CheckpointError(
            f"{path}: expected a checkpoint directory, got a file. Give the directory it lies in."
        )
    advice = "Check the path (model.checkpoint)."
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        advice = (
            f"If it is a Hugging Face hub id, download it first: `hf download {path} --local-dir DIR`,"
            " and give DIR; nodes do not reach the hub."
        )
    raise CheckpointError(f"{path}: is not a directory. {advice}")


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
    _refuse_adapter(path)
    inside = sorted(
        file.parent for pattern in ("*", "snapshots/*") for file in path.glob(f"{pattern}/config.json")
    )
    if inside:
        raise CheckpointError(
            f"{path}: config.json: not found here, but in {inside[-1]}. Give that directory."
        )
    if any(path.glob("*.gguf")):
        advice = "GGUF files are not supported; give the model in Hugging Face form."
    else:
        advice = "Give a directory in Hugging Face form: config.json, weights and tokenizer."
    raise CheckpointError(f"{path}: config.json: not found. {advice}")


def _refuse_adapter(path: Path) -> None:
    """An adapter has no weights of its own; a merged model may still carry its adapter_config.json."""
    adapter = path / "adapter_config.json"
    if not adapter.is_file() or any(not f.name.startswith("adapter") for f in path.glob("*.safetensors")):
        return
    base = read_json_object(adapter).get("base_model_name_or_path") or "its base model"
    raise CheckpointError(
        f"{path}: is a LoRA adapter, not a model; merge it into {base} first"
        " (peft: `merge_and_unload`, then `save_pretrained`)."
    )


def _require_tokenizer(path: Path) -> None:
    for names in TOKENIZERS:
        found = [file for name in names for file in path.glob(name) if file.is_file()]
        if len(found) >= len(names):
            for file in found:
                refuse_lfs_pointer(file, "tokenizer")
            return
    raise CheckpointError(
        f"{path}: tokenizer: found none of tokenizer.json, tokenizer.model, vocab.json with merges.txt,"
        " tekken.json. Copy the tokenizer of the base model there."
    )


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
