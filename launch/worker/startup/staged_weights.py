"""A checkpoint on the node's scratch: the files that count, found there by the digests that the run keeps."""

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launch.config.schema import RunConfig
from launch.model.fingerprint import MODEL_FILES, fingerprint_files
from launch.rundir.records import RunRecord
from launch.worker.startup.staging import Content

NUM_COPIERS = 4
"""Files copied at a time: a parallel file system gives one reader little of what it has."""


def weights_content(record: RunRecord) -> Content | None:
    """A run's checkpoint as something to stage; None for a run whose record names no files."""
    source = Path(record.checkpoint.path)
    files = {
        name: digest for name, digest in record.checkpoint.files.items() if not _is_elsewhere(name, record)
    }
    if not files:
        return None
    return Content(
        name=f"weights-{record.checkpoint.digest[:16]}",
        num_bytes=sum((source / name).stat().st_size for name in files),
        fill=lambda target: _copy(source, files, target),
        is_whole=lambda target: _is_copy(source, files, target),
    )


def wants_weights(config: RunConfig) -> bool:
    """Whether a run has weights to stage, and is to."""
    return config.resources.stage_weights and config.engine.load_format != "dummy"


def _is_elsewhere(name: str, record: RunRecord) -> bool:
    """Whether a file is the adapter's or of a tokenizer apart: they are small, and read where they are."""
    apart = {"adapter/": record.checkpoint.adapter, "tokenizer/": record.checkpoint.tokenizer}
    return any(where is not None and name.startswith(prefix) for prefix, where in apart.items())


def _copy(source: Path, files: Mapping[str, str], target: Path) -> None:
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(NUM_COPIERS, thread_name_prefix="stager") as copiers:
        for _ in copiers.map(lambda name: shutil.copyfile(source / name, target / name), files):
            pass


def _is_copy(source: Path, files: Mapping[str, str], target: Path) -> bool:
    """Same names, sizes and digests, those of the run: what is loaded is what was planned."""
    try:
        if any((target / name).stat().st_size != (source / name).stat().st_size for name in files):
            return False
        small = set(fingerprint_files(target, (), MODEL_FILES))
        return fingerprint_files(target, [target / name for name in files if name not in small]) == dict(
            files
        )
    except FileNotFoundError:
        return False
