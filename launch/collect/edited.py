"""Published files that somebody has changed since: theirs, over which nothing is published.

A file that is gone or empty holds nobody's work. What has another size was edited; what is as long as it was
is read where it is younger than the manifest, which is written last.
"""

import stat
from collections.abc import Iterator
from pathlib import Path

from launch.collect.digested_file import difference
from launch.collect.manifest import MANIFEST, FileDigest, Manifest
from launch.collect.replaced import replacement_errors


def edited_files(output_dir: Path, manifest: Manifest) -> list[str]:
    """Names of the published files that hold something else than was published, in order."""
    with replacement_errors(output_dir):
        return sorted(_edited(output_dir, manifest.files))


def _edited(output_dir: Path, files: dict[str, FileDigest]) -> Iterator[str]:
    published_ns = (output_dir / MANIFEST).stat().st_mtime_ns
    for name, expected in files.items():
        try:
            found = (output_dir / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(found.st_mode) or not found.st_size:
            continue
        if found.st_size != expected.bytes or (
            found.st_mtime_ns >= published_ns and difference(output_dir / name, expected) is not None
        ):
            yield name
