"""What a checkpoint directory is, and one clear line for each thing it may lack."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.smollm2 import write_safetensors
from launch.errors import CheckpointError
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.fingerprint import BLOCK_BYTES
from launch.model.hub import hub_cache
from tests.models import make_tiny_llama


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A whole checkpoint in a path that wants quoting."""
    return make_tiny_llama(tmp_path / "a 'tiny' llama")


def edit_json(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def refusal(path: Path) -> str:
    """The message that refuses `path`, which is one line, with the path replaced by CKPT."""
    with pytest.raises(CheckpointError) as caught:
        inspect_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), "CKPT")


def changed(before: Checkpoint, after: Checkpoint) -> set[str]:
    """Names of the files that are new, gone or of another digest."""
    assert (before.digest == after.digest) == (before.files == after.files)
    return {name for name, _ in before.files.items() ^ after.files.items()}


def shard(directory: Path, *names: str) -> None:
    """Puts an index and shards in place of model.safetensors."""
    (directory / "model.safetensors").unlink()
    for place, name in enumerate(names):
        write_safetensors(directory / name, {f"t{place}": np.zeros(8, np.uint16)})
    index = {"metadata": {}, "weight_map": {f"t{place}": name for place, name in enumerate(names)}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_whole_checkpoint(tiny: Path) -> None:
    seen = inspect_checkpoint(tiny)
    assert (seen.path, seen.architecture) == (tiny, "LlamaForCausalLM")
    assert seen.num_weight_bytes == (tiny / "model.safetensors").stat().st_size
    assert seen.eos_token_ids == (2,)
    assert seen.has_tokenizer_json
    assert seen.config["num_attention_heads"] == 8
    assert len(seen.digest) == 32
    assert seen.files.keys() >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_the_same_checkpoint_elsewhere_has_the_same_digest(tiny: Path, tmp_path: Path) -> None:
    assert inspect_checkpoint(make_tiny_llama(tmp_path / "again")).digest == inspect_checkpoint(tiny).digest


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_one_byte_of_a_small_file_changes_the_digest(tiny: Path, name: str) -> None:
    before = inspect_checkpoint(tiny)
    (tiny / name).write_bytes((tiny / name).read_bytes() + b"\n")
    after = inspect_checkpoint(tiny)
    assert changed(before, after) == {name}


def test_remote_code_and_new_or_lost_files_change_the_digest_and_notes_do_not(tiny: Path) -> None:
    before = inspect_checkpoint(tiny)
    (tiny / "README.md").write_text("notes")
    assert inspect_checkpoint(tiny).digest == before.digest
    (tiny / "modeling_tiny.py").write_text("x = 1")
    (tiny / "generation_config.json").unlink()
    assert changed(before, inspect_checkpoint(tiny)) == {"generation_config.json", "modeling_tiny.py"}


@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_one_byte_in_a_sampled_block_of_the_weights_changes_the_digest(tiny: Path, place: str) -> None:
    weights = tiny / "model.safetensors"
    write_safetensors(weights, {"t": np.zeros(4 * BLOCK_BYTES, np.uint16)})
    before = inspect_checkpoint(tiny)
    size = weights.stat().st_size
    with weights.open("r+b") as handle:
        handle.seek({"start": BLOCK_BYTES - 1, "middle": size // 2, "end": size - 1}[place])
        handle.write(b"\x01")
    after = inspect_checkpoint(tiny)
    assert changed(before, after) == {"model.safetensors"}


def test_a_header_longer_than_a_block_is_read_to_its_end(tiny: Path) -> None:
    digests = set()
    for name in ("t", "u"):
        body = bytes(4 * BLOCK_BYTES)
        header = json.dumps({name: {"dtype": "U8", "shape": [len(body)], "data_offsets": [0, len(body)]}})
        padded = header.rjust(BLOCK_BYTES + 4096).encode()
        (tiny / "model.safetensors").write_bytes(len(padded).to_bytes(8, "little") + padded + body)
        digests.add(inspect_checkpoint(tiny).digest)
    assert len(digests) == 2


def test_weights_between_the_blocks_are_not_read_and_the_size_is(tiny: Path) -> None:
    weights = tiny / "model.safetensors"
    write_safetensors(weights, {"t": np.zeros(8 * BLOCK_BYTES, np.uint16)})
    before = inspect_checkpoint(tiny).digest
    with weights.open("r+b") as handle:
        handle.seek(3 * BLOCK_BYTES)
        handle.write(b"\x01")
    assert inspect_checkpoint(tiny).digest == before  # as documented in launch.model.fingerprint
    write_safetensors(weights, {"t": np.zeros(8 * BLOCK_BYTES + 1, np.uint16)})
    assert inspect_checkpoint(tiny).digest != before


def test_sixteen_gigabytes_take_less_than_two_seconds(tiny: Path) -> None:
    names = [f"model-0000{place}-of-00004.safetensors" for place in range(1, 5)]
    shard(tiny, *names)
    for place, name in enumerate(names):
        tensor = {"dtype": "U8", "shape": [4 * 10**9], "data_offsets": [0, 4 * 10**9]}
        header = json.dumps({f"t{place}": tensor})
        with (tiny / name).open("wb") as handle:  # sparse: 16 GB that take no room
            handle.write(len(header).to_bytes(8, "little") + header.encode())
            handle.truncate(8 + len(header) + 4 * 10**9)
    start = time.monotonic()
    seen = inspect_checkpoint(tiny)
    assert time.monotonic() - start < 2
    assert seen.num_weight_bytes > 16 * 10**9


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [2, 5, 2]}, {}, (2, 5)),
        ({"eos_token_id": 7}, {"eos_token_id": 3}, (7,)),
        ({"eos_token_id": None}, {"eos_token_id": [3, 4]}, (3, 4)),
        ({"eos_token_id": None}, {"eos_token_id": None, "text_config": {"eos_token_id": 9}}, (9,)),
        ({"eos_token_id": None}, {"eos_token_id": None}, ()),
    ],
)
def test_end_of_sequence_ids(tiny: Path, generation: Any, config: Any, expected: tuple[int, ...]) -> None:
    edit_json(tiny / "generation_config.json", **generation)
    edit_json(tiny / "config.json", **config)
    assert inspect_checkpoint(tiny).eos_token_ids == expected


