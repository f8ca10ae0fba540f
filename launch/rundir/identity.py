"""Digests that keep a run from being mixed: of the settings that shape output, the code and the templates."""

import hashlib
from functools import cache
from pathlib import Path

import orjson

import launch
from launch.rundir.records import CodeVersion, RunRecord

# Paths: what lies there is in the checkpoint's digest, adapter and tokenizer included.
_IN_CHECKPOINT_DIGEST = {"checkpoint", "base_checkpoint", "tokenizer"}


def settings_digest(run: RunRecord) -> str:
    """16 hex digits over what shapes output: model, prompt, sampling, checkpoint, chat form, templates."""
    value = {
        "model": run.model.model_dump(mode="json", exclude=_IN_CHECKPOINT_DIGEST),
        "prompt": run.prompt.model_dump(mode="json"),
        "sampling": run.sampling.model_dump(mode="json"),
        "checkpoint": run.checkpoint.digest,
        "chat_form": run.chat_form,
        "templates": run.templates_digest,
    }
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def tree_digest(root: Path, pattern: str = "*") -> str:
    """32 hex digits over the names and bytes of the files below `root` that match."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(root.rglob(pattern)):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root)}\x00{len(content)}\x00".encode())
            digest.update(content)
    return digest.hexdigest()


@cache
def code_version() -> CodeVersion:
    """The version of this package and the digest of its Python files as they are on disk now."""
    root = Path(launch.__file__).parent
    return CodeVersion(version=launch.__version__, digest=tree_digest(root, "*.py"))
