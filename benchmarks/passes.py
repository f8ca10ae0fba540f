"""The two passes that benchmarks/engine_overhead.py compares, on one running vLLM."""

import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.worker_loop import fresh_copy, results_of, work_through
from launch.rundir.layout import RunPaths
from launch.scenarios.records import Request
from launch.worker.engines.protocol import EngineSetup
from launch.worker.engines.vllm_calls import make_sampling_params
from launch.worker.engines.vllm_engine import VllmEngine, open_vllm

Texts = list[list[str]]


@dataclass(frozen=True, slots=True)
class Pass:
    """Seconds, CPU seconds of this process, output tokens, steps of the engine's core, and all texts."""

    wall_s: float
    cpu_s: float
    tokens: int
    steps: int
    texts: Texts


class Shared:
    """The one engine, opened at the first question, and how it was set up."""

    def __init__(self) -> None:
        self.engine: VllmEngine | None = None
        self.setup: EngineSetup | None = None
        self.num_steps = 0

    def open(self, setup: EngineSetup) -> VllmEngine:
        """The engine as the worker asks for it; started once."""
        if self.engine is None:
            self.setup, self.engine = setup, open_vllm(setup, self._died)
            self._count_steps()
        return self.engine

    @property
    def llm(self) -> Any:
        """vLLM's own object, which the bare pass drives."""
        assert self.engine is not None
        return self.engine._llm

    def make_ready(self) -> None:
        """No pass finds the prompts of the one before in the cache, and each counts its own steps."""
        self.num_steps = 0
        if self.engine is not None:
            assert self.llm.reset_prefix_cache() is not False

    def _count_steps(self) -> None:
        step = self.llm.llm_engine.step

        def counted() -> Any:
            self.num_steps += 1
            return step()

        self.llm.llm_engine.step = counted

    @staticmethod
    def _died(message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        os._exit(1)


def bare_pass(shared: Shared, requests: list[Request], prompts: list[str]) -> Pass:
    """One `LLM.generate` of all prompts."""
    assert shared.setup is not None and shared.engine is not None
    params = [
        make_sampling_params(shared.setup, seed=each.seed, skip_special_tokens=True) for each in requests
    ]
    shared.make_ready()
    began, cpu = time.monotonic(), time.process_time()
    outputs = shared.llm.generate(prompts, params, use_tqdm=False)
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    for request, output in zip(requests, outputs, strict=True):
        assert tuple(output.prompt_token_ids) == request.token_ids, "bare and worker read another prompt"
    tokens = sum(len(each.token_ids) for output in outputs for each in output.outputs)
    texts = [[each.text for each in output.outputs] for output in outputs]
    return Pass(wall_s, cpu_s, tokens, shared.num_steps, texts)


def worker_pass(shared: Shared, planned: RunPaths, number: int, keys: list[str]) -> Pass:
    """The worker on a fresh copy of the run; its texts in the order of `keys`."""
    run = fresh_copy(planned, number)
    shared.make_ready()
    timed = work_through(run, shared.open)
    texts = {}
    for path in results_of(run):
        for line in path.read_bytes().splitlines():
            row = orjson.loads(line)
            texts[row["key"]] = [sample["text"] for sample in row["samples"]]
    tokens = timed.counts.output_tokens
    return Pass(timed.wall_s, timed.cpu_s, tokens, shared.num_steps, [texts[key] for key in keys])
