"""LoRA adapter directories as peft saves them: what they are, and what vLLM's own LoRA does not run."""

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import CheckpointError
from launch.model.weights import (
    check_safetensors,
    has_whole_weights,
    read_json_object,
    read_safetensors_header,
    refuse_lfs_pointer,
)

ADAPTER_CONFIG = "adapter_config.json"
PICKLE = "data.pkl"
"""In the archive that torch.save writes."""
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
MERGE_ADVICE = "merge it into its base first (peft: `merge_and_unload`, then `save_pretrained`)"
MAX_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What max_lora_rank may be: vllm/config/lora.py, MaxLoRARanks, in 0.26 and 0.32 alike; a test compares."""
# Settings of adapter_config.json that change what an adapter computes and that vLLM refuses or overlooks
# (vllm/lora/peft_helper.py: 0.26 checks two of them, 0.32 all), each with its harmless values.
_NOT_IN_VLLM: dict[str, tuple[Any, ...]] = {
    "use_dora": (False,),
    "modules_to_save": ([],),
    "bias": ("none",),
    "lora_bias": (False,),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal", "mica", "lora_ga"),
    "alora_invocation_tokens": (),
    "layer_replication": ([],),
    "use_bdlora": (False,),
    "use_qalora": (False,),
    "trainable_token_indices": ([], {}),
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter; `config` is its adapter_config.json, `weights` its file (None: not looked for)."""

    path: Path
    config: Mapping[str, Any]
    weights: Path | None

    @property
    def rank(self) -> int:
        """The largest rank of any of its modules."""
        return int(max([self.config["r"], *(self.config.get("rank_pattern") or {}).values()]))

    @property
    def base_name(self) -> str | None:
        """The base model as its training named it: a path, or a hub id, with the revision if it names one."""
        name, revision = self.config.get("base_model_name_or_path"), self.config.get("revision")
        return f"{name}@{revision}" if name and revision else name or None


def is_adapter(directory: Path) -> bool:
    """Whether it is an adapter and no model; a merged model may still carry its adapter_config.json."""
    if not (directory / ADAPTER_CONFIG).is_file():
        return False
    return not (directory / "config.json").is_file() or not has_whole_weights(directory)


def read_adapter(directory: Path, *, needs_weights: bool) -> Adapter:
    """The adapter in `directory`; CheckpointError for one that is not LoRA, or that lacks its weights."""
    source = directory / ADAPTER_CONFIG
    config = read_json_object(source)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{source}: peft_type: expected LORA, got {kind!r}. To run it, {MERGE_ADVICE}.")
    pattern, base = config.get("rank_pattern") or {}, config.get("base_model_name_or_path")
    if not isinstance(pattern, dict):
        raise CheckpointError(f"{source}: rank_pattern: expected an object, got {pattern!r}. Copy it anew.")
    if not isinstance(base, str | None):
        raise CheckpointError(
            f"{source}: base_model_name_or_path: expected a text, got {base!r}. Copy it anew, or give the"
            " base model with --base-checkpoint."
        )
    ranks = [config.get("r"), *pattern.values()]
    for rank in ranks:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise CheckpointError(f"{source}: r: expected whole numbers above 0, got {rank!r}. Copy it anew.")
    return Adapter(directory, config, _find_weights(directory) if needs_weights else None)


def vllm_objection(adapter: Adapter) -> str | None:
    """Why vLLM's own LoRA does not run this adapter, or would leave something of it out; None if it runs."""
    if adapter.rank > MAX_LORA_RANKS[-1]:
        return f"vLLM's LoRA takes ranks up to {MAX_LORA_RANKS[-1]}, and this one has {adapter.rank}"
    for name, harmless in _NOT_IN_VLLM.items():
        value = adapter.config.get(name)
        if value is not None and value not in harmless:
            return f"vLLM's LoRA does not have {name}: {value!r}"
    whole = [name for name in _tensor_names(adapter) if "lora_" not in name]
    if whole:
        return f"vLLM's LoRA leaves out whole tensors, and this one has {len(whole)}, such as {whole[0]}"
    return None


def max_lora_rank(rank: int) -> int:
    """The least max_lora_rank of vLLM that holds `rank`."""
    return next(limit for limit in MAX_LORA_RANKS if limit >= rank)


def _find_weights(directory: Path) -> Path:
    file = next((directory / name for name in ADAPTER_WEIGHTS if (directory / name).is_file()), None)
    if file is None:
        raise CheckpointError(
            f"{directory}: adapter weights: found no {' or '.join(ADAPTER_WEIGHTS)}. Copy the file there."
        )
    refuse_lfs_pointer(file, "adapter weights")
    if file.suffix == ".safetensors":
        check_safetensors(file)
    elif not _has_pickle(file):
        raise CheckpointError(f"{file}: adapter weights: not what torch.save writes. Save it as safetensors.")
    return file


def _has_pickle(file: Path) -> bool:
    """Whether it is what torch.save writes: an archive with a pickle."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith(PICKLE) for name in archive.namelist())


def _tensor_names(adapter: Adapter) -> list[str]:
    if adapter.weights is None:
        return []
    if adapter.weights.suffix == ".safetensors":
        return sorted(read_safetensors_header(adapter.weights))
    return sorted(_pickled_names(adapter.weights))


def _pickled_names(file: Path) -> Iterator[str]:
    """Names of tensors in what torch.save wrote, from its pickle, which is read and never run."""
    with zipfile.ZipFile(file) as archive:
        pickle = next(name for name in archive.namelist() if name.endswith(PICKLE))
        for _, value, _ in pickletools.genops(archive.read(pickle)):
            if isinstance(value, str) and value.startswith("base_model."):
                yield value
