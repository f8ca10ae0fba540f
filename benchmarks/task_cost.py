"""What it costs to cut work into tasks that each start an engine: 8 and 64 against one, and the forecast.

    python -m benchmarks.task_cost --checkpoint SHAPE --load-format dummy --gpu-type h200 --out F [PART ...]

Parts, each with warm caches, one engine at a time, and everything that a task is (`python -m launch.worker`):

    warm   a task of a few items, which fills the caches and is in no other figure: the first start of a node
    one    all items in one task
    N      a number of tasks: N shares of the items, each a run of its own, so that none helps another;
           --measured of them are run and stand for all (8 of 8, 6 of 64)
    bare   one bare LLM(...) with eager execution and one LLM.generate of as many prompts, without us; before
           it --bare-starts short ones, of which the first fills the caches, which are others than ours

A task costs the seconds of its process times its GPUs. What the planner said beforehand is that of
`open_submission` for so many tasks, which finds the caches warm as submit does. The record grows with every
part; the table shows what is there:

- over one: the cost of N tasks over that of one (at most 1.6 is asked for with 8).
- over bare: the cost of N tasks over N bare starts and the bare generation (at most 1.1 with 64).
- predicted: the forecast over what was measured (within 15 %).

Below it the starts one by one: of a task from the making of its engine process to ready, warm-up included; of
the bare engine from the first line of its script to the end of LLM(...). A second task is to start within
1.15 of a bare warm start.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import list_gpus, table, write_record
from benchmarks.synthetic import Shape, make_run, open_run
from launch.collect.startup_figures import startup_of
from launch.rundir.attempt_files import read_engine
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled

ROOT = Path(__file__).resolve().parent.parent
WARM, ONE, BARE = "warm", "one", "bare"
NUM_WARM_USERS = 8
CPU_SEQS = 16


class Bench:
    """The measurements of one record."""

    def __init__(self, args: argparse.Namespace, scratch: Path) -> None:
        self._args = args
        self._scratch = scratch
        self._shape = Shape(args.users, 1, args.prompt_tokens, args.num_samples, args.output_tokens)
        self._parts: dict[str, Any] = {}
        if args.out.is_file():
            self._parts = json.loads(args.out.read_text(encoding="utf-8"))["parts"]

    def measure(self, part: str) -> None:
        """One part, into the record."""
        if part == BARE:
            self._parts[part] = self._bare()
        elif part == WARM:
            self._parts[part] = self._task("warm", NUM_WARM_USERS)
        else:
            num_tasks = 1 if part == ONE else int(part)
            num_measured = min(num_tasks, self._args.measured)
            users = self._shape.num_users // num_tasks
            predicted = self._predict(num_tasks)
            measured = [self._task(f"{part}-{number}", users) for number in range(num_measured)]
            seconds = [each["seconds"] for each in measured]
            self._parts[part] = {
                "tasks": num_tasks,
                "seconds": seconds,
                **{
                    name: [each[name] for each in measured] for name in ("start_s", "start_parts", "phases_s")
                },
                "cost_s": sum(seconds) * num_tasks / num_measured,
                **predicted,
            }
        asked = {name: str(value) for name, value in vars(self._args).items() if name not in ("out", "parts")}
        write_record(self._args.out, {"asked": asked, "parts": self._parts})

    def rows(self) -> list[dict[str, Any]]:
        """The table of what is there."""
        one, bare = self._parts.get(ONE), self._parts.get(BARE)
        rows = []
        for found in (each for name, each in self._parts.items() if name not in (BARE, WARM)):
            tasks, cost = found["tasks"], found["cost_s"]
            least = None if bare is None else tasks * bare["start_s"] + bare["generation_s"]
            rows.append(
                {
                    "tasks": tasks,
                    "measured": len(found["seconds"]),
                    "GPU s": round(cost, 1),
                    "over one": None if one is None else round(cost / one["cost_s"], 3),
                    "over bare": None if least is None else round(cost / least, 3),
                    "predicted s": round(found["predicted_s"], 1),
                    "predicted": round(found["predicted_s"] / cost, 3),
                    "compiled": str(found["torch_compile"]),
                }
            )
        return rows

    def starts(self) -> list[dict[str, Any]]:
        """The starts of what is there, in seconds, and the median of ours over that of the warm bare ones."""
        bare = self._parts.get(BARE, {}).get("starts_s", [])[1:]
        rows = (
            [{"of": BARE, "starts s": " ".join(f"{each:.1f}" for each in bare), "over bare": None}]
            if bare
            else []
        )
        for name, found in self._parts.items():
            if name == WARM:
                rows.append(
                    {"of": "the first of us", "starts s": f"{found['start_s']:.1f}", "over bare": None}
                )
            elif name != BARE:
                ratio = round(median(found["start_s"]) / median(bare), 3) if bare else None
                listed = " ".join(f"{each:.1f}" for each in found["start_s"])
                rows.append({"of": f"{name} of us", "starts s": listed, "over bare": ratio})
        return rows

    def _sections(self, num_tasks: int) -> dict[str, dict[str, Any]]:
        args = self._args
        engine = {"load_format": args.load_format, "max_num_seqs": args.max_num_seqs}
        engine |= {} if list_gpus() else {"enforce_eager": True}
        return {
            "model": {"checkpoint": args.checkpoint, "engine": "vllm", "dtype": args.dtype},
            "engine": {name: value for name, value in engine.items() if value is not None},
            "resources": {
                "num_tasks": num_tasks,
                "gpus_per_task": 1 if list_gpus() else 0,
                "scratch_dir": args.caches,
            },
        }

    def _predict(self, num_tasks: int) -> dict[str, Any]:
        """The forecast of the whole work in so many tasks: their starts, and the work."""
        name = f"plan-{num_tasks}"
        sections, gpu_type = self._sections(num_tasks), self._args.gpu_type
        _, opened = open_run(self._scratch, name, self._shape, sections, gpu_type=gpu_type)
        expected, rate = opened.forecast, opened.plan.rate
        return {
            "predicted_s": expected.starts_s + expected.total_cost / rate.tokens_per_s,
            "predicted_start_s": expected.starts_s / num_tasks,
            "caches_warm": expected.is_warm,
            "earlier_starts": 0 if rate.starts is None else len(rate.starts.seconds),
            "rate": rate.source,
            "torch_compile": opened.plan.compilation.torch_compile,
        }

    def _task(self, name: str, num_users: int) -> dict[str, Any]:
        """Seconds of the task's process, of its engine's start, and of its phases."""
        shape = replace(self._shape, num_users=num_users)
        run = make_run(self._scratch, name, shape, self._sections(1), seed=zlib.crc32(name.encode()))
        words = [sys.executable, "-m", "launch.worker", str(run.root), "--submission", "1", "--task", "0"]
        began = time.monotonic()
        log = self._scratch / f"{name}.log"
        with log.open("wb") as out:
            code = subprocess.run(words, cwd=ROOT, stdout=out, stderr=out, check=False).returncode
        seconds = time.monotonic() - began
        self._check(run, code, num_users, log)
        print(f"{name}: {num_users} items in {seconds:.1f} s", file=sys.stderr, flush=True)
        attempt = run.attempt(1, 0, 0)
        start, end = startup_of(read_engine(attempt.engine(0, 0))), read_json(attempt.ended)
        assert start is not None and end is not None, run
        return {
            "seconds": round(seconds, 2),
            "start_s": start["total_s"],
            "start_parts": start["parts"],
            "phases_s": end["phases_s"],
        }

    def _check(self, run: RunPaths, code: int, num_items: int, log: Path) -> None:
        done = survey_settled(run).num_done
        if code != 0 or done != num_items:
            sys.exit(f"exit {code}, {done} of {num_items} items: {log.read_text(errors='replace')[-3000:]}")

    def _bare(self) -> dict[str, Any]:
        each_users = [NUM_WARM_USERS] * self._args.bare_starts + [self._args.users]
        found = [self._bare_engine(users) for users in each_users]
        last = found[-1]
        return {
            "start_s": last["start_s"],
            "generation_s": last["seconds"],
            "starts_s": [round(each["start_s"], 2) for each in found],
        }

    def _bare_engine(self, users: int) -> dict[str, Any]:
        args, out = self._args, self._scratch / "bare.json"
        words = [sys.executable, "-m", "benchmarks.bare_engine", "--checkpoint", str(args.checkpoint)]
        words += ["--users", str(users), "--prompt-tokens", str(args.prompt_tokens)]
        words += ["--output-tokens", str(args.output_tokens), "--num-samples", str(args.num_samples)]
        words += ["--load-format", args.load_format, "--set", "enforce_eager=true", "--out", str(out)]
        words += ["--max-model-len", str(2 * args.prompt_tokens + 256 + args.output_tokens)]
        if args.max_num_seqs is not None:
            words += ["--set", f"max_num_seqs={args.max_num_seqs}"]
        subprocess.run(words, cwd=ROOT, check=True, stdout=sys.stderr)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", default=[WARM, ONE, "8", "64", BARE])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--load-format", default="auto")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--gpu-type", help="of configs/gpus.yaml, as resources.gpu_type names it")
    parser.add_argument("--users", type=int, default=1600, help="items; a multiple of each number of tasks")
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--output-tokens", type=int, default=256)
    parser.add_argument("--num-samples", type=int, default=5)
    parser.add_argument("--max-num-seqs", type=int, default=None if list_gpus() else CPU_SEQS)
    parser.add_argument("--measured", type=int, default=8, help="tasks of each part that are run")
    parser.add_argument("--bare-starts", type=int, default=2, help="short ones before the one that counts")
    parser.add_argument("--caches", type=Path, help="the node's scratch folder, kept from call to call")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/task-cost.json")
    args = parser.parse_args()
    wrong = [part for part in args.parts if part not in (WARM, ONE, BARE) and not part.isdecimal()]
    if wrong:
        parser.error(f"{wrong[0]}: no such part; choose of {WARM}, {ONE}, {BARE} and numbers of tasks")
    args.caches = args.caches or Path(tempfile.gettempdir()) / f"vllm-launch-task-cost-{os.getuid()}"
    return args


def main() -> None:
    """Measures the parts that were asked for and prints all."""
    args = parse()
    args.caches.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, Path(scratch))
        for part in args.parts:
            bench.measure(part)
        print(table(bench.rows()))
        print(table(bench.starts()))


if __name__ == "__main__":
    main()
