"""How long engines take to start, part by part: together on one node, again, on another node, and without us.

    python -m benchmarks.startup [--engines 8] [--checkpoint DIR] [--load-format dummy] [--eager] [--rounds 3]
                                 [--max-num-seqs 64] [--folder DIR] [--out FILE.json] [PART ...]

Real tasks of a run (`python -m launch.worker`) on the visible GPU, or on the CPU where there is none:

    together   --engines tasks at once, nothing compiled: how many compiled, by vLLM's own logs
    warm       --rounds times in turn: one more task of that node, and vllm.LLM(...) alone with the node's
               caches, from the start of its process to ready; the medians' ratio is warm / bare
    seeded     one task of another node: an empty scratch folder of the same path, the first's shared cache
    staged     only if named: a task that copies the checkpoint's weights to the node, and one that finds them

Without --checkpoint a tiny random Llama is made. The engines share the GPU: each gets 0.8 / --engines of it.
With --folder the node's folder (DIR/node) stays, so that parts may be asked for one by one. The record grows
with every part; it has every start of every task: of one that failed reason, ladder's step and its log's end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import write_record
from launch.collect.startup_figures import sentence, startup_figures, startup_of
from launch.rundir.attempt_files import read_engine, read_events
from launch.rundir.journal import read_json
from launch.rundir.layout import EnginePaths, RunPaths
from launch.rundir.tails import read_tail
from launch.worker.devices import visible_gpus
from tests.models import make_tiny_llama
from tests.runs import make_run

ROOT = Path(__file__).resolve().parent.parent
PARTS = TOGETHER, WARM, SEEDED = "together", "warm", "seeded"
STAGED = "staged"
"""Only when it is asked for by its name."""
MAX_MODEL_LEN = 2048
LOG_BYTES = 8_000
BARE = """
import json, sys
if __name__ == "__main__":
    from vllm import LLM
    LLM(**json.loads(sys.argv[1]))
    print("READY", flush=True)
"""


class Bench:
    """The runs of one benchmark, in a folder."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self._folder = folder
        self._args = args
        self._checkpoint = args.checkpoint or make_tiny_llama(folder / "model")
        self._share = round(0.8 / args.engines, 3)
        self._variables: dict[str, str] = {}

    def start(self, name: str, node: str, num_tasks: int, *, stages: bool = False) -> dict[str, Any]:
        """Tasks of one run on a node, all at once; what their engine starts say."""
        settings = {
            "model.engine": "vllm",
            "engine.enforce_eager": self._args.eager,
            "engine.load_format": self._args.load_format,
            "engine.max_model_len": MAX_MODEL_LEN,
            "engine.max_num_seqs": self._args.max_num_seqs,
            "engine.gpu_memory_utilization": self._share,
            "resources.stage_weights": stages,
            "resources.scratch_dir": str(self._folder / node),
            "resources.cache_dir": str(self._folder / "shared"),
        }
        (self._folder / node).mkdir(exist_ok=True)
        run = make_run(
            self._folder / name, settings=settings, num_tasks=num_tasks, checkpoint=self._checkpoint
        )
        words = [sys.executable, "-m", "launch.worker", str(run.root), "--submission", "1", "--task"]
        began = time.monotonic()
        tasks = [
            subprocess.Popen([*words, str(task)], cwd=ROOT, stdout=subprocess.DEVNULL)
            for task in range(num_tasks)
        ]
        codes = [task.wait() for task in tasks]
        found: dict[str, Any] = {
            "codes": codes,
            "wall_s": round(time.monotonic() - began, 1),
            **self._figures(run, num_tasks),
        }
        summary = found["summary"]
        compiled, caches = summary["num_starts_that_compiled"], summary["caches"]
        ready, all_starts = summary["num_starts"], len(found["starts"])
        print(f"{name:<12} {ready} of {all_starts} starts ready, {compiled} compiled, caches {caches}")
        for row in found["starts"]:
            print(f"{'':<12} {told(row)}")
        return found

    def bare(self, node: str) -> float:
        """Seconds of the bare engine with the same settings and the caches of a node."""
        arguments = {
            "model": str(self._checkpoint),
            "max_model_len": MAX_MODEL_LEN,
            "max_num_seqs": self._args.max_num_seqs,
            "gpu_memory_utilization": self._share,
            "enforce_eager": self._args.eager,
            "generation_config": "vllm",
            "disable_log_stats": True,
        }
        if self._args.load_format:
            arguments["load_format"] = self._args.load_format
        if not visible_gpus():
            arguments |= {
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": 4096,
                "kv_cache_memory_bytes": 2**30,
            }
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", BARE, json.dumps(arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self._variables},
        )
        assert process.stdout is not None
        while (line := process.stdout.readline()) and line != "READY\n":
            pass
        seconds = time.monotonic() - began
        process.communicate()
        print(f"{'bare':<12} {seconds:.1f} s")
        return round(seconds, 2)

    def _figures(self, run: RunPaths, num_tasks: int) -> dict[str, Any]:
        starts = engine_starts(run, num_tasks)
        ledgers = ledgers_of(starts)
        for ledger in ledgers:
            # The environment of the last start serves the bare engine.
            self._variables = {
                **ledger["caches"]["variables"],
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "VLLM_USE_FLASHINFER_SAMPLER": "0",
            }
        return {"summary": startup_figures([{"startup": ledger} for ledger in ledgers], []), "starts": starts}


