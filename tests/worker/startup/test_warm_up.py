"""The request before the first: the run's sampling, few tokens, and the time of its first token."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from launch.config.schema import SamplingConfig
from launch.worker.startup.warm_up import (
    NUM_PROMPT_TOKENS,
    NUM_TOKENS,
    run_warm_up,
    warm_up_prompt,
    warm_up_sampling,
)


def test_it_samples_as_the_run_does():
    asked = SamplingConfig(num_samples=5, temperature=0.7, top_k=20, stop=("x",), max_tokens=512, min_p=0.1)
    warm = warm_up_sampling(asked, 8192)
    changed = {"num_samples": 8, "max_tokens": NUM_TOKENS, "ignore_eos": True, "stop": ()}
    assert warm == asked.model_copy(update=changed)


def test_greedy_has_one_sample_and_many_stay_many():
    assert warm_up_sampling(SamplingConfig(temperature=0.0, num_samples=1), 64).num_samples == 1
    assert warm_up_sampling(SamplingConfig(num_samples=20), 64).num_samples == 20


@pytest.mark.parametrize("max_model_len", [2, 5, 9, 24, 8192])
@pytest.mark.parametrize("max_tokens", [1, 3, 512])
def test_it_fits(max_model_len: int, max_tokens: int):
    num_tokens = warm_up_sampling(SamplingConfig(max_tokens=max_tokens), max_model_len).max_tokens
    prompt = warm_up_prompt(max_model_len)
    assert 1 <= len(prompt) <= NUM_PROMPT_TOKENS
    assert 1 <= num_tokens <= max_tokens
    assert len(prompt) + num_tokens <= max_model_len


class Steps:
    """An engine that has these outputs, one list a step."""

    def __init__(self, *steps: list[Any]) -> None:
        self._steps = list(steps)

    def has_unfinished_requests(self) -> bool:
        return bool(self._steps)

    def step(self) -> list[Any]:
        time.sleep(0.05)
        return self._steps.pop(0)


def output(*num_tokens: int) -> Any:
    """An output with samples of so many tokens."""
    return SimpleNamespace(outputs=[SimpleNamespace(token_ids=[0] * number) for number in num_tokens])


def test_the_first_token_is_timed_when_it_comes():
    began = time.monotonic()
    done = run_warm_up(Steps([], [output(0, 0)], [output(0, 1)], [output(2, 2)]), began)
    assert 0.15 <= done.first_token_s < 0.2 + (done.total_s - 0.2)
    assert done.total_s >= 0.2
    assert done.total_s - done.first_token_s >= 0.05
