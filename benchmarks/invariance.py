"""How often a run has the same texts when its work is shared otherwise: over tasks, or cut by kills.

    python -m benchmarks.invariance [--engines stub,transformers-1,transformers,vllm] [--out F]

Each engine makes the same run several times: with 1 task (the base, and once more), with 2 and 4 tasks side
by side, and with one task whose supervisor gets SIGKILL half way, then `resume`. Where there are fewer GPUs
than tasks, one task is cut into as many parts by kills instead. Every run is held against the base by the
code of `vllm-launch compare`: equal texts, and the token at which the others first differ. `transformers-1`
runs one item at a time; `vllm-batch-invariant` (also `--batch-invariant`) is vLLM with that flag, on GPUs
alone. On a CPU every engine computes in one thread. Prints one table, and writes one JSON anew after every
run; what it has of other engines stays if they were asked the same. Exit code 1 when a run failed. On a GPU:

    python -m benchmarks.invariance --engines vllm --batch-invariant --checkpoint DIR \\
        --items 0 --num-samples 5 --max-tokens 256 --max-num-seqs 256 --max-model-len 8192 --out FILE
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import versions
from demo.smollm2 import get_default_directory
from launch.cli.progress import CommitTail
from launch.collect.compare import Options, compare
from launch.collect.published import open_published
from launch.collect.reference_texts import References
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import settled_items
from launch.worker.devices import visible_gpus

ROOT = Path(__file__).resolve().parent.parent
ENGINES = {
    "stub": ["--engine", "stub"],
    "transformers-1": ["--engine", "transformers", "--max-num-seqs", "1"],
    "transformers": ["--engine", "transformers"],
    "vllm": ["--engine", "vllm"],
    "vllm-batch-invariant": ["--engine", "vllm", "--batch-invariant"],
}
ON_CPU = ["stub", "transformers-1", "transformers", "vllm"]
STUB_S = "0.1"  # an item, so that there is something to kill
POLL_S = 0.1


class RunFailed(Exception):
    """A command that did not end as it should, in a line."""


@dataclass(frozen=True)
class Layout:
    """How the work is shared: over tasks at once, or in how many lives of one task."""

    num_tasks: int = 1
    num_lives: int = 1
    is_again: bool = False

    def __str__(self) -> str:
        if self.num_lives > 1:
            return f"1 task, killed {self.num_lives - 1} x"
        return f"{self.num_tasks} task{'s' * (self.num_tasks > 1)}{', again' * self.is_again}"


BASE = Layout()


def layouts(tasks: list[int], num_gpus: int) -> list[Layout]:
    """The base first; more tasks than there are GPUs for are lives of one."""
    shared = [Layout(each) if each <= (num_gpus or each) else Layout(1, each) for each in tasks if each > 1]
    return list(dict.fromkeys([BASE, Layout(is_again=True), *shared, Layout(num_lives=2)]))


class Bench:
    """The runs of one call, and the record that grows with each."""

    def __init__(self, args: argparse.Namespace, work: Path, num_gpus: int) -> None:
        self.args = args
        self.work = work
        self.num_gpus = num_gpus
        left_out = ("out", "work", "data_root", "engines", "batch_invariant")
        asked = {name: value for name, value in vars(args).items() if name not in left_out}
        self.record: dict[str, Any] = {
            "asked": asked | {"checkpoint": args.checkpoint.name},
            "hardware": {"machine": platform.machine(), "num_cpus": os.cpu_count(), "num_gpus": num_gpus},
            "versions": versions(),
        }
        self.record["runs"] = self.kept()

    def kept(self) -> list[dict[str, Any]]:
        """What the file has of other engines that were asked the same: a long measurement may be cut."""
        earlier = read_json(self.args.out) or {}
        runs: list[dict[str, Any]] = earlier.pop("runs", [])
        is_same = earlier == self.record
        return [row for row in runs if is_same and row["engine"] not in self.args.engines]

    def run_all(self) -> bool:
        """Every engine in every layout; whether none failed. Without its base an engine has no others."""
        print(f"{'engine':<21} {'layout':<19} {'s':>5}  equal texts    first differing token")
        for engine in self.args.engines:
            for layout in layouts(self.args.tasks, self.num_gpus):
                row = self.run_one(engine, layout)
                if layout == BASE and "failed" in row:
                    break
        return not any("failed" in row for row in self.record["runs"])

    def run_one(self, engine: str, layout: Layout) -> dict[str, Any]:
        """A row of the record, written and shown."""
        row: dict[str, Any] = {"engine": engine, "layout": str(layout)}
        try:
            row |= self.measure(engine, layout)
        except RunFailed as error:
            row["failed"] = str(error)
        self.record["runs"].append(row)
        self.args.out.parent.mkdir(parents=True, exist_ok=True)
        self.args.out.write_text(json.dumps(self.record, indent=2) + "\n")
        print(as_line(row), flush=True)
        return row

    def measure(self, engine: str, layout: Layout) -> dict[str, Any]:
        """Makes one run and holds it against the base."""
        run, published = self.paths(engine, layout)
        began = time.monotonic()
        self.generate(engine, layout, run, published)
        seconds = round(time.monotonic() - began, 1)
        shares = Counter(
            f"submission {start.submission}, task {start.task}" for start, _ in settled_items(run)
        )
        row = {"seconds": seconds, "items": dict(sorted(shares.items())), **as_it_ran(published)}
        return row if layout == BASE else {**row, **against(self.paths(engine, BASE)[1], published)}

    def paths(self, engine: str, layout: Layout) -> tuple[RunPaths, Path]:
        """The run and where it is published."""
        name = f"{engine}-{layout}".replace(",", "").replace(" ", "-")
        return RunPaths(self.work / "runs" / name), self.work / "published" / name

    def generate(self, engine: str, layout: Layout, run: RunPaths, published: Path) -> None:
        """Submits, kills and resumes until the run is published."""
        asked, tasks = self.args, str(layout.num_tasks)
        words = [
            *(str(ROOT / "launch" / "submit.py"), "--preset", "quick_test", "--cluster", "none"),
            *("--runs-dir", str(run.root.parent), "--name", run.root.name, "--output-dir", str(published)),
            *("--checkpoint", str(asked.checkpoint), "--dataset", asked.dataset),
            *("--data-root", str(asked.data_root), "--limit-items", str(asked.items or "null")),
            *("--num-samples", str(asked.num_samples), "--max-tokens", str(asked.max_tokens)),
            *("--dtype", asked.dtype, "--ablation-config", asked.ablation, "--canary", "none"),
            *("--max-num-seqs", str(asked.max_num_seqs), "--max-model-len", str(asked.max_model_len)),
            *("--num-tasks", tasks, "--max-concurrent", tasks, *ENGINES[engine]),
        ]
        for life in range(1, layout.num_lives):
            self.command(
                words, lambda process, life=life: kill_at(process, run, life, life / layout.num_lives)
            )
            words = ["-m", "launch.cli.app", "resume", str(run.root)]
        self.command(words)

    def command(self, words: list[str], kill: Any = None) -> None:
        """Runs a command to its end; RunFailed when that is not a good one, save with `kill`."""
        log = self.work / "log"
        with (
            log.open("ab") as out,
            subprocess.Popen([sys.executable, *words], cwd=self.work, stdout=out, stderr=out) as process,
        ):
            if kill is not None:
                kill(process)
            try:
                code = process.wait(self.args.limit_s)
            except subprocess.TimeoutExpired:
                process.terminate()
                raise RunFailed(f"took longer than {self.args.limit_s} s") from None
        if code != 0 and kill is None:
            sys.stderr.write(log.read_text(errors="replace")[-3000:])
            raise RunFailed(f"ended with {code}")


def kill_at(process: subprocess.Popen[bytes], run: RunPaths, submission: int, share: float) -> None:
    """SIGKILL for the supervisor of task 0 once this share of the run's items is settled."""
    tails = [CommitTail(run, number) for number in range(1, submission + 1)]
    while process.poll() is None:
        for tail in tails:
            tail.read()
        plan = read_json(run.plan_json)
        if plan and sum(tail.num_settled for tail in tails) >= share * plan["num_items"]:
            about = read_json(run.attempt(submission, 0, 0).attempt_json) or {}
            try:
                os.kill(about["pid"], signal.SIGKILL)
            except ProcessLookupError:
                break
            return
        time.sleep(POLL_S)
    process.wait()
    raise RunFailed("all was done before it could be killed")


