"""A vLLM engine behind our protocol: an adapter for 0.26 and 0.32, GPU and CPU builds.

vllm.LLM builds the engine, so that its defaults apply, and its llm_engine is driven directly: add_request and
step, one request per item, a result when the last of its samples has ended.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.scenarios.records import Generation, Request
from launch.worker.engines.adapted import BY_VLLM, open_lora_request, parts_as_run
from launch.worker.engines.endings import COMPLETE, keeps_special_tokens, make_sample
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
from launch.worker.engines.vllm_calls import (
    death_errors,
    import_vllm,
    is_batch_invariant,
    make_prompt,
    make_sampling_params,
    one_line,
    validation_errors,
    versions,
    warnings_as_warnings,
)
from launch.worker.engines.vllm_settings import check_room, llm_arguments, settings_as_run
from launch.worker.forked import prepare_forks
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
            prompt = make_prompt(self._llm, request.token_ids)
            internal_name = self._engine.add_request(name, prompt, params, lora_request=self._lora_request)
        except validation_errors() as error:
            raise RequestRefused(request, "refused", one_line(error)) from error
        except death_errors() as error:
            raise self._died(error) from error
        self._requests[name] = request
        self._prefix_hits.follow(name, internal_name, params.n)

    def step(self) -> list[Generation]:
        """Waits for the engine's next outputs; EngineDied when its processes are gone."""
        try:
            outputs = self._engine.step()
        except death_errors() as error:
            raise self._died(error) from error
        generations = [self._take(output) for output in outputs if output.finished]
        return [generation for generation in generations if generation is not None]

    def warm_up(self) -> dict[str, float]:
        """Runs a seeded request that belongs to no item, and keeps nothing of it; its seconds by part."""
        length = self.facts.settings["max_model_len"]
        setup = replace(self._setup, sampling=warm_up_sampling(self._setup.sampling, length))
        params = make_sampling_params(
            setup, seed=SEED, skip_special_tokens=self._skip_special, tells_every_token=True
        )
        began = time.monotonic()
        try:
            prompt = make_prompt(self._llm, warm_up_prompt(length))
            self._engine.add_request(NAME, prompt, params, lora_request=self._lora_request)
            done = run_warm_up(self._engine, began)
        except death_errors() as error:
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
        return EngineDied(f"vLLM's engine core died: {one_line(error)}")

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
    vllm, current_platform = import_vllm()
    imported = time.monotonic()
    prepare_forks()
    with shielded_children(), warnings_as_warnings():
        on_cpu = current_platform.is_cpu()
        is_invariant = is_batch_invariant(setup, current_platform)
        arguments, notes = llm_arguments(setup, on_cpu=on_cpu, version=vllm.__version__)
        llm = _build(setup, vllm, arguments, before)
    settings = settings_as_run(llm.llm_engine.vllm_config) | parts_as_run(setup, BY_VLLM)
    settings["batch_invariant"] = is_invariant
    facts = EngineFacts(
        kind=EngineKind.VLLM,
        version=vllm.__version__,
        device="cpu" if on_cpu else current_platform.get_device_name(),
        max_num_seqs=settings["max_num_seqs"],
        settings=settings,
        versions=versions(),
        notes=tuple(notes),
        phases_s={"import": imported - started, "load": time.monotonic() - imported},
    )
    return _warmed_up(setup, llm, facts, _started_since(before), on_dead)


def _build(setup: EngineSetup, vllm: Any, arguments: dict[str, Any], before: set[int]) -> Any:
    """The vllm.LLM; where it fails, none of its processes is left."""
    try:
        with unheard_ends(before):
            return vllm.LLM(**arguments)
    except BaseException as error:
        kill_trees(_started_since(before))
        if isinstance(error, validation_errors()):
            raise EngineError(f"{setup.checkpoint}: vLLM refuses it: {one_line(error)}") from error
        raise


def _warmed_up(
    setup: EngineSetup, llm: Any, facts: EngineFacts, processes: list[Any], on_dead: Callable[[str], None]
) -> VllmEngine:
    """The engine, watched and warm; where that fails, none of its processes is left."""
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


def _started_since(before: set[int]) -> list[Any]:
    """vLLM's direct children: the engine core. Python's resource tracker ends by itself."""
    return [
        child
        for child in list_children()
        if child.pid not in before and "resource_tracker" not in " ".join(child.cmdline())
    ]
