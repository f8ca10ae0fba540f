"""A task refuses to mix what another code, checkpoint or prompt file makes."""

import shutil
from pathlib import Path

import pytest

from launch.errors import CheckpointError
from launch.rundir.layout import RunPaths
from launch.rundir.records import CodeVersion, load_run, load_submission
from launch.worker.unchanged import ChangedError, check_unchanged
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


def test_a_checkpoint_that_is_gone(run: RunPaths):
    shutil.rmtree(checkpoint(run))
    with pytest.raises(CheckpointError, match="is not a directory"):
        check(run)
