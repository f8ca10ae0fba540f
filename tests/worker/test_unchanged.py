"""A task refuses to mix what another code, checkpoint or prompt file makes."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from launch.errors import CheckpointError
from launch.rundir.identity import settings_digest
from launch.rundir.layout import RunPaths
from launch.rundir.records import CodeVersion, load_run, load_submission
from launch.worker.unchanged import ChangedError, check_unchanged
from tests.models import make_tiny_llama, make_tiny_lora
from tests.worker.build_run import build_run


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A run of which nothing has changed."""
    made = build_run(tmp_path)
    check(made)
    return made


def check(run: RunPaths) -> None:
    """The check as a task makes it."""
    check_unchanged(run, load_run(run), load_submission(run, 1))


def checkpoint(run: RunPaths) -> Path:
    """The run's checkpoint directory."""
    return Path(load_run(run).checkpoint.path)


def test_other_code(run: RunPaths):
    sent = load_submission(run, 1)
    sent = sent.model_copy(update={"code": CodeVersion(version="0.0.9", digest="0123456789abcdef" * 2)})
    with pytest.raises(
        ChangedError, match=r"submitted: 0\.0\.9 0123456789ab -> 0\.1\.0 \w{12}\. Send the rest"
    ):
        check_unchanged(run, load_run(run), sent)


def test_a_setting_of_the_checkpoint(run: RunPaths):
    (checkpoint(run) / "generation_config.json").write_text('{"eos_token_id": 3}')
    with pytest.raises(
        ChangedError, match=r"\w{12} -> \w{12} \(generation_config\.json: \w{12} -> \w{12}\)\. Rest"
    ):
        check(run)


def test_other_weights(run: RunPaths):
    weights = checkpoint(run) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ChangedError, match=r"\(model\.safetensors: \w+ -> \w+\)"):
        check(run)


def test_many_files_are_counted_after_the_first_three(run: RunPaths):
    for name in ("generation_config.json", "tokenizer_config.json"):
        (checkpoint(run) / name).write_text("{}")
    for name in ("chat_template.jinja", "tokenizer.json"):
        with (checkpoint(run) / name).open("a") as file:
            file.write("\n")
    with pytest.raises(ChangedError, match=r"and 1 more\)"):
        check(run)


def test_a_file_that_is_gone(run: RunPaths):
    (checkpoint(run) / "chat_template.jinja").unlink()
    with pytest.raises(ChangedError, match=r"\(chat_template\.jinja: \w{12} -> absent\)"):
        check(run)


def test_a_prompt_file(run: RunPaths):
    with next(run.templates.glob("*.j2")).open("a") as template:
        template.write("more")
    with pytest.raises(ChangedError, match=r"templates: the run's prompt files changed: \w{12} -> \w{12}\."):
        check(run)


def test_an_adapter_that_was_trained_on(tmp_path: Path):
    base = make_tiny_llama(tmp_path / "base", num_layers=1)
    adapter = make_tiny_lora(tmp_path / "lora", base)
    run = build_run(tmp_path, model={"checkpoint": adapter})
    check(run)
    make_tiny_lora(adapter, base, seed=2)
    with pytest.raises(ChangedError) as caught:
        check(run)
    assert str(caught.value).startswith(f"{adapter}: the checkpoint changed since the run was planned: ")
    assert re.search(r"\(adapter/adapter_model\.safetensors: \w{12} -> \w{12}\)", str(caught.value))


def test_a_tokenizer_elsewhere_that_changed(tmp_path: Path):
    tokenizer = make_tiny_llama(tmp_path / "base", num_layers=1)
    run = build_run(tmp_path, model={"tokenizer": tokenizer})
    check(run)
    (tokenizer / "chat_template.jinja").unlink()
    with pytest.raises(ChangedError, match=r"\(tokenizer/chat_template\.jinja: \w{12} -> absent\)"):
        check(run)


def test_a_tokenizer_that_an_adapter_got_since_is_not_taken(tmp_path: Path):
    base = make_tiny_llama(tmp_path / "base", num_layers=1)
    adapter = make_tiny_lora(tmp_path / "lora", base)
    run = build_run(tmp_path, model={"checkpoint": adapter})
    shutil.copy(base / "tokenizer.json", adapter)
    check(run)


def test_a_run_from_before_adapters_and_tokenizers_were_recorded(run: RunPaths):
    record = yaml.safe_load(run.run_yaml.read_text())
    digest = settings_digest(load_run(run))
    for name in ("adapter", "adapter_rank", "tokenizer", "hub_id"):
        del record["checkpoint"][name]
    for name in ("base_checkpoint", "tokenizer"):
        del record["model"][name]
    run.run_yaml.write_text(yaml.safe_dump(record))
    check(run)
    assert settings_digest(load_run(run)) == digest


def test_a_checkpoint_that_is_gone(run: RunPaths):
    shutil.rmtree(checkpoint(run))
    with pytest.raises(CheckpointError, match="there is no such directory"):
        check(run)
