"""What training frameworks leave: beside whole weights it is ignored, alone it gets one clear line."""

from pathlib import Path

import pytest

from launch.errors import CheckpointError
from launch.model.checkpoint import inspect_checkpoint
from tests.models import make_tiny_llama

TRAINER_STATE = (
    *("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state.pth", "training_args.bin"),
    *("trainer_state.json", "global_step7/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "latest"),
)


def put(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"state")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_training_state_beside_whole_weights_is_ignored(tmp_path: Path, weights: str) -> None:
    model = make_tiny_llama(tmp_path / "checkpoint-7", num_layers=1)
    (model / "model.safetensors").rename(model / weights)
    before = inspect_checkpoint(model)
    put(model, *TRAINER_STATE)
    assert inspect_checkpoint(model) == before


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("global_step7/zero_pp_rank_0_mp_rank_00_optim_states.pt", "latest", "zero_to_fp32.py"),
            "only DeepSpeed ZeRO shards (global_step7/). Join them with DeepSpeed's"
            " `python zero_to_fp32.py CKPT OUT --safe_serialization`, put config.json and tokenizer into"
            " OUT, and give OUT.",
        ),
        (
            ("mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"),
            "only DeepSpeed ZeRO shards. Join them with DeepSpeed's"
            " `python zero_to_fp32.py PARENT OUT --safe_serialization`, put config.json and tokenizer into"
            " OUT, and give OUT.",
        ),
        (
            (
                "pytorch_model_fsdp_0/__0_0.distcp",
                "pytorch_model_fsdp_0/.metadata",
                "optimizer_0/__0_0.distcp",
            ),
            "only FSDP shards (pytorch_model_fsdp_0/). Join them with"
            " `accelerate merge-weights CKPT/pytorch_model_fsdp_0 OUT`, put config.json and tokenizer into"
            " OUT, and give OUT.",
        ),
        (
            ("__0_0.distcp", ".metadata"),
            "only FSDP shards. Join them with `accelerate merge-weights CKPT OUT`, put config.json and"
            " tokenizer into OUT, and give OUT.",
        ),
        (
            ("iter_0000500/mp_rank_00/model_optim_rng.pt", "latest_checkpointed_iteration.txt"),
            "a Megatron checkpoint (iter_0000500/). Convert it to Hugging Face form (Megatron Bridge), and"
            " give that.",
        ),
        (
            ("epoch=3-step=500.ckpt",),
            "epoch=3-step=500.ckpt is a checkpoint of Lightning or NeMo. Load it there and write it in"
            " Hugging Face form (`save_pretrained`), and give that.",
        ),
    ],
)
def test_a_frameworks_own_form(
    tmp_path: Path, names: tuple[str, ...], message: str, with_config: bool
) -> None:
    directory = make_tiny_llama(tmp_path / "run", num_layers=1, weights="none")
    if not with_config:
        (directory / "config.json").unlink()
    put(directory, *names)
    with pytest.raises(CheckpointError) as caught:
        inspect_checkpoint(directory)
    shown = str(caught.value).replace(str(directory), "CKPT").replace(str(tmp_path), "PARENT")
    assert shown == f"CKPT: weights: {message}"
