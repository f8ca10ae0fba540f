"""The small files of an attempt as they are read again. They tell; no result depends on them.

So what is damaged in one counts as never written, and a field of another type as not set.
"""

from collections.abc import Iterator
from typing import Any

from launch.rundir.journal import NUMBER, FieldTypes, has_fields, read_journal, read_json
from launch.rundir.layout import AttemptPaths, EnginePaths

CLOCKS_AGREE_S = 2.0
"""A file system may keep whole seconds only, and a server take one to answer."""
_FAILURE: FieldTypes = {"class": str, "message": str}
_GPU: FieldTypes = {"num_samples": int, "gpus": list}
_GPU_KEYS = {"num_samples", "gpus", "sampled_s", "total", "no_gpu"}


def read_about(paths: AttemptPaths) -> dict[str, Any]:
    """attempt.json; `slurm` is there in any case, with texts only, and `host` a text or None.

    `clock_ahead_s` is by how much its node's clock was ahead of the file system's; 0 where it hardly was.
    """
    value = read_json(paths.attempt_json) or {}
    variables = value.get("slurm")
    slurm = variables if isinstance(variables, dict) else {}
    texts = {name: text for name, text in slurm.items() if isinstance(text, str)}
    ahead = _of(NUMBER, value.get("clock_ahead_s")) or 0.0
    ahead = ahead if abs(ahead) > CLOCKS_AGREE_S else 0.0
    return {**value, "host": _of(str, value.get("host")), "slurm": texts, "clock_ahead_s": ahead}


def read_ended(paths: AttemptPaths) -> dict[str, Any] | None:
    """ended.json with `code` and `reason`, `failure` and `gpu` or None; None when it says neither.

    That the file is there at all says that the attempt is over.
    """
    value = read_json(paths.ended)
    if value is None or not has_fields(value, {"code": int, "reason": str}):
        return None
    failure, gpu = value.get("failure"), value.get("gpu")
    is_failure = isinstance(failure, dict) and has_fields(failure, _FAILURE)
    return {**value, "failure": failure if is_failure else None, "gpu": gpu if _is_summary(gpu) else None}


def read_events(paths: AttemptPaths, name: str | None = None) -> Iterator[dict[str, Any]]:
    """The events of a name, or all of them, each with its time."""
    for event in read_journal(paths.events, time=NUMBER, event=str):
        if name in (None, event["event"]):
            yield event


def read_engine(paths: EnginePaths) -> dict[str, Any]:
    """engine.json: the facts of an engine start; empty when it has none."""
    value = read_json(paths.engine_json)
    if value is None or not has_fields(value, {"kind": str, "version": str, "device": str, "notes": list}):
        return {}
    return {**value, "start_s": _of(NUMBER, value.get("start_s"))}


def _of(kind: type | tuple[type, ...], value: object) -> Any:
    return value if isinstance(value, kind) else None


def _is_summary(gpu: Any) -> bool:
    if not isinstance(gpu, dict) or not has_fields(gpu, _GPU) or not gpu.keys() >= _GPU_KEYS:
        return False
    return all(isinstance(each, dict) for each in gpu["gpus"]) and isinstance(gpu["total"], dict | None)
