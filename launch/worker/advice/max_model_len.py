"""Advice on max_model_len: the model allows less than was asked for, or the KV cache holds less."""

from collections.abc import Iterator

from launch.model.fit_memory import advised_length
from launch.model.length_bounds import crossed
from launch.worker.advice.case import Case


def bad_max_model_len(case: Case) -> Iterator[str]:
    """What the model allows; where that leaves no prompt, fewer tokens to generate as well."""
    allowed = int(case.numbers["allowed"])
    if allowed > case.config.sampling.max_tokens:
        yield _set_length(case, allowed)
    else:
        yield f"{case.anew} --max-model-len {allowed} --max-tokens {allowed // 2}"


def shorter(case: Case) -> Iterator[str]:
    """The length that the KV cache holds by vLLM's estimate, if there is one that leaves a prompt."""
    estimated = case.numbers.get("estimated")
    length = None if estimated is None else advised_length(int(estimated), case.config.sampling.max_tokens)
    if length is None:
        return
    bound = crossed(case.length_bounds, case.config.engine.max_model_len, length)
    if bound is not None:
        yield f"{case.anew} --max-model-len {length}: vLLM computes this model otherwise above {bound}"
    else:
        yield _set_length(case, length)


def _set_length(case: Case, length: int) -> str:
    """On resume only if the planned prompts still fit beside max_tokens."""
    max_tokens = case.config.sampling.max_tokens
    if length >= case.config.max_prompt_tokens + max_tokens:
        return f"{case.resume} --max-model-len {length}"
    return f"{case.anew} --max-model-len {length}: prompts are then cut to {length - max_tokens} tokens"
