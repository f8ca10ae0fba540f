"""Hugging Face transformers as an engine: for architectures that vLLM does not know, and for comparison.

Batched and left-padded; every sample has its own random numbers, so that an item's samples do not depend on
the batch it runs in, except through the last bits of the logits.
"""

import importlib.metadata
import platform
import time
from dataclasses import replace
from typing import Any

from tokenizers.decoders import DecodeStream

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.scenarios.records import Generation, Request
from launch.worker.engines.adapted import BY_PEFT, merge_adapter, parts_as_run
from launch.worker.engines.endings import ending_token_ids, keeps_special_tokens, make_sample
from launch.worker.engines.hf_batch import Row, run_batch
from launch.worker.engines.protocol import EngineFacts, EngineSetup, RequestRefused
from launch.worker.engines.vllm_settings import check_room

CPU_SEQS, CUDA_SEQS = 8, 160
"""Rows of a batch unless max_num_seqs is set; 160 = 32 x 5 was the best that was measured on a GPU."""
WINDOW_BATCHES = 4


class TransformersEngine:
    """A model on one device; made by `open_transformers`."""

    def __init__(self, setup: EngineSetup, model: Any, tokenizer: Any, facts: EngineFacts) -> None:
        self._setup = setup
        self._model = model
        self._tokenizer = tokenizer
        self._waiting: list[Request] = []
        self._num_items = max(1, facts.max_num_seqs // setup.sampling.samples_per_item)
        self._skip_special = not keeps_special_tokens(setup, tokenizer)
        ending_ids = set(ending_token_ids(setup))
        if tokenizer.eos_token_id is not None and not setup.sampling.ignore_eos:
            ending_ids.add(tokenizer.eos_token_id)
        self._ending_ids = frozenset(ending_ids)
        self.num_aborted = 0
        self.num_cached_tokens = 0
        self.facts = facts

    @property
    def window(self) -> int:
        """A few batches of requests, from which those of similar length are taken together."""
        return WINDOW_BATCHES * self._num_items

    @property
    def num_unfinished(self) -> int:
        """Requests added and not yet returned."""
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """Takes a request; RequestRefused when it does not fit max_model_len or is not of this vocabulary."""
        room = self._setup.engine.max_model_len - self._setup.sampling.max_tokens
        if not 0 < len(request.token_ids) <= room:
            raise RequestRefused(
                request,
                "too_long" if request.token_ids else "refused",
                f"{len(request.token_ids)} prompt tokens; max_model_len leaves {room} beside max_tokens",
            )
        size = self._model.get_input_embeddings().num_embeddings
        if max(request.token_ids) >= size:
            raise RequestRefused(request, "refused", f"token {max(request.token_ids)} is out of vocabulary")
        self._waiting.append(request)

    def step(self) -> list[Generation]:
        """Runs one batch to its end, the longest prompts first; halves it while memory is short."""
        import torch

        self._waiting.sort(key=lambda request: -len(request.token_ids))
        while self._waiting:
            batch = self._waiting[: self._num_items]
            try:
                generations = self._generate(batch)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                if len(batch) == 1:
                    raise
                self._halve(len(batch))
                continue
            del self._waiting[: len(batch)]
            return generations
        return []

    def close(self) -> None:
        """Lets go of the model and forgets what is unfinished."""
        self._waiting.clear()
        self._model = None

    def _halve(self, num_items: int) -> None:
        self._num_items = (num_items + 1) // 2
        note = f"out of GPU memory with {num_items} items in a batch: now {self._num_items}"
        self.facts = replace(self.facts, notes=(*self.facts.notes, note))

    def _generate(self, batch: list[Request]) -> list[Generation]:
        num_samples = self._setup.sampling.samples_per_item
        places = [(request, index) for request in batch for index in range(num_samples)]
        rows = [Row(request, index, self._open_stream(request)) for request, index in places]
        run_batch(self._model, self._tokenizer, rows, self._setup.sampling, self._ending_ids)
        return [
            self._finish(request, rows[place * num_samples : (place + 1) * num_samples])
            for place, request in enumerate(batch)
        ]

    def _open_stream(self, request: Request) -> Any:
        return DecodeStream(ids=list(request.token_ids), skip_special_tokens=self._skip_special)

    def _finish(self, request: Request, rows: list[Row]) -> Generation:
        samples = []
        for row in rows:
            assert row.finish_reason is not None, "generate ends when every row has"
            samples.append(make_sample(self._setup, row.text, row.finish_reason, row.num_tokens))
        return Generation(
            number=request.number,
            key=request.key,
            digest=request.digest,
            seed=request.seed,
            num_prompt_tokens=len(request.token_ids),
            cuts=request.cuts,
            samples=tuple(samples),
        )


def open_transformers(setup: EngineSetup) -> TransformersEngine:
    """Loads the model on the GPU, or the CPU without one; EngineError for what this engine cannot do."""
    check_room(setup)
    _check_settings(setup)
    started = time.monotonic()
    import torch
    import transformers

    imported = time.monotonic()
    on_gpu = torch.cuda.is_available()
    tokenizer, model = _load(setup)
    model = merge_adapter(setup, model).to("cuda" if on_gpu else "cpu").eval()
    model.generation_config = transformers.GenerationConfig()
    max_num_seqs = setup.engine.max_num_seqs or (CUDA_SEQS if on_gpu else CPU_SEQS)
    facts = EngineFacts(
        kind=EngineKind.TRANSFORMERS,
        version=transformers.__version__,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        max_num_seqs=max_num_seqs,
        settings=_settings_as_run(setup, model, max_num_seqs),
        versions=_versions(*(["peft"] if setup.adapter else [])),
        phases_s={"import": imported - started, "load": time.monotonic() - imported},
    )
    return TransformersEngine(setup, model, tokenizer, facts)


def _load(setup: EngineSetup) -> tuple[Any, Any]:
    """The tokenizer, a fast one, and the model as transformers loads it, on the CPU."""
    import transformers

    trust = setup.model.trust_remote_code
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(setup.tokenizer_dir, trust_remote_code=trust)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            setup.checkpoint, dtype=setup.model.dtype, trust_remote_code=trust
        )
    except (ValueError, OSError) as error:
        raise EngineError(
            f"{setup.checkpoint}: transformers refuses it: {' '.join(str(error).split())[:500]}"
        ) from error
    if not tokenizer.is_fast:
        raise EngineError(
            f"{setup.tokenizer_dir}: the transformers engine needs tokenizer.json. Convert the tokenizer."
        )
    return tokenizer, model


def _settings_as_run(setup: EngineSetup, model: Any, max_num_seqs: int) -> dict[str, Any]:
    """What engine.json says of the settings, after every default."""
    return {
        "max_model_len": setup.engine.max_model_len,
        "max_num_seqs": max_num_seqs,
        "tensor_parallel_size": 1,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": getattr(model.config, "quantization_config", None) and "of the checkpoint",
        "attention": getattr(model.config, "_attn_implementation", None),
        **parts_as_run(setup, BY_PEFT),
    }


def _check_settings(setup: EngineSetup) -> None:
    """EngineError for settings of model and engine that only vLLM has: ignoring them would be silent."""
    if setup.engine.tensor_parallel_size > 1:
        raise EngineError(
            f"engine.tensor_parallel_size: expected 1, got {setup.engine.tensor_parallel_size}."
            " The transformers engine runs on one GPU: set 1."
        )
    for name in ("quantization", "kv_cache_dtype"):
        value = getattr(setup.model, name)
        if value not in (None, "auto"):
            raise EngineError(
                f"model.{name}: got {value}, which the transformers engine does not have. Leave it out."
            )


def _versions(*more: str) -> dict[str, str]:
    names = ("torch", "transformers", "tokenizers", *more)
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
