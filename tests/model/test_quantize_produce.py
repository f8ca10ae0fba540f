"""Making a quantised checkpoint: what is refused, what is copied, and that a failure leaves only its log."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from launch.errors import CheckpointError, ConfigError, QuantizeError, StorageError
from launch.model.checkpoint import inspect_checkpoint
from launch.model.quantize.produce import (
    Quantization,
    copy_companions,
    produce,
    refuse_quantized,
    refuse_taken,
)
from launch.model.quantize.schemes import Scheme
from tests.models import make_tiny_llama
from tests.quantized_models import add_to_config


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A random tiny Llama."""
    return make_tiny_llama(tmp_path / "tiny")


def asked(checkpoint: Path, out: Path) -> Quantization:
    """W8A8 with one prompt."""
    return Quantization(inspect_checkpoint(checkpoint), out, Scheme.W8A8, None, [[1, 5, 6]], False, {})


def test_a_directory_that_holds_anything_is_refused(tmp_path: Path):
    refuse_taken(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    refuse_taken(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for taken in (tmp_path / "full", tmp_path / "full" / "thesis.tex", tmp_path / "link"):
        with pytest.raises(ConfigError, match=r"is there already and is not empty\. Name another"):
            refuse_taken(taken)


def test_a_quantised_checkpoint_is_not_quantised_again(tiny: Path):
    refuse_quantized(inspect_checkpoint(tiny))
    add_to_config(tiny, {"quantization_config": {"quant_method": "awq", "bits": 4}})
    with pytest.raises(CheckpointError, match=r"is quantised already \(awq\)\. Give the checkpoint"):
        refuse_quantized(inspect_checkpoint(tiny))


def test_tokenizer_template_and_licence_are_copied_and_what_speaks_of_the_weights_is_not(
    tmp_path: Path, tiny: Path
):
    copied = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
    others = ("LICENSE", "NOTICE.txt", "modeling_own.py", "additional_chat_templates/tools.jinja")
    left = ("model.safetensors.index.json", "quantize_config.json", "optimizer.pt", "README.md", "train.log")
    for name in (*others, *left):
        (tiny / name).parent.mkdir(exist_ok=True)
        (tiny / name).write_text(name)
    made = tmp_path / "made"
    made.mkdir()
    copy_companions(tiny, made)
    found = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert found == {*copied, *others}
    assert all((made / name).read_bytes() == (tiny / name).read_bytes() for name in found)


def test_a_failure_leaves_nothing_but_its_log(tmp_path: Path, tiny: Path, bare_python: Path):
    out = tmp_path / "new" / "out"
    with pytest.raises(
        QuantizeError, match=r"llm-compressor failed \(exit 1\): ModuleNotFoundError"
    ) as raised:
        produce(asked(tiny, out), bare_python)
    assert [path.name for path in out.parent.iterdir()] == ["out.log"]
    assert str(out.with_name("out.log")) in str(raised.value) and "\n" not in str(raised.value)
    assert "Traceback" in out.with_name("out.log").read_text()


@pytest.mark.parametrize("said", ["No space left on device (os error 28)", "Disk quota exceeded"])
def test_a_disk_that_fills_while_the_weights_are_written_is_said_in_a_line(
    tmp_path: Path, tiny: Path, said: str
):
    full = tmp_path / "python"
    full.write_text(f"#!/bin/sh\necho 'SafetensorError: I/O error: {said}'; exit 1\n")
    full.chmod(0o755)
    with pytest.raises(StorageError, match=r"out: cannot write: the disk is full\. Free space or choose"):
        produce(asked(tiny, tmp_path / "out"), full)
    assert {path.name for path in tmp_path.iterdir()} == {"python", "tiny"}


def test_a_kill_is_told_from_a_failure(tmp_path: Path, tiny: Path):
    # What the kernel does to a process that takes more memory than there is.
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    with pytest.raises(QuantizeError, match=r"failed \(killed by signal 9\): it said nothing"):
        produce(asked(tiny, tmp_path / "out"), killed)


def test_what_the_recipe_is_asked(tmp_path: Path, tiny: Path):
    # The request as it lies beside the recipe's output; `cp` stands where the Python would.
    keeps = tmp_path / "python"
    keeps.write_text(f'#!/bin/sh\ncp "$3" {tmp_path}/request.json; cat prompts.jsonl; pwd; exit 1\n')
    keeps.chmod(0o755)
    with pytest.raises(QuantizeError):
        produce(asked(tiny, tmp_path / "out"), keeps)
    request = json.loads((tmp_path / "request.json").read_text())
    prompts, folder = (tmp_path / "out.log").read_text().splitlines()
    assert json.loads(prompts) == [1, 5, 6]
    assert Path(folder).parent == tmp_path and not Path(folder).exists()
    assert request == {
        "checkpoint": str(tiny),
        "out": f"{folder}/checkpoint",
        "scheme": "w8a8",
        "group_size": None,
        "prompts": f"{folder}/prompts.jsonl",
        "trust_remote_code": False,
        "answer": f"{folder}/answer.json",
    }


def test_the_result_is_on_the_disk_before_it_has_its_name_and_can_be_read(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    result = make_tiny_llama(tmp_path / "result")
    add_to_config(result, {"quantization_config": {"quant_method": "compressed-tensors"}})
    (tiny / "additional_chat_templates").mkdir()
    (tiny / "additional_chat_templates" / "tools.jinja").write_text("tools")
    out = tmp_path / "out"
    synced: list[tuple[int, bool]] = []  # inode, and whether `out` had its name by then
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, out.exists()))

    monkeypatch.setattr(os, "fsync", watched)
    produce(asked(tiny, out), _copying(tmp_path, result))
    whole = {path.stat().st_ino for path in (out, *out.rglob("*"))}
    assert len(whole) == 10
    assert whole == {inode for inode, named in synced if not named}
    assert synced[-1] == (tmp_path.stat().st_ino, True)
    # Files can be read by whoever can read the original's; a folder can still be entered.
    modes = {path.stat().st_mode & 0o777 for path in out.iterdir() if path.is_file()}
    assert modes == {(tiny / "config.json").stat().st_mode & 0o777}
    assert (out / "additional_chat_templates").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "without quantization_config"),
        ({"quantization_config": {}, "eos_token_id": 7}, r"ends samples with tokens \(7,\), .* with \(2,\)"),
    ],
)
def test_a_result_that_is_not_what_was_asked_is_none(
    tmp_path: Path, tiny: Path, changes: dict[str, Any], message: str
):
    (tiny / "generation_config.json").unlink()
    result = make_tiny_llama(tmp_path / "result")
    (result / "generation_config.json").unlink()
    add_to_config(result, changes)
    with pytest.raises(QuantizeError, match=message):
        produce(asked(tiny, tmp_path / "out"), _copying(tmp_path, result))
    assert not (tmp_path / "out").exists()


def _copying(tmp_path: Path, result: Path) -> Path:
    """Stands where the Python would, and says that `result` is what it made."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\ncp -r {result} checkpoint; echo '{{}}' > answer.json\n")
    path.chmod(0o755)
    return path
