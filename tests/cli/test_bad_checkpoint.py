"""Bad checkpoints: refused by submit and by prompts before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.model.hub import hub_cache
from tests.cli.commands import submit_words
from tests.cli.refusals import refusal
from tests.models import make_tiny_llama

NO_TOKENIZER = (
    "HERE/model: tokenizer: found none of tokenizer.json, tokenizer.model, vocab.json with merges.txt,"
    " tekken.json. Give the base model's directory with --tokenizer, or copy its tokenizer there."
)


def remove(name: str) -> Callable[[Path], None]:
    return lambda model: (model / name).unlink()


def cut_short(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def name_missing_shards(model: Path) -> None:
    names = {"a": "model-1.safetensors", "b": "model.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def point_the_tokenizer_to_lfs(model: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2104556\n"
    (model / "tokenizer.json").write_text(text)


def break_config(model: Path) -> None:
    (model / "config.json").write_text('{\n "architectures": [\n}')


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (
        remove("config.json"),
        "HERE/model: config.json: not found. Give a directory in Hugging Face form: config.json, weights and"
        " tokenizer.",
    ),
    (break_config, "HERE/model/config.json:3: not JSON: Expecting value. Copy the file anew."),
    (
        remove("model.safetensors"),
        "HERE/model: weights: found no *.safetensors, *.bin or *.pt. Copy the weight files there.",
    ),
    (
        cut_short,
        "HERE/model/model.safetensors: weights: the file is cut short, 3,018,448 of at least 3,019,448 bytes."
        " Copy it anew.",
    ),
    (
        name_missing_shards,
        "HERE/model: weights: model-1.safetensors of 2 files that model.safetensors.index.json names is"
        " missing. Copy the missing files.",
    ),
    (remove("tokenizer.json"), NO_TOKENIZER),
    (
        point_the_tokenizer_to_lfs,
        "HERE/model/tokenizer.json: tokenizer: this is a Git-LFS pointer of 2.1 MB, not the file itself."
        " Run `git lfs pull` in HERE/model.",
    ),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_a_broken_checkpoint(tmp_path: Path, scenario: Path, damage: Callable[[Path], None], message: str):
    model = make_tiny_llama(tmp_path / "model")
    damage(model)
    assert refusal(tmp_path, *submit_words(model, scenario)) == message
    assert refusal(tmp_path, "check-model", model) == message
    # Before the Python is looked for, which is not there.
    quantize = ("quantize", model, "out", "--scheme", "fp8", "--quantizer-python", "nowhere")
    assert refusal(tmp_path, *quantize, "--scenario-path", scenario) == message


def test_a_git_lfs_pointer_for_weights(tmp_path: Path, scenario: Path):
    model = make_tiny_llama(tmp_path / "model", weights="git_lfs_pointer")
    assert refusal(tmp_path, *submit_words(model, scenario)) == (
        "HERE/model/model.safetensors: weights: this is a Git-LFS pointer of 3.0 MB, not the file itself."
        " Run `git lfs pull` in HERE/model."
    )


TEMPLATE = "HERE/model/chat_template.jinja"
CONFIG = "HERE/model/tokenizer_config.json"
ANOTHER = "Mend it, or take another one for chat_template.jinja."
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2104556\n"
# What each file of a chat template holds, and what is said of it.
BAD_TEMPLATES = [
    (
        {"chat_template.jinja": b"{{ bos_token }}\n{% if messages %}"},
        f"{TEMPLATE}:2: chat template: Unexpected end of template. Jinja was looking for the following tags:"
        " 'elif' or 'else' or 'endif'. The innermost block that needs to be closed is 'if'. " + ANOTHER,
    ),
    (
        {"tokenizer_config.json": b'{"chat_template": "{{ messages | shout }}"}'},
        f"{CONFIG}: chat_template, line 1: No filter named 'shout'. {ANOTHER}",
    ),
    ({"chat_template.jinja": b"\xff\xfe"}, f"{TEMPLATE}: chat template: not UTF-8 text. Copy the file anew."),
    (
        {"chat_template.jinja": LFS_POINTER},
        f"{TEMPLATE}: chat template: this is a Git-LFS pointer of 2.1 MB, not the file itself. Run `git lfs"
        " pull` in HERE/model.",
    ),
    (
        {"chat_template.jinja": b"{{ 1 // 0 }}"},
        "chat template: it refuses a conversation (integer division or modulo by zero), even with user and"
        " assistant in turn. Give the checkpoint another chat_template.jinja, or remove it for plain text.",
    ),
    (
        {"tokenizer_config.json": b'{"chat_template": [1, {"name": "tools"}]}'},
        f"{CONFIG}: chat_template has tools but no `default`. Put the one to use into chat_template.jinja.",
    ),
    (
        {"tokenizer_config.json": b'{"chat_template": 7}'},
        f"{CONFIG}: chat_template: expected text. Copy the file anew.",
    ),
    (
        {"tokenizer_config.json": b"[]"},
        f"{CONFIG}: expected a JSON object, got list. Copy the file anew.",
    ),
    (
        {"special_tokens_map.json": b"{"},
        "HERE/model/special_tokens_map.json:1: not JSON: Expecting property name enclosed in double quotes."
        " Copy the file anew.",
    ),
]


@pytest.mark.parametrize(("files", "message"), BAD_TEMPLATES)
def test_a_chat_template_that_cannot_be_used(
    tmp_path: Path, scenario: Path, files: dict[str, bytes], message: str
):
    model = make_tiny_llama(tmp_path / "model", weights="none")
    if "tokenizer_config.json" in files:
        (model / "chat_template.jinja").unlink()
    for name, content in files.items():
        (model / name).write_bytes(content)
    words = ["--preset", "quick_test", "--engine", "stub", "--checkpoint", model, "--scenario-path", scenario]
    assert refusal(tmp_path, "prompts", *words) == message
    assert refusal(tmp_path, "submit", *words, "--load-format", "dummy") == message


def test_no_checkpoint(tmp_path: Path, scenario: Path):
    assert refusal(tmp_path, *submit_words(Path("nowhere"), scenario)) == (
        "nowhere: there is no such directory. Check the path (model.checkpoint)."
    )
    assert refusal(tmp_path, *submit_words(tmp_path / "no" / "where", scenario)) == (
        "HERE/no/where: there is no such directory. Check the path (model.checkpoint)."
    )
    words = ["submit", "--preset", "quick_test", "--scenario-path", scenario]
    assert refusal(tmp_path, *words) == (
        "--checkpoint: not set; expected a Hugging Face checkpoint directory. Give one."
    )


@pytest.mark.parametrize("command", ["submit", "prompts"])
def test_a_hub_id_instead_of_a_directory(tmp_path: Path, scenario: Path, command: str):
    hub_id = "Qwen/Qwen2.5-7B-Instruct"
    words = ["--preset", "quick_test", "--scenario-path", scenario, "--checkpoint", hub_id]
    assert refusal(tmp_path, command, *words) == (
        f"{hub_id}: there is no such directory. If it is a Hugging Face hub id, download it first:"
        f" `hf download {hub_id}`; nodes do not reach the hub. Looked in {hub_cache()}"
        " (HF_HUB_CACHE, HF_HOME)."
    )
