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
    "overhead-fp8",
    "two-gpu0",
    "two-gpu1",
    "tp2",
    "tp2-default",
)
Found = dict[str, Any]


def read_all(out: Path) -> dict[str, Found]:
    """The JSON of each part that has one."""
    paths = {part: out / f"{part}.json" for part in PARTS}
    return {part: json.loads(path.read_text()) for part, path in paths.items() if path.is_file()}


def rows_of(out: Path, found: dict[str, Found]) -> list[dict[str, Any]]:
    """A row per part, with its ratio to the best HF batch and to one bare engine; what has no JSON failed."""
    speeds = {part: speed_of(figures) for part, figures in found.items()}
    if {"two-gpu0", "two-gpu1"} <= speeds.keys():
        both = zip(speeds["two-gpu0"], speeds["two-gpu1"], strict=True)
        speeds["two together"] = tuple(a + b for a, b in both)
    hf, one = speeds.get("hf"), speeds.get("one-bf16")
    rows = []
    for part in (*PARTS, "two together"):
        ended = out / f"{part}.exit"
        if part not in speeds and not ended.is_file():
            continue
        tokens, samples = speeds.get(part, (None, None))
        rows.append(
            {
                "part": part,
                "output tok/s": tokens,
                "samples/min": samples,
                "x HF": tokens / hf[0] if tokens and hf else None,
                "x one engine": tokens / one[0] if tokens and one else None,
                "start s": found.get(part, {}).get("start_s"),
                "worker / bare": found.get(part, {}).get("worst", {}).get("worker / bare"),
                "CPU over bare": found.get(part, {}).get("worst", {}).get("CPU over bare per 10,000 tok"),
                "ended": ended.read_text().strip().rpartition(": ")[2] if ended.is_file() else "",
            }
        )
    return rows


def speed_of(found: Found) -> tuple[float, float]:
    """(output tokens/s, samples/min); of the worker, not of the bare engine, where both were measured."""
    if "worst" not in found:
        return found["output tok/s"], found["samples/min"]
    return min(row["worker tok/s"] for row in found["rows"]), found["worst"]["worker samples/min"]


def main(out: Path) -> None:
    """Prints it and keeps it as table.json."""
    found = read_all(out)
    rows = rows_of(out, found)
    machine = next(iter(found.values()), {})
    kept = {name: machine.get(name) for name in ("hardware", "versions")}
    (out / "table.json").write_text(json.dumps({**kept, "rows": rows}, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
