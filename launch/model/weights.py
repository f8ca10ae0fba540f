"""Finds the weight files of a checkpoint and sees from outside whether they are whole.

Nothing but sizes, headers and the index is read: what is found here is found in milliseconds on the login
node instead of after hours in a queue.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.errors import CheckpointError

LFS_MARK = b"version https://git-lfs.github.com/spec/v1"
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# Training state beside the weights: the names that vLLM and transformers leave out too.
NOT_WEIGHTS = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"}
# A framework's own form, which no engine reads: DeepSpeed's shards.
NOT_WEIGHTS_ENDINGS = ("_model_states.pt", "_optim_states.pt")
MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


def find_weights(directory: Path) -> tuple[Path, ...]:
    """The weight files, sorted by name: those an index names, else *.safetensors, else *.bin or *.pt.

    CheckpointError when there are none, when an index names files that are absent, when a file is a Git-LFS
    pointer, or when a safetensors file is shorter or longer than its header says.
    """
    weights = _named_by_index(directory) or _by_suffix(directory)
    if not weights:
        raise CheckpointError(
            f"{directory}: weights: found no *.safetensors, *.bin or *.pt. Copy the weight files there."
        )
    for path in weights:
        refuse_lfs_pointer(path, "weights")
        if path.suffix == ".safetensors":
            check_safetensors(path)
    return weights


def has_whole_weights(directory: Path) -> bool:
    """Whether weights of a model, not of an adapter, lie there, however damaged."""
    return any((directory / name).is_file() for name in INDEX_FILES) or bool(_by_suffix(directory))


def read_safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """`dtype`, `shape` and `data_offsets` of each tensor by name; check_safetensors let the file pass."""
    with path.open("rb") as handle:
        header: dict[str, dict[str, Any]] = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def refuse_lfs_pointer(path: Path, what: str) -> None:
    """CheckpointError when `path` is the text that git leaves in place of a large file."""
    if path.stat().st_size > 1024:
        return
    text = path.read_bytes()
    if text.startswith(LFS_MARK):
        size = re.search(rb"^size (\d+)$", text, re.MULTILINE)
        of = f" of {format_bytes(int(size[1]))}" if size else ""
        raise CheckpointError(
            f"{path}: {what}: this is a Git-LFS pointer{of}, not the file itself."
            f" Run `git lfs pull` in {path.parent}."
        )


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; CheckpointError with the line when it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        refuse_lfs_pointer(path, path.name)
        raise CheckpointError(f"{path}:{error.lineno}: not JSON: {error.msg}. Copy the file anew.") from None
    except (UnicodeDecodeError, RecursionError):
        raise CheckpointError(f"{path}: not JSON in UTF-8. Copy the file anew.") from None
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path}: expected a JSON object, got {type(value).__name__}. Copy the file anew."
        )
    return value


def format_bytes(count: int) -> str:
    """A size for people, in powers of ten: 135 B, 2.1 MB, 4.9 GB."""
    for power, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= power:
            return f"{count / power:.1f} {unit}"
    return f"{count} B"


def _named_by_index(directory: Path) -> tuple[Path, ...]:
    index = next((directory / name for name in INDEX_FILES if (directory / name).is_file()), None)
    if index is None:
        return ()
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: expected a `weight_map` from tensors to files. Copy the file anew.")
    names = sorted({str(name) for name in weight_map.values()})
    absent = [name for name in names if not (directory / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{directory}: weights: {list_names(absent)} of {len(names)} files that {index.name} names"
            f" {'is' if len(absent) == 1 else 'are'} missing. Copy the missing files."
        )
    return tuple(directory / name for name in names)


def _by_suffix(directory: Path) -> tuple[Path, ...]:
    """Whole-model files; consolidated* is the same model again in Mistral's layout, adapter* is no model."""
    files = [path for path in sorted(directory.iterdir()) if path.is_file() and _may_be_weights(path.name)]
    for suffix in (".safetensors", ".bin", ".pt"):
        found = [path for path in files if path.suffix == suffix and not path.name.startswith("adapter")]
        whole = [path for path in found if not path.name.startswith("consolidated")]
        if found:
            return tuple(whole or found)
    return ()


def _may_be_weights(name: str) -> bool:
    return name not in NOT_WEIGHTS and not name.endswith(NOT_WEIGHTS_ENDINGS)


def check_safetensors(path: Path) -> None:
    """CheckpointError for a file that is cut or damaged.

    The format: 8 bytes little-endian length of the header, the JSON header, the tensors; nothing else.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path}: weights: not a safetensors file ({format_bytes(size)}). Copy it anew."
            )
        header = handle.read(length)
    try:
        tensors = json.loads(header)
        ends = [_end_of(tensor) for name, tensor in tensors.items() if name != "__metadata__"]
    except (ValueError, AttributeError, KeyError, IndexError, TypeError):
        if len(header) < length:
            raise _truncated(path, size, 8 + length) from None
        raise CheckpointError(f"{path}: weights: its safetensors header is damaged. Copy it anew.") from None
    expected = 8 + length + max(ends, default=0)
    if size < expected:
        raise _truncated(path, size, expected)
    if size > expected:
        raise CheckpointError(
            f"{path}: weights: {size - expected} bytes more than its header says. Copy it anew."
        )


def _end_of(tensor: Any) -> int:
    """Where a tensor's bytes end; an error of `check_safetensors` for a row that the format does not have."""
    begin, end = tensor["data_offsets"]
    if not (isinstance(tensor["dtype"], str) and isinstance(tensor["shape"], list)):
        raise TypeError
    if not all(isinstance(number, int) for number in (begin, end, *tensor["shape"])):
        raise TypeError
    return int(end)


def _truncated(path: Path, size: int, expected: int) -> CheckpointError:
    return CheckpointError(
        f"{path}: weights: the file is cut short, {size:,} of at least {expected:,} bytes. Copy it anew."
    )


def list_names(names: Sequence[str]) -> str:
    """The first three names, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