def test_no_architecture_is_allowed_and_said(tiny: Path) -> None:
    edit_json(tiny / "config.json", architectures=None)
    assert inspect_checkpoint(tiny).architecture is None


def test_sharded_weights(tiny: Path) -> None:
    shard(tiny, "model-1.safetensors", "model-2.safetensors")
    (tiny / "unrelated.safetensors").write_bytes(b"")
    seen = inspect_checkpoint(tiny)
    assert "unrelated.safetensors" not in seen.files
    assert seen.num_weight_bytes == 2 * (tiny / "model-1.safetensors").stat().st_size


def test_mistral_copies_and_adapters_beside_the_model_are_not_counted(tiny: Path) -> None:
    only = inspect_checkpoint(tiny).num_weight_bytes
    for name in ("consolidated.safetensors", "adapter_model.safetensors"):
        (tiny / name).write_bytes((tiny / "model.safetensors").read_bytes())
    (tiny / "adapter_config.json").write_text("{}")
    assert inspect_checkpoint(tiny).num_weight_bytes == only


def test_old_bin_weights(tiny: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    (tiny / "training_args.bin").write_bytes(b"x")
    assert "training_args.bin" not in inspect_checkpoint(tiny).files


def test_random_weights_need_no_weight_files(tmp_path: Path) -> None:
    bare = make_tiny_llama(tmp_path / "bare", weights="none")
    assert inspect_checkpoint(bare, needs_weights=False).num_weight_bytes == 0


def test_a_path_that_is_no_directory(tiny: Path, tmp_path: Path) -> None:
    assert (
        refusal(tmp_path / "none") == "CKPT: there is no such directory. Check the path (model.checkpoint)."
    )
    assert refusal(tiny / "config.json") == (
        "CKPT: expected a checkpoint directory, got a file. Give the directory it lies in."
    )


def test_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(Path("org/Name-8B.v1")) == (
        "CKPT: there is no such directory. If it is a Hugging Face hub id, download it first:"
        f" `hf download CKPT`; nodes do not reach the hub. Looked in {hub_cache()} (HF_HUB_CACHE, HF_HOME)."
    )


def test_the_newest_of_several_training_checkpoints_is_named(tmp_path: Path) -> None:
    for name in ("checkpoint-1000", "checkpoint-500"):
        make_tiny_llama(tmp_path / name)
    assert refusal(tmp_path) == (
        "CKPT: config.json: not found here, but in CKPT/checkpoint-1000. Give that directory."
    )


def test_no_config(tiny: Path) -> None:
    parent = tiny.parent
    assert refusal(parent) == (
        f"CKPT: config.json: not found here, but in CKPT/{tiny.name}. Give that directory."
    )
    (tiny / "config.json").unlink()
    assert refusal(tiny) == (
        "CKPT: config.json: not found."
        " Give a directory in Hugging Face form: config.json, weights and tokenizer."
    )
    (tiny / "model.gguf").write_bytes(b"GGUF")
    assert refusal(tiny) == (
        "CKPT: config.json: not found. GGUF files are not supported; give the model in Hugging Face form."
    )


def test_a_damaged_config(tiny: Path) -> None:
    config = tiny / "config.json"
    config.write_text('{\n  "architectures": [\n')
    assert refusal(tiny) == "CKPT/config.json:3: not JSON: Expecting value. Copy the file anew."
    config.write_text("[]")
    assert refusal(tiny) == "CKPT/config.json: expected a JSON object, got list. Copy the file anew."
    config.write_bytes(b'{"a": "\xff"}')
    assert refusal(tiny) == "CKPT/config.json: not JSON in UTF-8. Copy the file anew."
    config.write_text('{"architectures": "LlamaForCausalLM"}')
    assert refusal(tiny) == (
        "CKPT/config.json: architectures: expected a list of names, got 'LlamaForCausalLM'."
    )
    config.write_text('{"architectures": ["LlamaForCausalLM"]}')
    edit_json(tiny / "generation_config.json", eos_token_id="</s>")
    assert refusal(tiny) == (
        "CKPT/generation_config.json: eos_token_id: expected an integer or a list of them, got '</s>'."
    )


def test_no_weights(tmp_path: Path) -> None:
    assert refusal(make_tiny_llama(tmp_path / "bare", weights="none")) == (
        "CKPT: weights: found no *.safetensors, *.bin or *.pt. Copy the weight files there."
    )


def test_git_lfs_pointers(tmp_path: Path) -> None:
    pointer = make_tiny_llama(tmp_path / "pointer", weights="git_lfs_pointer")
    size = len(inspect_whole_weights(tmp_path))
    assert refusal(pointer) == (
        f"CKPT/model.safetensors: weights: this is a Git-LFS pointer of {size / 1e6:.1f} MB, not the file"
        " itself. Run `git lfs pull` in CKPT."
    )
    whole = make_tiny_llama(tmp_path / "whole")
    pointed = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17210000\n"
    (whole / "tokenizer.json").write_text(pointed)
    assert refusal(whole) == (
        "CKPT/tokenizer.json: tokenizer: this is a Git-LFS pointer of 17.2 MB, not the file itself."
        " Run `git lfs pull` in CKPT."
    )


def inspect_whole_weights(tmp_path: Path) -> bytes:
    """The weights that the pointer stands for."""
    return (make_tiny_llama(tmp_path / "for its size") / "model.safetensors").read_bytes()


def test_missing_shards(tiny: Path) -> None:
    shard(tiny, *(f"model-{place}.safetensors" for place in range(1, 7)))
    (tiny / "model-2.safetensors").unlink()
    assert refusal(tiny) == (
        "CKPT: weights: model-2.safetensors of 6 files that model.safetensors.index.json names is missing."
        " Copy the missing files."
    )
    for place in (1, 4, 5):
        (tiny / f"model-{place}.safetensors").unlink()
    assert refusal(tiny) == (
        "CKPT: weights: model-1.safetensors, model-2.safetensors, model-4.safetensors and 1 more of 6 files"
        " that model.safetensors.index.json names are missing. Copy the missing files."
    )
    (tiny / "model.safetensors.index.json").write_text("{}")
    assert refusal(tiny) == (
        "CKPT/model.safetensors.index.json: expected a `weight_map` from tensors to files."
        " Copy the file anew."
    )


def test_weights_that_are_cut_or_damaged(tiny: Path) -> None:
    weights = tiny / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert refusal(tiny) == (
        f"CKPT/model.safetensors: weights: the file is cut short, {len(whole) - 1:,} of at least"
        f" {len(whole):,} bytes. Copy it anew."
    )
    weights.write_bytes(whole + b"xy")
    assert refusal(tiny) == (
        "CKPT/model.safetensors: weights: 2 bytes more than its header says. Copy it anew."
    )
    weights.write_bytes(whole[:100])
    assert "the file is cut short, 100 of at least" in refusal(tiny)
    weights.write_bytes(b"")
    assert refusal(tiny) == "CKPT/model.safetensors: weights: not a safetensors file (0 B). Copy it anew."
    weights.write_bytes(b"<html>not found</html>")
    assert refusal(tiny) == "CKPT/model.safetensors: weights: not a safetensors file (22 B). Copy it anew."
    weights.write_bytes((4).to_bytes(8, "little") + b"nope")
    assert refusal(tiny) == (
        "CKPT/model.safetensors: weights: its safetensors header is damaged. Copy it anew."
    )


@pytest.mark.parametrize(
    "damage",
    [
        {"shape": [1, None]},
        {"shape": ["1"]},
        {"data_offsets": [None, 4]},
        {"data_offsets": [4]},
        {"dtype": 1},
    ],
)
def test_a_header_that_is_json_and_no_header(tiny: Path, damage: dict[str, Any]) -> None:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **damage}
    header = json.dumps({"a": tensor}).encode()
    (tiny / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    assert refusal(tiny) == (
        "CKPT/model.safetensors: weights: its safetensors header is damaged. Copy it anew."
    )


def test_no_tokenizer_and_its_other_forms(tmp_path: Path) -> None:
    bare = make_tiny_llama(tmp_path / "bare", tokenizer=False)
    message = (
        "CKPT: tokenizer: found none of tokenizer.json, tokenizer.model, vocab.json with merges.txt,"
        " tekken.json. Give the base model's directory with --tokenizer, or copy its tokenizer there."
    )
    assert refusal(bare) == message
    (bare / "vocab.json").write_text("{}")
    assert refusal(bare) == message
    (bare / "merges.txt").write_text("#version: 0.2")
    assert not inspect_checkpoint(bare).has_tokenizer_json
    for name in ("tokenizer.model", "tekken.json"):
        other = make_tiny_llama(tmp_path / name, tokenizer=False)
        (other / name).write_bytes(b"x" * 2000)
        assert name in inspect_checkpoint(other).files


def test_a_link_to_a_blob_that_was_not_copied(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    (tiny / "model.safetensors").symlink_to("../blobs/ab12")
    assert refusal(tiny) == (
        "CKPT/model.safetensors: links to ../blobs/ab12, which does not exist."
        " Copy the checkpoint with `cp -rL`, which copies what links point to."
    )


def test_a_file_that_the_system_refuses_to_read(tiny: Path) -> None:
    (tiny / "config.json").unlink()
    # A regular file whose first byte cannot be read, by root neither.
    (tiny / "config.json").symlink_to("/proc/self/mem")
    assert refusal(tiny) == "CKPT: cannot be read: Input/output error. Look at its permissions and its disk."


def test_a_config_that_is_no_file(tiny: Path) -> None:
    (tiny / "config.json").unlink()
    os.mkfifo(tiny / "config.json")
    assert "config.json: not found" in refusal(tiny)
