"""Runs the recipe and puts the quantised checkpoint in its place: whole or not at all.

Everything is made in `.<name>.<random>.partial` beside its place and renamed when it has been looked at; an
error removes it, a kill leaves only a directory that nothing reads. llm-compressor's log outlives a failure.
"""

import errno
import json
import math
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import CheckpointError, ConfigError, QuantizeError, StorageError
from launch.model.adapters import MERGE_ADVICE
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.fingerprint import MODEL_FILES
from launch.model.quantize import recipe
from launch.model.quantize.environment import own_environment
from launch.model.quantize.record import RECORD
from launch.model.quantize.schemes import Scheme
from launch.model.tensors import read_tensors
from launch.model.weights import find_weights, format_bytes

FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
# What the recipe writes itself, or what would speak of the weights that were.
NOT_COPIED = {
    *("config.json", "*.index.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json"),
    "params.json",
}
LEGAL_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")


@dataclass(frozen=True, slots=True)
class Quantization:
    """What is to be made. `prompts` are token ids, none for a scheme that needs none; `record` is kept in
    quantization_recipe.json beside what the recipe answers.
    """

    checkpoint: Checkpoint
    out: Path
    scheme: Scheme
    group_size: int | None
    prompts: Sequence[Sequence[int]]
    trust_remote_code: bool
    record: Mapping[str, Any]


def refuse_taken(out: Path) -> None:
    """ConfigError when `out` is there and holds anything; OSError for a name that can be none."""
    try:
        out.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not out.is_dir() or any(out.iterdir()):
        raise ConfigError(f"{out}: is there already and is not empty. Name another directory, or remove it.")


def refuse_full(out: Path, checkpoint: Checkpoint, scheme: Scheme) -> None:
    """StorageError where the disk of `out` has no room even for every weight in the scheme's bits.

    What is not quantised and the scales come on top; but hours of work for what cannot be are spared.
    """
    tensors = read_tensors(find_weights(checkpoint.path))
    if tensors is None:
        return
    least = sum(map(math.prod, tensors.shapes.values())) * scheme.weight_bits // 8
    free = shutil.disk_usage(next(each for each in out.parents if each.exists())).free
    if free < least:
        raise StorageError(
            f"{out}: cannot write: {format_bytes(free)} are free, and {scheme} weights take at least"
            f" {format_bytes(least)}. Free space or choose another directory."
        )


def refuse_quantized(checkpoint: Checkpoint) -> None:
    """CheckpointError when the weights are quantised already, or are an adapter's base."""
    if checkpoint.adapter is not None:
        raise CheckpointError(
            f"{checkpoint.root}: is a LoRA adapter, and only whole weights are quantised. To do so,"
            f" {MERGE_ADVICE}."
        )
    found = checkpoint.config.get("quantization_config")
    if found is not None:
        method = found.get("quant_method") if isinstance(found, dict) else found
        raise CheckpointError(
            f"{checkpoint.path}: is quantised already ({method}). Give the checkpoint that it was made of."
        )


def produce(wanted: Quantization, python: Path) -> Checkpoint:
    """The quantised checkpoint at `wanted.out`, made by the Python of an environment with llm-compressor.

    It is whole and durable once it has that name, also after a power cut: hours of GPU time are in it.
    QuantizeError or CheckpointError when that fails, with nothing left but a log; OSErrors are the caller's.
    """
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    work = wanted.out.with_name(f".{wanted.out.name}.{secrets.token_hex(4)}.partial")
    work.mkdir()
    try:
        answer = _run_recipe(wanted, python, work)
        made = work / "checkpoint"
        copy_companions(wanted.checkpoint.path, made)
        record = {**wanted.record, **answer}
        (made / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _check(made, wanted.checkpoint)
        for file in made.iterdir():  # transformers writes weights that only their owner can read
            if file.is_file():
                shutil.copymode(wanted.checkpoint.path / "config.json", file)
        _sync_tree(made)
        made.replace(wanted.out)  # over an empty directory too
        _sync(wanted.out.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return inspect_checkpoint(wanted.out)


def copy_companions(source: Path, target: Path) -> None:
    """Copies tokenizer, chat template, generation_config, remote code and licences byte for byte.

    llm-compressor could save a tokenizer too, in the words of its own transformers: prompts would then be
    made by other files than the original's.
    """
    for pattern in (*MODEL_FILES, *LEGAL_FILES):
        if pattern in NOT_COPIED:
            continue
        for file in sorted(source.glob(pattern)):
            if file.is_file():
                place = target / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)


def _sync_tree(directory: Path) -> None:
    """Makes every file of a directory durable, and then the names in it."""
    for path in sorted(directory.rglob("*"), reverse=True):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    """fsync of a file or a directory that somebody else has written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _run_recipe(wanted: Quantization, python: Path, work: Path) -> dict[str, Any]:
    """What the recipe answers; its output goes to a log, which is moved to `<out>.log` when it fails."""
    answer = work / "answer.json"
    (work / "request.json").write_text(json.dumps(_request(wanted, work, answer)), encoding="utf-8")
    log = work / "log"
    command = [str(python), "-I", str(Path(recipe.__file__).resolve()), str(work / "request.json")]
    with log.open("w", encoding="utf-8") as handle:
        done = subprocess.run(
            command, cwd=work, stdout=handle, stderr=handle, env=_environment(), check=False
        )
    if done.returncode == recipe.REFUSED:
        raise CheckpointError(
            f"{wanted.checkpoint.path}: {json.loads(answer.read_text(encoding='utf-8'))['error']}"
        )
    if done.returncode:
        kept = wanted.out.with_name(f"{wanted.out.name}.log")
        reason = _last_line(log)
        if _is_full(reason, wanted.out.parent):
            raise StorageError(
                f"{wanted.out}: cannot write: the disk is full. Free space or choose another directory."
            )
        log.replace(kept)
        raise QuantizeError(
            f"{wanted.checkpoint.path}: llm-compressor failed ({_ending(done.returncode)}): {reason}."
            f" All of it is in {kept}."
        )
    answered: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return answered


def _request(wanted: Quantization, work: Path, answer: Path) -> dict[str, Any]:
    prompts = work / "prompts.jsonl"
    lines = (json.dumps(list(ids)) + "\n" for ids in wanted.prompts)
    prompts.write_text("".join(lines), encoding="utf-8")
    return {
        "checkpoint": str(wanted.checkpoint.path),
        "out": str(work / "checkpoint"),
        "scheme": wanted.scheme.value,
        "group_size": wanted.group_size,
        "prompts": str(prompts) if wanted.prompts else None,
        "trust_remote_code": wanted.trust_remote_code,
        "answer": str(answer),
    }


def _environment() -> dict[str, str]:
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**own_environment(), **offline, "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"}


def _check(made: Path, original: Checkpoint) -> None:
    """The result says that it is quantised, is whole, and reads prompts as the original does."""
    found = inspect_checkpoint(made)
    if "quantization_config" not in found.config:
        raise QuantizeError(f"{made}: llm-compressor wrote a config.json without quantization_config.")
    if found.eos_token_ids != original.eos_token_ids:
        raise QuantizeError(
            f"{made}: ends samples with tokens {found.eos_token_ids}, the original with"
            f" {original.eos_token_ids}."
        )


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit {code}"


def _is_full(reason: str, directory: Path) -> bool:
    """Whether the recipe failed for want of room: it says so, or could not even say it."""
    return any(words in reason for words in FULL) or not shutil.disk_usage(directory).free


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return (lines or ["it said nothing"])[-1][-300:].rstrip(".")
