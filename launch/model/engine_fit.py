"""Whether the chosen engine runs this checkpoint, and in what way; asked before anything is planned."""

import importlib.util
from collections.abc import Iterator

from launch.config.schema import EngineKind
from launch.errors import CheckpointError, EngineError
from launch.model.adapters import ADAPTER_CONFIG, MERGE_ADVICE, Adapter, max_lora_rank, vllm_objection
from launch.model.checkpoint import Checkpoint
from launch.model.engines import resolve_engine
from launch.model.remote_code import check_remote_code


def choose_engine(
    asked: EngineKind, checkpoint: Checkpoint, *, trust_remote_code: bool
) -> tuple[EngineKind, tuple[str, ...]]:
    """The engine, never AUTO, and the sentences to say aloud of it and of how it takes this checkpoint.

    CheckpointError or EngineError when it does not. The stub reads no model and takes everything.
    """
    objection = vllm_objection(checkpoint.adapter) if checkpoint.adapter else None
    kind, why = resolve_engine(asked, checkpoint.architecture, objection=objection)
    return kind, (why, *_check_fit(kind, checkpoint, trust_remote_code))


def _check_fit(kind: EngineKind, checkpoint: Checkpoint, trust_remote_code: bool) -> Iterator[str]:
    if kind is EngineKind.STUB:
        return
    if checkpoint.adapter is not None:
        yield _adapter_way(kind, checkpoint.adapter)
    if (checkpoint.path / ADAPTER_CONFIG).is_file():
        yield _stray_adapter(kind, checkpoint)
    said = check_remote_code(kind, checkpoint, trust_remote_code)
    if said is not None:
        yield said


def _adapter_way(kind: EngineKind, adapter: Adapter) -> str:
    if kind is EngineKind.VLLM:
        objection = vllm_objection(adapter)
        if objection is not None:
            raise CheckpointError(
                f"{adapter.path}: {objection}. Take --engine transformers, which merges it with peft, or"
                f" {MERGE_ADVICE}."
            )
        return f"LoRA adapter: through vLLM's own LoRA, max_lora_rank {max_lora_rank(adapter.rank)}"
    if importlib.util.find_spec("transformers") and not importlib.util.find_spec("peft"):
        raise EngineError(
            f"{adapter.path}: the transformers engine merges a LoRA adapter with peft, which is not installed"
            " here. Install vllm-launch[hf], or peft."
        )
    return "LoRA adapter: merged into its base model in memory, with peft"


def _stray_adapter(kind: EngineKind, checkpoint: Checkpoint) -> str:
    """Whole weights beside an adapter_config.json: transformers would put it on top, vLLM does not."""
    if kind is EngineKind.TRANSFORMERS:
        raise CheckpointError(
            f"{checkpoint.path}: has whole weights beside {ADAPTER_CONFIG}, and transformers would load an"
            " adapter on top of them. Move adapter_* elsewhere, and give the one directory that is meant."
        )
    return f"{ADAPTER_CONFIG} lies beside whole weights: these are taken as they are, without an adapter"
