"""Python code that a checkpoint brings along (`auto_map`): which files, and whether they have to run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launch.config.schema import EngineKind
from launch.errors import CheckpointError
from launch.model.chat_template import read_tokenizer_config
from launch.model.checkpoint import Checkpoint
from launch.model.native import knows_model, knows_tokenizer


def check_remote_code(kind: EngineKind, checkpoint: Checkpoint, trusted: bool) -> str | None:
    """What is to be said of the checkpoint's code, None where it has none and none was asked for.

    CheckpointError, before anything starts, when `kind` cannot do without the code and it is not `trusted`,
    and when trusted code is not in the checkpoint, where the checkpoint's digest holds it.
    """
    tokenizer_config = read_tokenizer_config(checkpoint.tokenizer_dir)
    model_code = _code_files(checkpoint.config)
    tokenizer_code = _code_files(tokenizer_config)
    files = sorted({*model_code, *tokenizer_code})
    if not files:
        ignored = "model.trust_remote_code: ignored, the checkpoint brings no code"
        return ignored if trusted else None
    shown = ", ".join(files)
    if trusted:
        _require_files(checkpoint.path, model_code)
        _require_files(checkpoint.tokenizer_dir, tokenizer_code)
        return f"model.trust_remote_code: code of the checkpoint may run: {shown}"
    known = {
        "model": not model_code or knows_model(kind, checkpoint.config, checkpoint.architecture),
        "tokenizer": not tokenizer_code or knows_tokenizer(checkpoint.config, tokenizer_config),
    }
    for what, is_known in known.items():
        if is_known is False:
            raise _needs_trust(kind, checkpoint, what, shown)
    if None in known.values():
        return f"code of the checkpoint ({shown}) does not run; whether {kind} needs it cannot be seen here"
    return f"code of the checkpoint ({shown}) does not run: {kind} knows {checkpoint.architecture} by itself"


def _needs_trust(kind: EngineKind, checkpoint: Checkpoint, what: str, shown: str) -> CheckpointError:
    name = f"{checkpoint.architecture} by itself" if what == "model" else "its tokenizer by itself"
    return CheckpointError(
        f"{checkpoint.root}: {kind} does not know {name}; it would run the checkpoint's own code: {shown}."
        " Read it, and give --trust-remote-code true if you trust it."
    )


def _code_files(config: Mapping[str, Any]) -> list[str]:
    """The files that `auto_map` names, such as modeling_x.py; org/name--modeling_x.py lies elsewhere."""
    auto_map = config.get("auto_map")
    return sorted({f"{name.rpartition('.')[0]}.py" for name in _strings(auto_map) if "." in name})


def _strings(value: object) -> Iterator[str]:
    """Of {"AutoModel": "file.Class", "AutoTokenizer": ["file.Slow", None]}, or of an old list of classes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            yield from _strings(below)


def _require_files(directory: Path, names: list[str]) -> None:
    for name in names:
        if "--" in name:
            repository, _, file = name.partition("--")
            raise CheckpointError(
                f"{directory}: auto_map: takes its code from another repository ({name}), which no digest of"
                f" this checkpoint holds. Copy {file} of {repository} here and take `{repository}--` out."
            )
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory}: auto_map: names {name}, which is not there. Copy it there.")
