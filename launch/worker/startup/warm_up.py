"""One request before the first item's, so that what a sampler compiles on its first use is compiled in the
start.

vLLM compiles the kernels of seeded sampling when the first seeded request comes (11.5 s on an H200 with vLLM
0.26.0, measured): after "ready", and so inside the measured generation. This request has the run's sampling,
a seed and at least 8 samples, because vLLM 0.26 takes another kernel for top-k and top-p from 8 sequences on
(v1/sample/ops/topk_topp_sampler.py); it belongs to no item, and nothing of it is kept but its times.
"""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from launch.config.schema import SamplingConfig

NAME = "warm-up"
NUM_PROMPT_TOKENS = 16
NUM_TOKENS = 8
"""Of each sample: a prompt's step and a few steps after it."""
NUM_SAMPLES = 8
SEED = 1


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Seconds from adding the request to its first token, and to its end."""

    first_token_s: float
    total_s: float


class Stepper(Protocol):
    """What of vLLM's LLMEngine is needed."""

    def has_unfinished_requests(self) -> bool:
        """Whether anything runs."""
        ...

    def step(self) -> list[Any]:
        """The next outputs."""
        ...


def warm_up_sampling(asked: SamplingConfig, max_model_len: int) -> SamplingConfig:
    """The run's sampling with few tokens, which are generated whatever they are; one sample where greedy."""
    num_tokens = min(NUM_TOKENS, asked.max_tokens, max_model_len - 1)
    num_samples = max(asked.num_samples or 1, NUM_SAMPLES if asked.temperature > 0 else 1)
    changed = {"num_samples": num_samples, "max_tokens": num_tokens, "ignore_eos": True, "stop": ()}
    return asked.model_copy(update=changed)


def warm_up_prompt(max_model_len: int) -> tuple[int, ...]:
    """Token ids that every vocabulary has and that fit."""
    return (0,) * max(1, min(NUM_PROMPT_TOKENS, max_model_len - NUM_TOKENS))


def run_warm_up(engine: Stepper, began: float) -> WarmUp:
    """Steps until the request that was just added is done; `began` is when, by time.monotonic()."""
    first_token: float | None = None
    while engine.has_unfinished_requests():
        for output in engine.step():
            if first_token is None and any(sample.token_ids for sample in output.outputs):
                first_token = time.monotonic()
    ended = time.monotonic()
    return WarmUp((first_token or ended) - began, ended - began)
