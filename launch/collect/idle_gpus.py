"""GPUs that idled while their engine had requests, out of the events `gpu_idle` of an attempt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launch.rundir.journal import NUMBER, FieldTypes, has_fields

MAX_ID = 100
"""Characters of a GPU's id: UUIDs have 40."""
_IDLE: FieldTypes = {"slot": int, "gpu": str, "idle_s": NUMBER}


@dataclass(frozen=True, slots=True)
class IdleGpu:
    """A GPU of a slot: in how many spells it idled for 60 s and more, and for how long if one goes on."""

    slot: int
    gpu: str
    num_spells: int
    for_s: float | None


def idle_gpus(rows: Iterable[Mapping[str, Any]], now: float | None) -> tuple[IdleGpu, ...]:
    """Of events in order, each with `event` and `time`; `now` is that of their clock, None: the task is over.

    Each event of a spell says which of the attempt it is, so those that are not in `rows` count as well.
    """
    found: dict[tuple[int, str], tuple[int, float | None]] = {}
    for row in rows:
        if row["event"] == "gpu_idle" and has_fields(row, _IDLE):
            place = (row["slot"], row["gpu"][:MAX_ID])
            number, _ = found.get(place, (0, None))
            spell = row.get("spell")
            number = spell if isinstance(spell, int) else number + 1
            found[place] = (number, float(row["time"]) - float(row["idle_s"]))
        elif row["event"] in ("gpu_idle_end", "engine_end"):
            for slot, gpu in found:
                if (slot, gpu) == (row.get("slot"), row.get("gpu", gpu)):
                    found[slot, gpu] = (found[slot, gpu][0], None)
    return tuple(
        IdleGpu(slot, gpu, number, None if since is None or now is None else max(0.0, round(now - since, 1)))
        for (slot, gpu), (number, since) in sorted(found.items())
    )