def as_it_ran(published: Path) -> dict[str, Any]:
    """Version, device and the settings that matter here of the engine, from the summary."""
    (engine, *_) = json.loads((published / "inference_summary.json").read_text())["engines"]
    names = ("dtype", "max_num_seqs", "batch_invariant", "enforce_eager")
    settings = {name: engine["settings"][name] for name in names if name in engine["settings"]}
    return {"version": engine["version"], "device": engine["device"], "settings": settings}


def against(base: Path, other: Path) -> dict[str, Any]:
    """What `vllm-launch compare` finds in the pairs of texts of two published directories."""
    pairs = compare(open_published(base), open_published(other), References("none", {}), Options(None)).pairs
    assert pairs is not None, "the sampling is the same"
    first = pairs.first_difference
    return {
        "num_pairs": pairs.num_pairs,
        "num_equal": pairs.num_equal,
        "exact_match": round(pairs.num_equal / pairs.num_pairs, 4),
        "first_difference": {name: getattr(first, name) for name in ("unit", "first", "median", "last")},
    }


def as_line(row: dict[str, Any]) -> str:
    """A line of the table."""
    head = f"{row['engine']:<21} {row['layout']:<19}"
    if "failed" in row:
        return f"{head} failed: {row['failed']}"
    said = "the base"
    if "num_pairs" in row:
        first = row["first_difference"]
        said = f"{row['num_equal']} of {row['num_pairs']}"
        if first["median"] is not None:
            said = f"{said:<14} median {first['median']:g}, from {first['first']} to {first['last']}"
    return f"{head} {row['seconds']:5.0f}  {said:<44} {'+'.join(map(str, row['items'].values()))} items"


