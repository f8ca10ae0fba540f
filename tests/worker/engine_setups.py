"""Builders for the tests of engines: setups, requests, and running an engine to its end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from launch.config.schema import EngineConfig, EngineKind, ModelConfig, SamplingConfig
from launch.scenarios.records import Cuts, Generation, Request, item_seed
from launch.worker.engines.protocol import Engine, EngineSetup

PROMPTS = (
    "What is the capital of France?",
    "Name three colours.",
    "Write one sentence about the sea, and another about the rain that falls on it in the winter.",
)


def make_setup(
    checkpoint: Path,
    kind: EngineKind,
    *,
    engine: EngineConfig | None = None,
    sampling: dict[str, Any] | None = None,
    eos_token_ids: tuple[int, ...] = (2,),
    reasoning_end: str | None = None,
    **parts: Any,
) -> EngineSetup:
    """A small setup in float32, which a CPU without bfloat16 computes fastest and most alike everywhere.

    `parts` are those of EngineSetup beside the checkpoint: adapter, adapter_rank, tokenizer.
    """
    asked = SamplingConfig(**({"max_tokens": 16, "num_samples": 2} | (sampling or {})))
    limits = engine or EngineConfig(max_model_len=512, max_num_seqs=16, enforce_eager=True)
    return EngineSetup(
        checkpoint=checkpoint,
        model=ModelConfig(checkpoint=checkpoint, engine=kind, dtype="float32"),
        engine=limits,
        sampling=asked,
        reasoning_end=reasoning_end,
        eos_token_ids=eos_token_ids,
        max_prompt_tokens=limits.max_model_len - asked.max_tokens,
        **parts,
    )


def make_request(number: int, token_ids: Sequence[int], key: str | None = None) -> Request:
    """A request as the reader makes it, with its item's own seed."""
    key = key or f"user{number}#0.0"
    return Request(number, key, f"{number:032x}", tuple(token_ids), item_seed(42, key), Cuts())


def make_requests(checkpoint: Path, prompts: Sequence[str] = PROMPTS) -> list[Request]:
    """A request per prompt, through the checkpoint's chat template as ChatML."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    texts = [f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n" for prompt in prompts]
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    return [make_request(number, ids) for number, ids in enumerate(encoded)]


def run_all(engine: Engine, requests: Sequence[Request]) -> dict[int, Generation]:
    """Adds all, steps to the end and returns the generations by item number."""
    for request in requests:
        engine.add(request)
    generations = {}
    while engine.num_unfinished:
        generations |= {generation.number: generation for generation in engine.step()}
    return generations


def texts_of(generation: Generation) -> list[str]:
    """The texts of a generation's samples, in order."""
    return [sample.text for sample in generation.samples]
