"""One table of what benchmarks/gpu.sh has measured so far: `python -m benchmarks.gpu_table OUT`."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import table

PARTS = (
    "hf",
    "one-bf16",
    "one-fp8",
    "overhead-bf16",
    "overhead-compiled",
    "overhead-fp8",
    "two-gpu0",
    "two-gpu1",
    "tp2",
    "tp2-default",
)
MULTI, SEARCH, OWN = "multi-gpu", "search", "table"
Found = dict[str, Any]


def read_all(out: Path) -> dict[str, Found]:
    """The JSON of each part that has one; some have several parts: `multi-gpu one`, `search fp8`."""
    paths = {part: out / f"{part}.json" for part in PARTS}
    paths |= {path.stem: path for path in sorted(out.glob("*.json")) if path.stem != OWN}
    found = {part: json.loads(path.read_text()) for part, path in paths.items() if path.is_file()}
    for part, figures in found.pop(MULTI, {}).get("parts", {}).items():
        found[f"{MULTI} {part}"] = {
            name.replace("tok/s", "output tok/s"): value for name, value in figures.items()
        }
    for path in sorted(out.glob(f"{SEARCH}*/*.json")):
        if path.stem != OWN and not path.stem.endswith(".failed"):
            found[f"{path.parent.name} {path.stem}"] = json.loads(path.read_text())
    return found


def rows_of(out: Path, found: dict[str, Found]) -> list[dict[str, Any]]:
    """A row per part, with its ratio to the best HF batch and to one bare engine; what has no JSON failed."""
    speeds = {part: speed for part, figures in found.items() if (speed := speed_of(figures)) is not None}
    if {"two-gpu0", "two-gpu1"} <= speeds.keys():
        both = zip(speeds["two-gpu0"], speeds["two-gpu1"], strict=True)
        speeds["two together"] = tuple(a + b for a, b in both)
    hf, one = speeds.get("hf"), speeds.get("one-bf16")
    rows = []
    measured = {part.partition(" ")[0] for part in found}
    failed = [path.stem for path in sorted(out.glob("*.exit")) if path.stem not in measured]
    together = ["two together"] if "two together" in speeds else []
    for part in (*found, *together, *failed):
        ended = out / f"{part.partition(' ')[0]}.exit"
        tokens, samples = speeds.get(part, (None, None))
        rows.append(
            {
                "part": part,
                "output tok/s": tokens,
                "samples/min": samples,
                "x HF": tokens / hf[0] if tokens and hf else None,
                "x one engine": tokens / one[0] if tokens and one else None,
                "start s": found.get(part, {}).get("start_s", found.get(part, {}).get("start s")),
                "worker / bare": found.get(part, {}).get("worst", {}).get("worker / bare"),
                "CPU over bare": found.get(part, {}).get("worst", {}).get("CPU over bare per 10,000 tok"),
                "ended": ended.read_text().strip().rpartition(": ")[2] if ended.is_file() else "",
            }
        )
    return rows


def speed_of(found: Found) -> tuple[float, float] | None:
    """(output tokens/s, samples/min); of the worker, not of the bare engine, where both were measured.

    None of a part that measures no speed: starts, what tasks cost, equal texts. Its own command prints those.
    """
    if "worst" not in found:
        return (found["output tok/s"], found["samples/min"]) if "output tok/s" in found else None
    return min(row["worker tok/s"] for row in found["rows"]), found["worst"]["worker samples/min"]


def main(out: Path) -> None:
    """Prints it and keeps it as table.json."""
    found = read_all(out)
    rows = rows_of(out, found)
    machine = next(iter(found.values()), {})
    kept = {name: machine.get(name) for name in ("hardware", "versions")}
    (out / f"{OWN}.json").write_text(json.dumps({**kept, "rows": rows}, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
