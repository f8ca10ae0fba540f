"""A small search for engine settings on one GPU: one fresh engine a point, each with a time limit of its own.

    python -m benchmarks.defaults_search --checkpoint SHAPE --out DIR [--only NAME ...] [--budget-s 560]

On a host whose commands end after ten minutes: call it again with the same DIR until it says that nothing is
left; a point that is in DIR is not measured again (`--again NAME` does). On a host with several GPUs call it
once for each, with CUDA_VISIBLE_DEVICES and other names after --only. Each point changes one thing of
vLLM's defaults, or what the point before it in its row was good for; what may change texts (fp8 weights, fp8
KV cache) is marked `texts`, and is nothing for configs/gpus.yaml's defaults. DIR/<point>.json is what
benchmarks/ bare_engine.py writes, with the settings; DIR/table.json all of them, the best first.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record import table, write_record
from launch.worker.engines.vllm_settings import GRAPH_SIZES

ROOT = Path(__file__).resolve().parent.parent
GRAPHS_ALONE = {
    "mode": 0,
    "cudagraph_mode": "FULL_DECODE_ONLY",
    "cudagraph_capture_sizes": list(GRAPH_SIZES),
}
"""What engine.torch_compile: false asks vLLM for, unless engine.full_cuda_graphs is on."""
GRAPHS_OF_PROMPTS = GRAPHS_ALONE | {"cudagraph_mode": "FULL"}
"""Of steps with a prompt in them, too, where the attention kernels allow it."""
WIDE_GRAPHS = GRAPHS_OF_PROMPTS | {"cudagraph_capture_sizes": [*GRAPH_SIZES, 1280, 1536, 1792, 2048]}
"""The same up to 2,048 tokens a step: one new prompt of 1,024 tokens beside 1,024 sequences that decode."""
TWICE_128, TWICE_256 = (
    GRAPHS_OF_PROMPTS | {"cudagraph_capture_sizes": [size for size in GRAPH_SIZES if size <= 2 * num_seqs]}
    for num_seqs in (128, 256)
)
"""What it asks for where that is on: up to twice as many tokens a step as sequences."""
FEWER_SIZES = [size for size in GRAPH_SIZES if size <= 512]
"""As far as vLLM's own sizes go."""
FP8, FP8_KV = 'quantization="fp8"', 'kv_cache_dtype="fp8"'
# The sizes are those that vLLM captures CUDA graphs for; 512 is the largest by default on Hopper.
POINTS: dict[str, list[str]] = {
    "defaults": [],
    "seqs-128": ["max_num_seqs=128"],
    "seqs-256": ["max_num_seqs=256"],
    "seqs-512": ["max_num_seqs=512"],
    "seqs-2048": ["max_num_seqs=2048"],
    "tokens-8192": ["max_num_batched_tokens=8192"],
    "tokens-32768": ["max_num_batched_tokens=32768"],
    "graphs-1024": ['compilation_config={"max_cudagraph_capture_size": 1024}'],
    "eager": ["enforce_eager=true"],
    "uncompiled": [f"compilation_config={json.dumps(GRAPHS_ALONE)}"],
    "uncompiled-seqs-128": [f"compilation_config={json.dumps(GRAPHS_ALONE)}", "max_num_seqs=128"],
    "uncompiled-seqs-256": [f"compilation_config={json.dumps(GRAPHS_ALONE)}", "max_num_seqs=256"],
    "uncompiled-seqs-512": [f"compilation_config={json.dumps(GRAPHS_ALONE)}", "max_num_seqs=512"],
    "full-graphs": [f"compilation_config={json.dumps(GRAPHS_OF_PROMPTS)}"],
    "full-graphs-seqs-128": [f"compilation_config={json.dumps(GRAPHS_OF_PROMPTS)}", "max_num_seqs=128"],
    "full-graphs-seqs-256": [f"compilation_config={json.dumps(GRAPHS_OF_PROMPTS)}", "max_num_seqs=256"],
    "wide-graphs": [f"compilation_config={json.dumps(WIDE_GRAPHS)}"],
    "wide-graphs-seqs-128": [f"compilation_config={json.dumps(WIDE_GRAPHS)}", "max_num_seqs=128"],
    "wide-graphs-seqs-256": [f"compilation_config={json.dumps(WIDE_GRAPHS)}", "max_num_seqs=256"],
    "twice-graphs-seqs-128": [f"compilation_config={json.dumps(TWICE_128)}", "max_num_seqs=128"],
    "twice-graphs-seqs-256": [f"compilation_config={json.dumps(TWICE_256)}", "max_num_seqs=256"],
    "uncompiled-512": [
        f"compilation_config={json.dumps(GRAPHS_ALONE | {'cudagraph_capture_sizes': FEWER_SIZES})}"
    ],
    "fp8": [FP8],
    "fp8-kv": [FP8_KV],
    "fp8-both": [FP8, FP8_KV],
    "fp8-both-uncompiled": [FP8, FP8_KV, f"compilation_config={json.dumps(GRAPHS_ALONE)}"],
    "fp8-both-seqs-2048": [FP8, FP8_KV, "max_num_seqs=2048"],
    "fp8-both-graphs-1024": [FP8, FP8_KV, 'compilation_config={"max_cudagraph_capture_size": 1024}'],
}
LEAST_S = 60.0
"""A point is not begun with less time left than this, or than the longest one took."""


