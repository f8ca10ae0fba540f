"""Where the seconds of a run's engine starts went, out of engine.json and attempt.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from launch.collect.attempt_files import AttemptFiles
from launch.rundir.journal import NUMBER, has_fields

MEANS = (
    "Seconds of each part of an engine start, from the moment its process was made to ready, over the starts"
    " that became ready. `within` says in which part one lies, `by` who measured it; `unexplained` is what"
    " the parts within leave, `overlap` by how much they are longer than it. Of vLLM's own processes that"
    " work side by side the slowest counts."
)
ROW_FIELDS: dict[str, type | tuple[type, ...]] = {"part": str, "seconds": NUMBER, "within": str, "by": str}
_COMPILED, _NOT_LOADABLE = "compiled", "not_loadable"


def startup_of(engine: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ledger of one engine start, as its engine process wrote it; None when it has none that is whole."""
    value = engine.get("startup")
    if not isinstance(value, dict) or not has_fields(value, {"total_s": NUMBER, "parts": list}):
        return None
    rows = [row for row in value["parts"] if isinstance(row, dict) and has_fields(row, ROW_FIELDS)]
    return {**value, "parts": [row for row in rows if row["seconds"] >= 0]}


def startup_figures(engines: Sequence[Mapping[str, Any]], attempts: Sequence[AttemptFiles]) -> dict[str, Any]:
    """The `startup` part of the summary."""
    ledgers = [ledger for ledger in map(startup_of, engines) if ledger is not None]
    waits = [each.about.get("queue_wait_s") for each in attempts]
    return {
        "means": MEANS,
        "num_starts": len(ledgers),
        "total_s": _spread([ledger["total_s"] for ledger in ledgers]),
        "queue_wait_s": _spread([float(wait) for wait in waits if isinstance(wait, NUMBER)]),
        "num_starts_that_compiled": sum(_count(ledger, _COMPILED) > 0 for ledger in ledgers),
        "num_starts_that_could_not_load": sum(_count(ledger, _NOT_LOADABLE) > 0 for ledger in ledgers),
        "caches": dict(sorted(Counter(_cache_state(ledger) for ledger in ledgers).items())),
        "parts": _parts(ledgers),
    }


def sentence(ledger: Mapping[str, Any]) -> str:
    """One start in a line: its total and its largest parts, what is unexplained among them."""
    rows = [(row["seconds"], row["part"]) for row in ledger["parts"] if row["within"] == "start"]
    shown = [
        f"{part.replace('_', ' ')} {seconds:.1f}"
        for seconds, part in sorted(rows, reverse=True)
        if seconds >= 0.05
    ]
    return f"{ledger['total_s']:.1f} s: {', '.join(shown)}"


def _parts(ledgers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each part once, in the order in which it was first written."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for ledger in ledgers:
        for row in ledger["parts"]:
            found.setdefault((row["within"], row["part"], row["by"]), []).append(float(row["seconds"]))
    return [
        {"part": part, "within": within, "by": by, "num_starts": len(seconds), **(_spread(seconds) or {})}
        for (within, part, by), seconds in found.items()
    ]


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": round(sum(values) / len(values), 3), "max": round(max(values), 3)}


def _count(ledger: Mapping[str, Any], name: str) -> int:
    counts = ledger.get("vllm_lines")
    value = counts.get(name, 0) if isinstance(counts, dict) else 0
    return value if isinstance(value, int) else 0


def _cache_state(ledger: Mapping[str, Any]) -> str:
    caches = ledger.get("caches")
    state = caches.get("state") if isinstance(caches, dict) else None
    return state if isinstance(state, str) else "none"
