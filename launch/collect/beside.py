"""What lies in a published directory beside what was published: files unpacked from users.zip, or somebody's.

`unzip users.zip` puts its members beside it, under the names that they would have as files. They are nothing
new as long as each says what its member says, and may go with the archive when it is published anew. A file
that differs, or that is no member, is somebody's own and never touched.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from launch.collect.digested_file import difference
from launch.collect.manifest import Manifest, unlisted
from launch.collect.user_files import ARCHIVE, USERS_DIR


@dataclass(frozen=True, slots=True)
class Beside:
    """Names of the files that are not ours, in order, and how many are members of users.zip, unpacked."""

    foreign: tuple[str, ...]
    num_unpacked: int = 0


def look_beside(output_dir: Path, manifest: Manifest) -> Beside:
    """Looks at every file that the manifest does not name.

    Where some lie in users/ beside a users.zip, it is read whole once, and of each member only as much as is
    unpacked: members are believed only while the archive is the one that was published.
    """
    others = unlisted(output_dir, manifest)
    unpacked = _unpacked(output_dir, manifest, [name for name in others if name.startswith(f"{USERS_DIR}/")])
    return Beside(tuple(name for name in others if name not in unpacked), len(unpacked))


def _unpacked(output_dir: Path, manifest: Manifest, names: list[str]) -> set[str]:
    """Those of the names that are members of the published archive and hold the same."""
    expected, path = manifest.files.get(ARCHIVE), output_dir / ARCHIVE
    if not names or expected is None or difference(path, expected) is not None:
        return set()
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            known = (name for name in names if name in members)
            return {name for name in known if _is_same(output_dir / name, archive, members[name])}
    except zipfile.BadZipFile:  # of a manifest that was edited: another file was given that name
        return set()


def _is_same(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size != member.file_size:
            return False
        return path.read_bytes() == archive.read(member)
    except OSError:  # what cannot be read is not known to be ours
        return False
