"""Checkpoints that a training framework writes for itself: no engine reads them; one line says what does.

The names are those that the frameworks write: DeepSpeed (runtime/engine.py: global_step<N>/ with
*_model_states.pt and *_optim_states.pt), accelerate and PyTorch FSDP (pytorch_model_fsdp_<N>/, *.distcp),
Megatron (iter_<N>/, latest_checkpointed_iteration.txt), Lightning and NeMo (*.ckpt, *.nemo).
"""

from pathlib import Path

from launch.errors import CheckpointError


def refuse_training_state(directory: Path) -> None:
    """CheckpointError when `directory`, which has no weights for an engine, holds such a checkpoint."""
    for find in (_deepspeed, _megatron, _fsdp, _lightning):
        found = find(directory)
        if found is not None:
            raise CheckpointError(f"{directory}: weights: {found}")


def _deepspeed(directory: Path) -> str | None:
    shards = sorted(directory.glob("global_step*/*_optim_states.pt"))
    if shards:
        what, where = f"only DeepSpeed ZeRO shards ({shards[-1].parent.name}/)", directory
    elif any(directory.glob("*_optim_states.pt")):
        what, where = "only DeepSpeed ZeRO shards", directory.parent
    else:
        return None
    return (
        f"{what}. Join them with DeepSpeed's `python zero_to_fp32.py {where} OUT --safe_serialization`, put"
        " config.json and tokenizer into OUT, and give OUT."
    )


def _megatron(directory: Path) -> str | None:
    """Before FSDP's: Megatron's newer form has *.distcp, too."""
    iterations = sorted(path.name for path in directory.glob("iter_*") if path.is_dir())
    if not iterations and not (directory / "latest_checkpointed_iteration.txt").is_file():
        return None
    shown = f" ({iterations[-1]}/)" if iterations else ""
    return f"a Megatron checkpoint{shown}. Convert it to Hugging Face form (Megatron Bridge), and give that."


def _fsdp(directory: Path) -> str | None:
    folders = sorted(path for path in directory.glob("pytorch_model_fsdp_*") if path.is_dir())
    if not folders and not any(directory.glob("*.distcp")):
        return None
    shards = folders[-1] if folders else directory
    return (
        f"only FSDP shards{f' ({shards.name}/)' if folders else ''}. Join them with"
        f" `accelerate merge-weights {shards} OUT`, put config.json and tokenizer into OUT, and give OUT."
    )


def _lightning(directory: Path) -> str | None:
    files = sorted([*directory.glob("*.ckpt"), *directory.glob("*.nemo")])
    if not files:
        return None
    return (
        f"{files[-1].name} is a checkpoint of Lightning or NeMo. Load it there and write it in Hugging Face"
        " form (`save_pretrained`), and give that."
    )
