r"""What the worker costs over bare `LLM.generate`: output tokens/s and CPU of both, in turn, on one engine.

    python -m benchmarks.engine_overhead         # a CPU: a tiny Llama, float32, eager, 64 sequences
    python -m benchmarks.engine_overhead --checkpoint SHAPE --load-format dummy --users 400 \
        --prompt-tokens 1024 --output-tokens 256 --max-model-len 8192          # a GPU: benchmarks/gpu.sh

One process and one engine, opened by the worker's adapter. After a pass that is not measured (it warms the
seeded sampler up) the two take turns, bare first in odd alternations, each with an empty prefix cache:

- bare: one `LLM.generate(texts, params)` call with the prompts as text, in the worker's order, and the params
  of each item with its seed, made beforehand. Inside: tokenising, adding, stepping, detokenising. Its outputs
  stay in memory; nothing is written.
- worker: `launch.worker.engine_process.work` on a fresh run directory of the same items. Inside: from the
  moment at which its tokenizer is loaded, before the first prompt is made, until `work` returns: reading the
  plan, prompts from templates, tokenising, adding, stepping, detokenising, result lines, fsyncs, commits,
  claims (but the first) and done marks, canary, counts. In a real task the first of it runs while the engine
  loads. Its supervisor is another process: benchmarks/loop_cost.py.

CPU is that of this process, all threads; vLLM's core is a process of its own. `CPU over bare` is what the
worker used more, in CPU seconds per 10,000 output tokens: 0.15 is 15 % of a core at 10,000 tokens/s. `steps`
are those that the engine's core took: as many in both means that its batches were as full, whatever else the
machine did. The worst of the ratios counts. Texts of both are compared. The JSON is written anew after every
alternation.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.passes import Pass, Shared, bare_pass, worker_pass
from benchmarks.record import list_gpus, table, write_record
from benchmarks.synthetic import Shape, make_run, requests_of
from benchmarks.worker_loop import take_environment
from launch.model.tokenizer import load_tokenizer_file
from launch.scenarios.records import Request
from tests.models import make_tiny_llama

ROOT = Path(__file__).resolve().parent.parent
CPU_SEQS = 64


def compare(number: int, bare: Pass, ours: Pass) -> dict[str, Any]:
    """A row of the table."""
    assert bare.tokens == ours.tokens, (bare.tokens, ours.tokens)
    tokens = bare.tokens
    equal = [a == b for a, b in zip(bare.texts, ours.texts, strict=True)]
    return {
        "alternation": number,
        "output tokens": tokens,
        "bare tok/s": tokens / bare.wall_s,
        "worker tok/s": tokens / ours.wall_s,
        "worker / bare": bare.wall_s / ours.wall_s,
        "bare steps": bare.steps,
        "worker steps": ours.steps,
        "bare CPU s": bare.cpu_s,
        "worker CPU s": ours.cpu_s,
        "CPU over bare per 10,000 tok": (ours.cpu_s - bare.cpu_s) / tokens * 1e4,
        "same texts": sum(equal) / len(equal),
    }


def measure(args: argparse.Namespace, scratch: Path) -> None:
    """All alternations."""
    shape = Shape(args.users, args.items_per_user, args.prompt_tokens, args.num_samples, args.output_tokens)
    planned = make_run(scratch, "run", shape, sections(args))
    requests = list(requests_of(planned))
    prompts, keys = texts_of(requests, args.checkpoint), [each.key for each in requests]
    shared = Shared()
    began = time.monotonic()
    note("start and warm-up", worker_pass(shared, planned, 0, keys))
    assert shared.engine is not None
    start_s = time.monotonic() - began
    facts = shared.engine.facts
    rows: list[dict[str, Any]] = []
    for number in range(1, args.alternations + 1):
        passes: list[tuple[str, Callable[[], Pass]]] = [
            ("bare", lambda: bare_pass(shared, requests, prompts)),
            ("worker", lambda number=number: worker_pass(shared, planned, number, keys)),
        ]
        done = {}
        for name, run_pass in passes if number % 2 else passes[::-1]:
            done[name] = run_pass()
            note(f"{number} {name}", done[name])
        rows.append(compare(number, done["bare"], done["worker"]))
        write_record(args.out, summary(args, shape, requests, facts, rows, start_s))
    print(table(rows))
    print(
        f"worst: worker / bare {min(row['worker / bare'] for row in rows):.3f}, CPU over bare"
        f" {max(row['CPU over bare per 10,000 tok'] for row in rows):.3f} s per 10,000 tokens;"
        f" worker {min(row['worker tok/s'] for row in rows):,.0f} tok/s,"
        f" {samples_per_min(shape, rows):,.0f} samples/min"
    )
    shared.engine.close()


def summary(
    args: argparse.Namespace, shape: Shape, requests: list[Request], facts: Any, rows: Any, start_s: float
) -> dict[str, Any]:
    """What goes into the JSON beside hardware and versions."""
    return {
        "checkpoint": args.checkpoint.name,
        "shape": {
            "items": shape.num_items,
            "items_per_user": shape.items_per_user,
            "samples": shape.num_items * shape.num_samples,
            "mean_prompt_tokens": sum(len(each.token_ids) for each in requests) / len(requests),
            "output_tokens_per_sample": shape.output_tokens,
        },
        "engine": {
            "version": facts.version,
            "device": facts.device,
            "settings": facts.settings,
            "start": facts.phases_s,
        },
        "start_and_warm_up_s": start_s,
        "worst": {
            "worker / bare": min(row["worker / bare"] for row in rows),
            "CPU over bare per 10,000 tok": max(row["CPU over bare per 10,000 tok"] for row in rows),
            "worker samples/min": samples_per_min(shape, rows),
        },
        "rows": rows,
    }


def samples_per_min(shape: Shape, rows: list[dict[str, Any]]) -> float:
    """The worker's slowest."""
    return min(row["worker tok/s"] for row in rows) * 60 / shape.output_tokens


