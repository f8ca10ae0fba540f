"""One engine over all GPUs beside one engine for each, and bare vLLM beside both; texts by number of GPUs.

    python -m benchmarks.multi_gpu WORK --checkpoint SHAPE --load-format dummy --out FILE
                                   [--budget-s SECONDS] [PART ...]

On a host with N GPUs (CUDA_VISIBLE_DEVICES counts), 1,024 prompt and 256 output tokens, 5 samples an item:

    production  `launch/submit.py --preset production --cluster none`, its tensor parallel size cut to N
    throughput  the same with `--preset throughput`: N tasks of one engine each, at one time
    one         an N-th of the items with `--preset throughput` on the first of the GPUs, to compare with
    bare        `LLM(tensor_parallel_size=N)` and one generate of as many prompts (benchmarks/bare_engine.py)
    uncompiled  production without torch.compile, its CUDA graphs captured all the same
    fused       production with vLLM's own default, all-reduce and RMSNorm fused, and what comes of it
    texts       few items with real weights and the same seeds at tensor parallel 1, 2, ... N: equal or not

Seconds of generation, start-up and the GPUs' figures of the first two are those of inference_summary.json, so
memory, utilisation, power and energy are the monitor's; for the bare engine the same sampler runs beside it,
over its start as well. Each part has a limit (--limit-s) and then a kill of all that it started, since an
engine over several GPUs may hang where it starts. The record is written anew after every part. A part that it
has is not measured again unless it failed; what --budget-s cuts is measured next time: on a host whose
commands end after ten minutes call it again until nothing is left.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.invariance import against
from benchmarks.record import list_gpus, table, write_record
from benchmarks.synthetic import Shape, make_run
from launch.rundir.journal import read_json
from launch.worker.devices import visible_gpus
from launch.worker.gpu import GpuSampler
from tests.models import make_tiny_llama

ROOT = Path(__file__).resolve().parent.parent
PRODUCTION, THROUGHPUT, ONE = "production", "throughput", "one"
BARE, UNCOMPILED, FUSED, TEXTS = "bare", "uncompiled", "fused", "texts"
TIMED = (PRODUCTION, THROUGHPUT, ONE, BARE, UNCOMPILED, FUSED)
PARTS = (*TIMED, TEXTS)
FUSION = "--fuse-allreduce-rms"
SUMMARY = "inference_summary.json"
TEXT_USERS, TEXT_SAMPLES, TEXT_TOKENS, TEXT_MAX_MODEL_LEN = 32, 2, 64, 2048


LEAST_S = 60.0
"""A part is not begun with less time left."""


class PartFailed(Exception):
    """A part that did not end as it should, in a line."""


class BudgetSpent(Exception):
    """There is no time left for a part, or it was cut."""


class Bench:
    """The parts of one record."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._num_gpus = args.gpus or max(1, len(list_gpus()))
        self._has_gpus = bool(list_gpus())
        self._found: dict[str, Any] = (read_json(args.out) or {}).get("parts", {})
        self._end = time.monotonic() + args.budget_s

    def has(self, part: str) -> bool:
        """Whether it was measured."""
        return "failed" not in self._found.get(part, {"failed": ""})

    def measure(self, part: str) -> None:
        """One part, into the record; one that fails is there as a line. BudgetSpent where it was cut."""
        try:
            if part == TEXTS:
                self._found[part] = self._texts()
            else:
                self._found[part] = self._bare() if part == BARE else self._submit(part)
        except PartFailed as error:
            self._found[part] = {"failed": str(error)}
        print(f"{part}: {self._found[part]}", file=sys.stderr, flush=True)
        asked = {name: str(value) for name, value in vars(self._args).items() if name not in ("out", "parts")}
        write_record(self._args.out, {"asked": asked, "num_gpus": self._num_gpus, "parts": self._found})

    def show(self) -> None:
        """The tables of what is there."""
        columns = ("start s", "tok/s", "samples/min", "peak MiB", "mean %", "mean W", "J per 1,000 samples")
        rows = []
        for part in TIMED:
            if (found := self._found.get(part)) is not None:
                rows.append({"part": part} | {name: found.get(name) for name in columns})
        print(table(rows))
        speeds = [self._found.get(part, {}).get("tok/s") for part in (THROUGHPUT, ONE)]
        if all(speeds) and self._num_gpus > 1:
            print(f"{self._num_gpus} engines over one: {speeds[0] / speeds[1]:.3f}")
        for step in self._found.get(FUSED, {}).get("ladder", []):
            print(f"{FUSED}: {step.get('class')}, {step.get('action')}")
        for row in self._found.get(TEXTS, {}).get("rows", []):
            print(f"texts at tensor parallel {row['tensor_parallel_size']}: {row['said']}")

    def _submit(self, part: str) -> dict[str, Any]:
        args = self._args
        num_tasks = {THROUGHPUT: self._num_gpus, ONE: 1}.get(part)
        users = args.users // self._num_gpus if part == ONE else args.users
        shape = Shape(users, 1, args.prompt_tokens, args.num_samples, args.output_tokens)
        preset, parallel = (THROUGHPUT, 1) if num_tasks else (PRODUCTION, self._num_gpus)
        words = self._words(preset, shape, args.checkpoint, parallel, args.load_format)
        words += ["--max-model-len", str(args.max_model_len)]
        if num_tasks:
            words += ["--num-tasks", str(num_tasks), "--max-concurrent", str(num_tasks)]
        if part == UNCOMPILED:
            words += ["--torch-compile", "false"]
        if part == FUSED:
            words += [FUSION, "true"]
        summary = self._run(part, part, words)
        samples, gpu = summary["total_samples"], summary["gpu"]
        return {
            "start s": max(each["mean_start_s"] for each in summary["engines"]),
            "seconds": summary["inference_time_seconds"],
            "tok/s": summary["throughput_output_tokens_per_sec"],
            "samples/min": round(60 * summary["throughput_samples_per_sec"], 1),
            "samples": samples,
            "ladder": summary["ladder"],
            **_figures(gpu, samples),
        }

    def _bare(self) -> dict[str, Any]:
        args, work = self._args, self._args.work
        words = ["-m", "benchmarks.bare_engine", "--checkpoint", str(args.checkpoint)]
        words += ["--users", str(args.users), "--prompt-tokens", str(args.prompt_tokens)]
        words += ["--output-tokens", str(args.output_tokens), "--num-samples", str(args.num_samples)]
        words += ["--load-format", args.load_format, "--max-model-len", str(args.max_model_len)]
        words += ["--set", f"tensor_parallel_size={self._num_gpus}", "--out", str(work / "bare.json")]
        for setting in args.set:
            words += ["--set", setting]
        journal = work / f"bare-gpu-{time.time_ns()}.jsonl"
        sampler = GpuSampler(journal, visible_gpus())
        try:
            self._command(BARE, words)
        finally:
            sampled = sampler.stop()
        found = json.loads((work / "bare.json").read_text(encoding="utf-8"))
        samples = args.users * args.num_samples
        return {
            "start s": round(found["start_s"], 2),
            "seconds": round(found["seconds"], 2),
            "tok/s": round(found["output tok/s"], 1),
            "samples/min": round(found["samples/min"], 1),
            "samples": samples,
            **_figures((sampled["total"] or {}) | _over(sampled["gpus"]), samples),
        }

    def _texts(self) -> dict[str, Any]:
        """Generates at the sizes that were asked for, unless it is done, and compares all that are there."""
        work = self._args.work
        model = self._args.text_checkpoint or make_tiny_llama(work / "text-model")
        shape = Shape(TEXT_USERS, 1, 64, TEXT_SAMPLES, TEXT_TOKENS)
        sizes = self._args.text_sizes or [size for size in (1, 2, 4, 8) if size <= self._num_gpus]
        for size in sizes:
            if self._published(f"texts-{size}") is None:
                words = self._words(PRODUCTION, shape, model, size)
                words += ["--max-model-len", str(TEXT_MAX_MODEL_LEN)]
                words += ["--enforce-eager", "false"]  # one or many
                self._run(TEXTS, f"texts-{size}", words)
        rows, base = [], self._published("texts-1")
        for size in sizes if base is not None else []:
            row: dict[str, Any] = {"tensor_parallel_size": size, "said": "the base"}
            if size > 1:
                row |= against(base, self._published(f"texts-{size}"))
                row["said"] = f"{row['num_equal']} of {row['num_pairs']} equal to those of one GPU"
            rows.append(row)
        return {"checkpoint": model.name, "rows": rows}

    def _words(
        self, preset: str, shape: Shape, checkpoint: Path, parallel: int, load_format: str = "auto"
    ) -> list[str]:
        """A submit command for a made-up scenario, whose tokens are counted with the checkpoint."""
        scratch = self._args.work / f"made-{shape.num_users}-{shape.prompt_tokens}-{checkpoint.name}"
        scenario = scratch / "scenario-work"
        if not scenario.exists():
            model = {"checkpoint": checkpoint, "engine": "vllm"}
            make_run(scratch, "work", shape, {"model": model, "engine": {"load_format": load_format}})
        words = ["--preset", preset, "--cluster", "none", "--engine", "vllm", "--checkpoint", str(checkpoint)]
        words += ["--dataset", "Chameleons", "--scenario-path", str(scenario), "--language", "en"]
        words += [
            "--max-prompt-tokens",
            str(2 * shape.prompt_tokens + 256),
            "--max-chars-per-turn",
            "1000000",
        ]
        words += ["--num-samples", str(shape.num_samples), "--max-tokens", str(shape.output_tokens)]
        words += ["--ignore-eos", "true", "--canary", "none", "--dtype", self._args.dtype]
        words += ["--tensor-parallel-size", str(parallel)]
        words += ["--load-format", load_format]
        return words if self._has_gpus else [*words, "--gpus-per-task", "0"]

    def _run(self, part: str, name: str, words: Sequence[str]) -> dict[str, Any]:
        """A submission to its end, of a name that no try before had; its summary."""
        work = self._args.work
        tried = f"{name}-{1 + len(self._tries(name))}"
        places = ["--runs-dir", str(work / "runs"), "--name", tried, "--output-dir", str(work / tried)]
        self._command(part, [str(ROOT / "launch" / "submit.py"), *words, *places])
        summary: dict[str, Any] = json.loads((work / tried / SUMMARY).read_text(encoding="utf-8"))
        return summary

    def _tries(self, name: str) -> list[Path]:
        """The runs of a name, whatever came of them."""
        return list((self._args.work / "runs").glob(f"{name}-*"))

    def _published(self, name: str) -> Path | None:
        """What a try published; None where none did."""
        found = [self._args.work / run.name for run in self._tries(name)]
        return next((each for each in found if (each / SUMMARY).exists()), None)

    def _command(self, part: str, words: Sequence[str]) -> None:
        """Runs a Python command with a limit; PartFailed with the end of its log, or BudgetSpent."""
        left_s = self._end - time.monotonic()
        if left_s < LEAST_S:
            raise BudgetSpent
        visible = {"CUDA_VISIBLE_DEVICES": visible_gpus()[0]} if part == ONE and self._has_gpus else {}
        log = self._args.work / f"{part}.log"
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **visible, "PYTHONPATH": path},
            )
            try:
                code = process.wait(min(self._args.limit_s, left_s))
                said = f"ended with {code}"
            except subprocess.TimeoutExpired:
                code, said = 1, f"took longer than {self._args.limit_s:.0f} s"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code != 0 and time.monotonic() > self._end:
            raise BudgetSpent
        if code != 0:
            raise PartFailed(f"{said}: {log.read_text(errors='replace')[-1000:]}")


