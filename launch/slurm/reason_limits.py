"""The number of the limit that a job waits for: asked of the accounting database, and kept for ten minutes.

A reason names whose limit it is, over what it counts and of which resource; sacctmgr(1) has a field for each.
Whoever finds limits.json of a submission older asks; a limit of an account above the user's own is not told.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from launch.config.schema import ResourcesConfig
from launch.errors import StorageError
from launch.rundir.journal import NUMBER, has_fields, read_json, write_json
from launch.rundir.layout import SubmissionPaths
from launch.slurm.associations import limit_of_qos, own_association
from launch.slurm.pending_reasons import LIMIT

KEPT_FOR_S = 600.0
TIMEOUT_S = 3.0
"""Of each question: a person waits, and a number that does not come is no loss."""
_COUNTED = {"Cpu": "cpu", "CPU": "cpu", "Mem": "mem", "Memory": "mem", "Node": "node", "GRES": "gres/gpu"}
_UNITS = {"cpu": "CPUs", "mem": "of memory", "node": "nodes", "gres/gpu": "GPUs"}


def allowed_by(
    paths: SubmissionPaths,
    resources: ResourcesConfig,
    reasons: Iterable[str],
    now: float,
    cluster: str | None = None,
) -> dict[str, str]:
    """What the limits behind reasons allow, with units (`8 GPUs`), for those that can be asked.

    `now` is in seconds by the clock that the answers are dated by, `cluster` the one that gave the reasons.
    A directory that cannot be written keeps nothing.
    """
    kept = _kept(paths, now)
    wanted = _not_in(kept, reasons)
    if wanted:
        kept |= {reason: _ask(reason, resources, cluster) for reason in sorted(wanted)}
        with contextlib.suppress(StorageError, OSError):
            write_json(paths.limits, {"asked": now, "allowed": kept})
    return {reason: text for reason, text in kept.items() if text is not None}


def known_limits(
    paths: SubmissionPaths, reasons: Iterable[str], now: float
) -> tuple[dict[str, str], set[str]]:
    """What is kept of what `allowed_by` would give, and the reasons about which it would ask."""
    kept = _kept(paths, now)
    return {reason: text for reason, text in kept.items() if text is not None}, _not_in(kept, reasons)


def _not_in(kept: Mapping[str, str | None], reasons: Iterable[str]) -> set[str]:
    return {reason for reason in reasons if field_of(reason) is not None and reason not in kept}


def _kept(paths: SubmissionPaths, now: float) -> dict[str, str | None]:
    value: dict[str, Any] = read_json(paths.limits) or {}
    if not has_fields(value, {"asked": NUMBER, "allowed": dict}) or abs(now - value["asked"]) > KEPT_FOR_S:
        return {}
    return {
        reason: text
        for reason, text in value["allowed"].items()
        if text is None or (isinstance(text, str) and re.fullmatch(r"[\w.,:+ /-]{1,80}", text))
    }


def field_of(reason: str) -> tuple[str, str | None] | None:
    """sacctmgr's field for a reason, and the resource in it where it lists several; None for no such limit.

    Limits over time used and over what is left of a share have no number that would help.
    """
    found = LIMIT.fullmatch(reason)
    if found is None or found["minutes"] or found["kind"] == "Min":
        return None
    per = {None: "", "Job": "", "Node": "pernode", "User": "peruser", "Account": "peraccount"}[found["per"]]
    scope = "grp" if found["kind"] == "Grp" else "max"
    what = found["what"]
    if what in ("Jobs", "SubmitJob", "SubmitJobs"):
        return f"{scope}{'jobs' if what == 'Jobs' else 'submitjobs'}{per}", None
    if what in ("Wall", "WallDuration"):
        return f"{scope}wall", None
    return (f"{scope}tres{per}", _COUNTED[what]) if what in _COUNTED else None


def _ask(reason: str, resources: ResourcesConfig, cluster: str | None) -> str | None:
    field = field_of(reason)
    assert field is not None
    name, resource = field
    of_association = reason.startswith("Assoc")
    own = own_association(resources, name if of_association else "maxjobs", TIMEOUT_S, cluster)
    if own is None:
        return None
    value = own.value if of_association else limit_of_qos(own.qos, name, TIMEOUT_S)
    if resource is not None:
        return _of_resource(value, resource, resources.gpu_type)
    if not value:
        return None
    return f"{value} of wall time" if name.endswith("wall") else _counted(value, "jobs")


def _of_resource(value: str, resource: str, gpu_type: str | None) -> str | None:
    """The number of a resource in `cpu=64,gres/gpu=8,gres/gpu:h100=4,mem=100G`, our GPU type first."""
    parts = dict(part.partition("=")[::2] for part in value.split(","))
    typed = parts.get(f"{resource}:{gpu_type}")
    if typed:
        return _counted(typed, f"{gpu_type} {_UNITS[resource]}")
    number = parts.get(resource)
    return _counted(number, _UNITS[resource]) if number else None


def _counted(number: str, unit: str) -> str:
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}"