def engine_starts(run: RunPaths, num_tasks: int) -> list[dict[str, Any]]:
    """Every engine start of the tasks' first attempts, in order of task, slot and start.

    `said` is how it ended by its own word, `failure` why it failed, `ladder` what was done about that;
    `ledger` is null where it never became ready, `log` the last lines of one that failed.
    """
    rows = []
    for task in range(num_tasks):
        paths = run.attempt(1, task, 0)
        events = list(read_events(paths))
        for slot, start in sorted({(each["slot"], each["start"]) for each in events if "start" in each}):
            own = [each for each in events if (each.get("slot"), each.get("start")) == (slot, start)]
            rows.append({"task": task, "slot": slot, "start": start, **_row(paths.engine(slot, start), own)})
    return rows


def _row(paths: EnginePaths, events: list[dict[str, Any]]) -> dict[str, Any]:
    end: dict[str, Any] = next((each for each in events if each["event"] == "engine_end"), {})
    failure = end.get("failure")
    log = read_tail(paths.log, LOG_BYTES).decode(errors="replace").splitlines() if failure else []
    return {
        "said": end.get("said"),
        "code": end.get("code"),
        "failure": failure,
        "ladder": [each for each in events if each["event"] == "ladder"],
        "events": [each for each in events if each["event"] not in ("engine_end", "ladder")],
        "ledger": startup_of(read_engine(paths)),
        "log": log,
    }


def ledgers_of(starts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ledgers of the starts that became ready."""
    return [row["ledger"] for row in starts if row["ledger"] is not None]


def told(row: dict[str, Any]) -> str:
    """A start in a line."""
    ready = "not ready" if row["ledger"] is None else sentence(row["ledger"])
    steps = "".join(f"; {each['class']}: {each['action']}" for each in row["ladder"])
    failed = f"; failed: {row['failure']}" if row["failure"] else ""
    return f"task {row['task']}, start {row['start']}: {ready}{failed}{steps}"


def measure_warm(bench: Bench, rounds: int) -> dict[str, Any]:
    """A task and the bare engine in turn, so often; only a start that became ready at once counts."""
    ours, bare = [], []
    for number in range(rounds):
        ours.append(bench.start(f"warm-{number}", "node", 1))
        bare.append(bench.bare("node"))
    totals = [ledger["total_s"] for each in ours for ledger in ledgers_of(each["starts"][:1])]
    ratio = round(median(totals) / median(bare), 3) if totals else None
    print(f"warm / bare  {ratio}")
    return {"tasks": ours, "warm_s": totals, "bare_s": bare, "warm_over_bare": ratio}


def main() -> None:
    """Runs the parts that were asked for and prints what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", default=list(PARTS), help=", ".join((*PARTS, STAGED))
    )
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--load-format")
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--folder", type=Path, help="of nodes and runs; a temporary one unless given")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/startup.json")
    args = parser.parse_intermixed_args()
    if unknown := [part for part in args.parts if part not in (*PARTS, STAGED)]:
        parser.error(f"{unknown[0]}: no such part; choose of {', '.join((*PARTS, STAGED))}")
    parts: dict[str, Any] = (read_json(args.out) or {}).get("parts", {}) if args.folder else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, args)
        for part in args.parts:
            if part == TOGETHER:
                parts[part] = bench.start(part, "node", args.engines)
            elif part == WARM:
                parts[part] = measure_warm(bench, args.rounds)
            elif part == STAGED:
                parts[part] = [bench.start(f"{part}-{number}", "node", 1, stages=True) for number in range(2)]
            else:
                (folder / "node").rename(folder / "first-node")
                parts[part] = bench.start(part, "node", 1)
            write_record(args.out, {"engines": args.engines, "parts": parts})


if __name__ == "__main__":
    main()
