"""The small files of an attempt as they are read again. They tell; no result depends on them.

So what is damaged in one counts as never written, and a field of another type as not set.
"""

from collections.abc import Iterator
from types import NoneType
from typing import Any

from launch.rundir.journal import NUMBER, FieldTypes, has_fields, read_journal, read_json
from launch.rundir.layout import AttemptPaths, EnginePaths
from launch.rundir.one_look import read_once

CLOCKS_AGREE_S = 2.0
"""A file system may keep whole seconds only, and a server take one to answer."""
_FAILURE: FieldTypes = {"class": str, "message": str}
_GPU: FieldTypes = {
    "num_samples": int,
    "gpus": list,
    "sampled_s": (*NUMBER, NoneType),
    "total": (dict, NoneType),
    "no_gpu": (str, NoneType),
}
_FIGURES = ("mean_", "peak_", "ecc_")
"""How the names of a GPU's figures begin, beside `energy_j`."""


def read_about(paths: AttemptPaths) -> dict[str, Any]:
    """attempt.json; `slurm` is there in any case, with texts only, and `host` a text or None.

    `clock_ahead_s` is by how much its node's clock was ahead of the file system's; 0 where it hardly was.
    """
    value = read_once(read_json, paths.attempt_json) or {}
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
    value = read_once(read_json, paths.ended)
    if value is None or not has_fields(value, {"code": int, "reason": str}):
        return None
    gpu = value.get("gpu")
    return {**value, "failure": _failure(value.get("failure")), "gpu": gpu if _is_summary(gpu) else None}


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
    notes = [note for note in value["notes"] if isinstance(note, str)]
    if not isinstance(value.get("settings", {}), dict):
        value["settings"] = {}
    return {**value, "notes": notes, "start_s": _of(NUMBER, value.get("start_s"))}


def _of(kind: type | tuple[type, ...], value: object) -> Any:
    return value if isinstance(value, kind) else None


def _failure(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict) or not has_fields(value, _FAILURE):
        return None
    return value if isinstance(value.get("advice", []), list) else {**value, "advice": []}


def _is_summary(gpu: Any) -> bool:
    if not isinstance(gpu, dict) or not has_fields(gpu, _GPU) or not gpu.keys() >= _GPU.keys():
        return False
    if gpu["total"] and gpu["sampled_s"] is None:
        return False
    return isinstance(gpu.get("num_xids", 0), int) and all(map(_is_gpu, gpu["gpus"]))


def _is_gpu(gpu: Any) -> bool:
    """Whether its figures are numbers, or null where nobody told them."""
    if not isinstance(gpu, dict):
        return False
    throttle = gpu.get("throttle") or {}
    figures = [value for name, value in gpu.items() if name.startswith(_FIGURES) or name == "energy_j"]
    told = [value for value in figures if value is not None]
    return isinstance(throttle, dict) and all(
        isinstance(value, NUMBER) for value in (*throttle.values(), *told)
    )
