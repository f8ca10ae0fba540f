"""Where the parts of a checkpoint lie: directories, adapters and bases, hub ids, tokenizers elsewhere."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from launch.errors import CheckpointError
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.hub import find_snapshot, is_hub_id
from tests.models import make_tiny_llama, make_tiny_lora, put_in_hub_cache

HUB_ID = "lab/tiny-llama.v1"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "base", num_layers=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, which huggingface_hub takes for the user's (it reads the variable on import)."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        inspect_checkpoint(path, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def drop_tokenizer(directory: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (directory / name).unlink()
    return directory


def copy_tokenizer(base: Path, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / name, directory)
    return directory


def parts(seen: Checkpoint) -> tuple[Path, Path | None, Path]:
    return seen.path, seen.adapter.path if seen.adapter else None, seen.tokenizer_dir


@pytest.mark.parametrize("where", ["absolute", "beside the adapter", "in the current directory"])
def test_the_base_that_an_adapter_names(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    names = {"absolute": str(base), "beside the adapter": "../base", "in the current directory": "base"}
    adapter = make_tiny_lora(tmp_path / "lora", base, base_name=names[where])
    monkeypatch.chdir(tmp_path if where == "in the current directory" else "/")
    seen = inspect_checkpoint(adapter)
    assert (seen.path.resolve(), seen.root, seen.tokenizer_dir) == (base, adapter, seen.path)
    assert seen.adapter and seen.adapter.rank == 8
    assert seen.num_weight_bytes == (base / "model.safetensors").stat().st_size
    assert seen.files.keys() >= {
        "config.json",
        "model.safetensors",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }
    assert seen.notes == (f"LoRA adapter {adapter}, rank 8, over the base model {seen.path}",)


@pytest.mark.parametrize("elsewhere", ["/cluster/models/base", "~nobody.here/base"])
def test_a_base_that_was_elsewhere_when_it_was_trained(base: Path, tmp_path: Path, elsewhere: str) -> None:
    adapter = make_tiny_lora(tmp_path / "lora", base, base_name=elsewhere)
    assert refusal(adapter) == (
        f"{adapter}/adapter_config.json: base_model_name_or_path: {elsewhere} is no directory here."
        " Give the base model with --base-checkpoint."
    )
    assert parts(inspect_checkpoint(adapter, base=base)) == (base, adapter, base)
    make_tiny_lora(adapter, base, base_model_name_or_path=None)
    assert refusal(adapter) == (
        f"{adapter}/adapter_config.json: base_model_name_or_path: not set."
        " Give the base model with --base-checkpoint."
    )


def test_a_base_checkpoint_of_what_is_no_adapter(base: Path) -> None:
    assert refusal(base, base=base) == (
        f"--base-checkpoint: {base} is not a LoRA adapter and has no base. Leave it out."
    )


def test_an_adapter_over_an_adapter(base: Path, tmp_path: Path) -> None:
    first = make_tiny_lora(tmp_path / "first", base)
    second = make_tiny_lora(tmp_path / "second", base, base_name=str(first))
    assert refusal(second) == (
        f"{second}: its base {first} is a LoRA adapter, too. Take that one and merge it into its base first"
        " (peft: `merge_and_unload`, then `save_pretrained`)."
    )


def test_the_digest_holds_adapter_and_base(base: Path, tmp_path: Path) -> None:
    adapter = make_tiny_lora(tmp_path / "lora", base)
    first = inspect_checkpoint(adapter)
    make_tiny_lora(adapter, base, seed=2)
    second = inspect_checkpoint(adapter)
    changed = {name for name, _ in first.files.items() ^ second.files.items()}
    assert changed == {"adapter/adapter_model.safetensors"}
    assert len({first.digest, second.digest, inspect_checkpoint(base).digest}) == 3


def test_an_adapters_own_tokenizer_comes_first_and_is_said(base: Path, tmp_path: Path) -> None:
    adapter = copy_tokenizer(base, make_tiny_lora(tmp_path / "lora", base))
    seen = inspect_checkpoint(adapter)
    assert seen.tokenizer_dir == adapter
    assert "tokenizer/tokenizer.json" in seen.files
    assert seen.notes[-1] == (
        f"tokenizer and chat template are the adapter's own, not its base model's: {adapter}"
    )
    assert inspect_checkpoint(adapter, tokenizer=base).tokenizer_dir == base


def test_a_tokenizer_elsewhere(base: Path, tmp_path: Path) -> None:
    trained = drop_tokenizer(make_tiny_llama(tmp_path / "trained", num_layers=1, seed=1))
    before = inspect_checkpoint(trained, tokenizer=base)
    assert parts(before) == (trained, None, base)
    assert before.has_tokenizer_json
    assert before.notes == (f"tokenizer and chat template of {base}, as asked for",)
    (base / "chat_template.jinja").write_text("other")
    after = inspect_checkpoint(trained, tokenizer=base)
    assert {name for name, _ in before.files.items() ^ after.files.items()} == {
        "tokenizer/chat_template.jinja"
    }
    (base / "tokenizer.json").unlink()
    assert refusal(trained, tokenizer=base).startswith(f"{base}: tokenizer: found none of tokenizer.json")


def test_the_own_tokenizer_asked_for_is_no_other_checkpoint(base: Path) -> None:
    own, asked = inspect_checkpoint(base), inspect_checkpoint(base, tokenizer=base)
    assert (own.digest, own.notes) == (asked.digest, asked.notes)


def test_a_tokenizer_in_the_parent_directory_is_named(base: Path, tmp_path: Path) -> None:
    output = copy_tokenizer(base, tmp_path / "output")
    trained = drop_tokenizer(make_tiny_llama(output / "checkpoint-500", num_layers=1))
    assert refusal(trained) == (
        f"{trained}: tokenizer: found none of tokenizer.json, tokenizer.model, vocab.json with merges.txt,"
        f" tekken.json. {output} has one: give `--tokenizer {output}`."
    )


def test_a_hub_id_in_the_cache(base: Path, cache: Path) -> None:
    snapshot = put_in_hub_cache(cache, base, HUB_ID)
    seen = inspect_checkpoint(Path(HUB_ID))
    assert (seen.path, seen.hub_id, seen.digest) == (snapshot, HUB_ID, inspect_checkpoint(base).digest)
    assert seen.notes == (f"model.checkpoint: {HUB_ID} is {snapshot} in the Hugging Face cache",)
    by_commit = inspect_checkpoint(Path(f"{HUB_ID}@{snapshot.name}"))
    assert (by_commit.path, by_commit.hub_id) == (snapshot, f"{HUB_ID}@{snapshot.name}")


def test_a_revision_of_a_hub_id(base: Path, cache: Path) -> None:
    main = put_in_hub_cache(cache, base, HUB_ID)
    other = put_in_hub_cache(cache, base, HUB_ID, "v2.0")
    assert find_snapshot(HUB_ID) == main
    assert find_snapshot(f"{HUB_ID}@v2.0") == other
    assert find_snapshot(f"{HUB_ID}@v3") is None
    assert refusal(Path(f"{HUB_ID}@v3")) == (
        f"{HUB_ID}@v3: there is no such directory. If it is a Hugging Face hub id, download it first:"
        f" `hf download {HUB_ID} --revision v3`; nodes do not reach the hub. Looked in {cache}"
        " (HF_HUB_CACHE, HF_HOME)."
    )


def test_a_directory_of_that_name_comes_first(
    base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_hub_cache(cache, base, "lab/model")
    here = make_tiny_llama(base.parent / "lab" / "model", num_layers=1)
    monkeypatch.chdir(base.parent)
    seen = inspect_checkpoint(Path("lab/model"))
    assert (seen.path, seen.hub_id) == (here, None)


def test_an_adapter_whose_base_is_a_hub_id(base: Path, cache: Path, tmp_path: Path) -> None:
    adapter = make_tiny_lora(tmp_path / "lora", base, base_name=HUB_ID)
    assert refusal(adapter) == (
        f"{adapter}/adapter_config.json: base_model_name_or_path: {HUB_ID} is no directory here, and not in"
        f" {cache} (HF_HUB_CACHE, HF_HOME). Give the base model with --base-checkpoint."
    )
    snapshot = put_in_hub_cache(cache, base, HUB_ID)
    seen = inspect_checkpoint(adapter)
    assert (seen.path, seen.hub_id) == (snapshot, None)
    assert seen.notes[0] == f"base model: {HUB_ID} is {snapshot} in the Hugging Face cache"
    revised = put_in_hub_cache(cache, base, HUB_ID, "trained-on")
    make_tiny_lora(adapter, base, base_name=HUB_ID, revision="trained-on")
    assert inspect_checkpoint(adapter).path == revised


def test_an_adapter_and_a_tokenizer_may_be_hub_ids(base: Path, cache: Path, tmp_path: Path) -> None:
    adapter = put_in_hub_cache(cache, make_tiny_lora(tmp_path / "lora", base), "lab/lora")
    tokenizer = put_in_hub_cache(cache, base, HUB_ID)
    seen = inspect_checkpoint(Path("lab/lora"), tokenizer=Path(HUB_ID))
    assert (parts(seen), seen.hub_id) == ((base, adapter, tokenizer), "lab/lora")


def test_a_download_that_was_cut(base: Path, cache: Path) -> None:
    snapshot = put_in_hub_cache(cache, base, HUB_ID)
    (snapshot / "model.safetensors").resolve().unlink()
    assert refusal(Path(HUB_ID)).startswith(f"{snapshot}/model.safetensors: links to ../../blobs/")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", True),
        ("org/name@refs/pr/1", True),
        ("org/name/more", False),
        ("/org/name", False),
        ("../name", False),
        ("name", False),
        ("a/b", True),
        ("models/models--org--name", False),
        ("org/a..b", False),
        ("org/name.git", False),
        ("org/name-", False),
        ("org./name", False),
        ("组织/名称", False),
        (f"org/{'n' * 96}@main", True),
        (f"org/{'n' * 97}", False),
    ],
)
def test_what_is_written_like_a_hub_id(text: str, expected: bool) -> None:
    assert is_hub_id(text) is expected
    if expected:
        assert find_snapshot(text, cache=Path("/nowhere")) is None  # huggingface_hub takes it for an id, too


def test_a_path_that_looks_like_a_hub_id_to_us_alone() -> None:
    assert refusal(Path("models/models--org--name")) == (
        "models/models--org--name: there is no such directory. Check the path (model.checkpoint)."
    )


def test_no_lora(base: Path, tmp_path: Path) -> None:
    adapter = make_tiny_lora(tmp_path / "lora", base, peft_type="IA3")
    assert refusal(adapter) == (
        f"{adapter}/adapter_config.json: peft_type: expected LORA, got 'IA3'. To run it, merge it into its"
        " base first (peft: `merge_and_unload`, then `save_pretrained`)."
    )
    make_tiny_lora(adapter, base, rank_pattern={"q_proj": 0})
    assert refusal(adapter) == (
        f"{adapter}/adapter_config.json: r: expected whole numbers above 0, got 0. Copy it anew."
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank_pattern": [4]}, "rank_pattern: expected an object, got [4]. Copy it anew."),
        ({"base_model_name_or_path": ["a"]}, "base_model_name_or_path: expected a text, got ['a']. Copy it"),
    ],
)
def test_an_adapter_config_of_other_types(
    base: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    adapter = make_tiny_lora(tmp_path / "lora", base, **settings)
    assert f"{adapter}/adapter_config.json: {message}" in refusal(adapter)


def test_adapter_weights_that_lack_or_are_damaged(base: Path, tmp_path: Path) -> None:
    adapter = make_tiny_lora(tmp_path / "lora", base)
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "the file is cut short" in refusal(adapter)
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17210000\n")
    assert refusal(adapter) == (
        f"{weights}: adapter weights: this is a Git-LFS pointer of 17.2 MB, not the file itself."
        f" Run `git lfs pull` in {adapter}."
    )
    weights.unlink()
    assert refusal(adapter) == (
        f"{adapter}: adapter weights: found no adapter_model.safetensors or adapter_model.bin."
        " Copy the file there."
    )
    (adapter / "adapter_model.bin").write_bytes(b"no archive" * 200)
    assert refusal(adapter) == (
        f"{adapter}/adapter_model.bin: adapter weights: not what torch.save writes. Save it as safetensors."
    )
    with zipfile.ZipFile(adapter / "adapter_model.bin", "w") as archive:
        archive.writestr("notes.txt", "no pickle")
    assert "adapter weights: not what torch.save writes" in refusal(adapter)


def test_a_base_that_is_no_model(base: Path, tmp_path: Path) -> None:
    adapter = make_tiny_lora(tmp_path / "lora", base)
    (base / "config.json").unlink()
    assert refusal(adapter).startswith(f"{base}: config.json: not found.")


def test_a_training_checkpoint_of_an_adapter(base: Path, tmp_path: Path) -> None:
    adapter = make_tiny_lora(tmp_path / "checkpoint-500", base)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (adapter / name).write_bytes(b"{}")
    seen = inspect_checkpoint(adapter)
    assert seen.adapter is not None
    assert not [name for name in seen.files if "optimizer" in name or "train" in name]
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == seen.adapter.rank