def read_arguments(on_gpu: bool) -> argparse.Namespace:
    """The flags; defaults suit a small machine without a GPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", type=lambda text: text.split(","), default=ON_CPU)
    parser.add_argument("--batch-invariant", action="store_true", help="vllm-batch-invariant, too")
    parser.add_argument(
        "--tasks", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2, 4]
    )
    parser.add_argument("--checkpoint", type=Path, default=get_default_directory())
    parser.add_argument("--dataset", default="Chameleons")
    parser.add_argument("--data-root", type=Path, default=ROOT / "demo" / "scenarios")
    for name, value in (("items", 24), ("num-samples", 2), ("max-tokens", 24), ("max-num-seqs", 16)):
        parser.add_argument(f"--{name}", type=int, default=value, help="0: all" if name == "items" else None)
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--ablation", default="context_only")
    parser.add_argument("--dtype", default="bfloat16" if on_gpu else "float32")
    parser.add_argument("--limit-s", type=int, default=1200, help="seconds that one command may take")
    parser.add_argument("--work", type=Path, help="where runs are kept; else they are removed")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "invariance-cpu.json")
    args = parser.parse_args()
    if args.batch_invariant and "vllm-batch-invariant" not in args.engines:
        args.engines = [*args.engines, "vllm-batch-invariant"]
    unknown = [name for name in args.engines if name not in ENGINES]
    if unknown:
        parser.error(f"--engines: got {', '.join(unknown)}; choose of {', '.join(ENGINES)}")
    return args


def main() -> int:
    """Makes every run below one directory."""
    num_gpus = len(visible_gpus())
    args = read_arguments(on_gpu=num_gpus > 0)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        work = (args.work or Path(scratch)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        os.environ |= {"PYTHONPATH": path, "VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": STUB_S}
        if not num_gpus:
            os.environ["OMP_NUM_THREADS"] = "1"  # as many in every layout, and none that only wait for a core
        return 0 if Bench(args, work, num_gpus).run_all() else 1


if __name__ == "__main__":
    sys.exit(main())