def _figures(gpu: dict[str, Any], samples: int) -> dict[str, Any]:
    """Of the GPUs, under the names of the table; None where nothing was measured."""
    energy = gpu.get("energy_j")
    return {
        "peak MiB": gpu.get("peak_memory_used_mib"),
        "mean %": gpu.get("mean_utilization_percent"),
        "mean W": gpu.get("mean_power_w"),
        "J per 1,000 samples": None if energy is None else round(1000 * energy / samples, 1),
    }


def _over(gpus: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the summary's figures mean, of GPUs as the sampler tells them: peaks and means over them."""
    found: dict[str, Any] = {}
    for name, join in (
        ("peak_memory_used_mib", max),
        ("mean_utilization_percent", _mean),
        ("mean_power_w", _mean),
    ):
        values = [gpu[name] for gpu in gpus if gpu[name] is not None]
        found[name] = join(values) if values else None
    return found


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 2)


def main() -> None:
    """Measures the parts that were asked for and prints all that is in the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="a folder for runs, results and logs")
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--load-format", default="auto")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--gpus", type=int, help="as many as are visible unless given")
    parser.add_argument("--text-checkpoint", type=Path, help="with weights; a tiny random Llama unless given")
    parser.add_argument(
        "--text-sizes", type=int, nargs="+", help="tensor parallel sizes of that; 1 is the base"
    )
    parser.add_argument("--users", type=int, default=800, help="items")
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--output-tokens", type=int, default=256)
    parser.add_argument("--num-samples", type=int, default=5)
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="of the bare LLM(...)"
    )
    parser.add_argument("--limit-s", type=float, default=500.0, help="seconds that one command may take")
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="seconds that all may take")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/multi-gpu.json")
    args = parser.parse_intermixed_args()  # PART after flags, too
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]}: no such part; choose of {', '.join(PARTS)}")
    args.work = args.work.absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(args)
    left = [part for part in args.parts if not bench.has(part)]
    with contextlib.suppress(BudgetSpent):
        while left:
            bench.measure(left[0])
            left.pop(0)
    bench.show()
    print(f"left: {', '.join(left)}" if left else "nothing is left")


if __name__ == "__main__":
    main()
