"""A LoRA adapter in each engine: vLLM applies it per request, transformers gets it merged with peft."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from launch.errors import EngineError
from launch.model.adapters import max_lora_rank, read_adapter
from launch.worker.engines.protocol import EngineSetup

BY_VLLM = "by vLLM's own LoRA, per request"
BY_PEFT = "merged into the base model with peft"


def lora_arguments(setup: EngineSetup) -> dict[str, Any]:
    """What vllm.LLM takes besides, nothing without an adapter."""
    if setup.adapter is None:
        return {}
    assert setup.adapter_rank is not None, "a run records both"
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": max_lora_rank(setup.adapter_rank)}


def open_lora_request(setup: EngineSetup) -> Any | None:
    """vLLM's LoRARequest for every request, None without an adapter.

    EngineError for ranks or alphas per module where this vLLM overlooks them: 0.26 does, 0.32 does not.
    """
    if setup.adapter is None:
        return None
    from vllm.lora.peft_helper import PEFTHelper
    from vllm.lora.request import LoRARequest

    refuse_overlooked(setup.adapter, {field.name for field in dataclasses.fields(PEFTHelper)})
    return LoRARequest("adapter", 1, str(setup.adapter))


def refuse_overlooked(adapter: Path, known: Collection[str]) -> None:
    """EngineError when ranks or alphas per module are set and not among what vLLM reads, `known`."""
    config = read_adapter(adapter, needs_weights=False).config
    for name in ("rank_pattern", "alpha_pattern"):
        if config.get(name) and name not in known:
            raise EngineError(
                f"{adapter}: adapter_config.json: {name} is overlooked by this vLLM. Take a newer one,"
                " or --engine transformers."
            )


def merge_adapter(setup: EngineSetup, model: Any) -> Any:
    """`model` with the adapter merged into it, itself without one; EngineError when peft cannot."""
    if setup.adapter is None:
        return model
    try:
        import peft
    except ImportError:
        raise EngineError(
            f"{setup.adapter}: peft, which merges a LoRA adapter, is not installed. Install vllm-launch[hf]."
        ) from None
    try:
        return peft.PeftModel.from_pretrained(model, str(setup.adapter)).merge_and_unload()
    except (ValueError, OSError, RuntimeError, KeyError, NotImplementedError) as error:
        raise EngineError(
            f"{setup.adapter}: peft refuses it: {' '.join(str(error).split())[:500]}"
        ) from error


def parts_as_run(setup: EngineSetup, applied: str) -> dict[str, str]:
    """For engine.json: adapter, how it was `applied`, and tokenizer, those that there are."""
    return setup.parts | ({"adapter_applied": applied} if setup.adapter else {})