def measure(name: str, args: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """Runs one point in a process group of its own, killed at its limit; how it ended."""
    command = [*args.python, "-m", "benchmarks.bare_engine", "--checkpoint", str(args.checkpoint)]
    command += ["--out", str(args.out / f"{name}.json"), *args.shape]
    for setting in POINTS[name]:
        command += ["--set", setting]
    began = time.monotonic()
    with (args.out / f"{name}.log").open("wb") as log:
        done = subprocess.run(
            [shutil.which("timeout") or "timeout", "-s", "KILL", str(limit_s), *command],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            check=False,
        )
    return {"code": done.returncode, "took_s": time.monotonic() - began}


def read_points(out: Path) -> dict[str, dict[str, Any]]:
    """What was measured, or failed, by name."""
    found = {}
    for name in POINTS:
        for path in (out / f"{name}.json", out / f"{name}.failed.json"):
            if path.is_file():
                found[name] = json.loads(path.read_text(encoding="utf-8"))
                break
    return found


def rows_of(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per point, the fastest first, what failed last."""
    base = found.get("defaults", {}).get("output tok/s")
    rows = []
    for name, point in found.items():
        speed = point.get("output tok/s")
        texts = any("fp8" in setting for setting in POINTS[name])
        rows.append(
            {
                "point": name,
                "output tok/s": speed,
                "samples/min": point.get("samples/min"),
                "over defaults": speed / base if speed and base else None,
                "start s": point.get("start_s"),
                "KV blocks": point.get("num_gpu_blocks"),
                "changes": "texts" if texts else "speed",
                "ended": "ok" if speed else f"failed ({point.get('code')})",
            }
        )
    return sorted(rows, key=lambda row: -(row["output tok/s"] or 0.0))


def main() -> None:
    """Measures what is not there yet, as long as the budget lasts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=POINTS, default=list(POINTS))
    parser.add_argument("--again", nargs="+", choices=POINTS, default=[])
    parser.add_argument("--budget-s", type=float, default=560.0)
    parser.add_argument("--point-s", type=float, default=280.0, help="limit of one engine, start included")
    parser.add_argument("--shape", nargs=argparse.REMAINDER, default=[], help="flags of bare_engine, last")
    args = parser.parse_args()
    args.python = [sys.executable]
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.again:
        for path in args.out.glob(f"{name}.*json"):
            path.unlink()
    end = time.monotonic() + args.budget_s
    longest = LEAST_S
    left = [name for name in args.only if name not in read_points(args.out)]
    while left and end - time.monotonic() > min(longest, args.point_s):
        name = left.pop(0)
        limit_s = min(args.point_s, end - time.monotonic())
        ended = measure(name, args, limit_s)
        longest = max(longest, ended["took_s"])
        was_cut = (
            limit_s < args.point_s and ended["took_s"] >= limit_s
        )  # by the budget: it is measured next time
        if not was_cut and not (args.out / f"{name}.json").is_file():
            write_record(args.out / f"{name}.failed.json", {"settings": POINTS[name], **ended})
        rows = rows_of(read_points(args.out))
        write_record(args.out / "table.json", {"rows": rows})
        print(f"{name}: {ended}", file=sys.stderr, flush=True)
    print(table(rows_of(read_points(args.out))))
    print(f"left: {', '.join(left)}" if left else "nothing is left")


if __name__ == "__main__":
    main()