def texts_of(requests: list[Request], checkpoint: Path) -> list[str]:
    """The prompts as text; the bare pass makes sure that they are read as the same tokens."""
    tokenizer = load_tokenizer_file(checkpoint)
    return [tokenizer.decode(each.token_ids, skip_special_tokens=False) for each in requests]


def note(what: str, done: Pass) -> None:
    """Progress, for a run that is cut."""
    rate = done.tokens / done.wall_s
    print(f"{what}: {rate:,.0f} tok/s in {done.wall_s:.1f} s, CPU {done.cpu_s:.1f} s", file=sys.stderr)
    sys.stderr.flush()


def sections(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The settings of the run that the flags stand for; what is not given stays the worker's default."""
    model = {
        "checkpoint": args.checkpoint,
        "engine": "vllm",
        "dtype": args.dtype,
        "quantization": args.quantization,
        "kv_cache_dtype": args.kv_cache_dtype,
    }
    names = ("load_format", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "enforce_eager")
    engine = {name: getattr(args, name) for name in (*names, "torch_compile", "tensor_parallel_size")}
    engine = {name: value for name, value in engine.items() if value is not None}
    return {"model": {name: value for name, value in model.items() if value is not None}, "engine": engine}


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--checkpoint", type=Path, help="a random Llama of a few MB unless given")
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--items-per-user", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--num-samples", type=int, default=5)
    parser.add_argument("--alternations", type=int, default=3)
    for name in ("dtype", "quantization", "kv-cache-dtype", "load-format"):
        parser.add_argument(f"--{name}")
    for name in ("max-model-len", "max-num-seqs", "max-num-batched-tokens"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--tensor-parallel-size", type=int, default=1)
    parser.add_argument("--enforce-eager", action="store_true", default=None)
    parser.add_argument(
        "--torch-compile",
        type=json.loads,
        help="true or false; else as the planner of tasks has it for so much work",
    )
    parser.add_argument(
        "--scratch", type=Path, help="for the runs, so that fsync is that of this file system"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/engine-overhead.json")
    return parser.parse_args()


def main() -> None:
    """Sets up the environment that a supervisor gives to an engine process, and measures."""
    args = parse()
    if not list_gpus():  # what a CPU does best; flags go before
        args.dtype, args.enforce_eager = args.dtype or "float32", True
        args.max_num_seqs = args.max_num_seqs or CPU_SEQS
    take_environment()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        args.checkpoint = args.checkpoint or make_tiny_llama(Path(scratch) / "tiny-llama")
        measure(args, Path(scratch))
    sys.stdout.flush()
    os._exit(0)  # nothing to wait for: vLLM's processes are closed


if __name__ == "__main__":
    main()
