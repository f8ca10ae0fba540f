"""Puts a finished directory in its place: whole or not at all, and never over what is not this run's.

A directory is written beside its place as `<name>.partial<n>-<run id>`, n being the number of the merge's
claim: a merge that was taken for dead and lives writes where no other does. First publication is one rename.
Replacing is two: the old one becomes `<name>.old-<run id>`, the new one takes its place, the old one is
removed; a kill between them is completed by the next merge. On NFS a file that a process of the same node has
open stays in the old one (.nfsXXXX) until that closes it: the next merge removes it then.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.collect.beside import look_beside
from launch.collect.edited import edited_files
from launch.collect.manifest import FORMAT, MANIFEST, Manifest, read_published
from launch.config.wording import printable
from launch.errors import RunError, StorageError
from launch.rundir.durable import fsync_directory, make_directory
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths, number_of
from launch.rundir.storage_errors import storage_errors

ANOTHER = "Choose another --output_dir."
FAMILY = FORMAT.partition("/")[0] + "/"
LONGEST_NUMBER = 999_999
"""Of a claim: a name that has room for it has room for all before."""


def real_path(path: Path) -> Path:
    """The whole path, symbolic links followed; one that leads to itself stays, which is no directory.

    Path.resolve raises RuntimeError for it (Python 3.11 and 3.12).
    """
    return Path(os.path.realpath(path))


def check_output_dir(output_dir: Path, run_id: str) -> None:
    """Returns when a run may be published there; touches nothing.

    RunError when it is a file, another run's directory, lies in one, or holds anything else, beside what was
    published or in a file of it; StorageError when it cannot be written, or its name leaves no room for the
    longer one under which it is written first.
    """
    _refuse_within_runs(output_dir)
    if output_dir.is_dir():
        manifest = read_published(output_dir)
        if manifest is None and any(output_dir.iterdir()):
            raise RunError(
                f"{output_dir}: holds files that vllm-launch did not publish; nothing was touched. Choose"
                " another --output_dir, or move them away."
            )
        if manifest is not None and manifest.run_id != run_id:
            raise RunError(
                f"{output_dir}: holds the results of run {manifest.run_id}; nothing was touched. Choose"
                " another --output_dir, or move it away."
            )
        foreign = () if manifest is None else look_beside(output_dir, manifest).foreign
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise RunError(
                f"{output_dir}: holds {printable(foreign[0])}{more}, which vllm-launch did not publish;"
                " nothing was touched. Move it away: publishing replaces the whole directory."
            )
        if manifest is not None:
            _refuse_edited(output_dir, manifest)
    elif os.path.lexists(output_dir):
        raise RunError(f"{output_dir}: is not a directory. Choose another --output_dir.")
    check_writable(output_dir.parent)
    longest = os.fsencode(partial_dir(output_dir, run_id, LONGEST_NUMBER).name)
    if len(longest) > os.pathconf(_nearest(output_dir.parent), "PC_NAME_MAX"):
        raise StorageError(f"{output_dir}: cannot write: the name is too long. {ANOTHER}")


def _refuse_edited(output_dir: Path, manifest: Manifest) -> None:
    """RunError while a published file holds what somebody wrote in it since."""
    edited = edited_files(output_dir, manifest)
    if edited:
        more = f" and {len(edited) - 1} more" if len(edited) > 1 else ""
        raise RunError(
            f"{output_dir}: {printable(edited[0])}{more} changed after publishing; nothing was touched. Move"
            " what you changed away, or remove it: publishing replaces the whole directory."
        )


def refuse_within(run_root: Path, output_dir: Path) -> None:
    """RunError for a place in the run's own directory: `clean` removes that one, results and all."""
    if output_dir.is_relative_to(real_path(run_root)):
        raise RunError(f"{output_dir}: lies in the run's own directory, which is not for results. {ANOTHER}")


def _refuse_within_runs(output_dir: Path) -> None:
    """RunError for a place within any run's directory, which `clean` removes, or within published results.

    A directory that is published anew is replaced whole. run.yaml is a usual name: a run has its plan, too.
    """
    for parent in output_dir.parents:
        run = RunPaths(parent)
        if run.run_yaml.is_file() and run.plan_json.parent.is_dir():
            raise RunError(
                f"{output_dir}: lies in the directory of run {parent.name}, which is not for results."
                f" {ANOTHER}"
            )
        if owner := _published_run(parent):
            raise RunError(
                f"{output_dir}: lies in the published directory of run {printable(owner)}, which is replaced"
                f" as a whole. {ANOTHER}"
            )


def _published_run(directory: Path) -> str | None:
    """The run whose published directory it is; anybody else may have a manifest.json as well."""
    try:
        said = read_json(directory / MANIFEST) or {}
    except OSError:  # of somebody else, who does not let us read it
        return None
    return str(said.get("run_id")) if str(said.get("format")).startswith(FAMILY) else None


def check_writable(directory: Path, advice: str = ANOTHER) -> None:
    """The nearest directory that is there must let us make another one in it; else RunError, StorageError."""
    directory = _nearest(directory)
    if not directory.is_dir():
        raise RunError(f"{directory}: is not a directory. {advice}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StorageError(f"{directory}: cannot write: writing is not allowed. {advice}")


def try_writing(output_dir: Path, advice: str = ANOTHER) -> None:
    """Makes a directory where `output_dir` will be written, and takes it away; StorageError where that fails.

    Before anything is spent: permissions alone tell nothing of quotas, full disks, access lists, file systems
    that map root to nobody, or /proc.
    """
    directory = _nearest(output_dir.parent)
    with storage_errors(directory), _no_such_place(directory, advice):
        os.rmdir(tempfile.mkdtemp(prefix=".vllm-launch-", dir=directory))


def _nearest(directory: Path) -> Path:
    """The directory, or the nearest above it that is there."""
    while not os.path.lexists(directory):
        directory = directory.parent
    return directory


@contextmanager
def _no_such_place(directory: Path, advice: str) -> Iterator[None]:
    """StorageError where the system says that there is no such file although its directory is there."""
    try:
        yield
    except FileNotFoundError:
        raise StorageError(f"{directory}: no directory can be made there. {advice}") from None


def partial_dir(output_dir: Path, run_id: str, number: int) -> Path:
    """Where the merge that holds this claim of a run writes its directory before it is published."""
    return output_dir.with_name(f"{output_dir.name}.partial{number}-{run_id}")


def old_dir(output_dir: Path, run_id: str) -> Path:
    """Where a run's earlier directory waits while a newer one takes its place."""
    return output_dir.with_name(f"{output_dir.name}.old-{run_id}")


def complete_cut_publication(output_dir: Path, run_id: str, number: int) -> None:
    """Ends what a kill left: one whole directory is in place afterwards, if any was, with no leftovers.

    `number` is the claim that is held. What earlier claims wrote is a leftover; a later one's is its own.
    """
    partials, old = _partial_dirs(output_dir, run_id, number), old_dir(output_dir, run_id)
    with storage_errors(output_dir):
        if (old / MANIFEST).exists() and not output_dir.exists():
            whole = [partial for partial in partials if (partial / MANIFEST).exists()]
            (whole[-1] if whole else old).rename(output_dir)
            fsync_directory(output_dir.parent)
    for leftover in (old, *partials):
        shutil.rmtree(leftover, ignore_errors=True)


def _partial_dirs(output_dir: Path, run_id: str, number: int) -> list[Path]:
    """Those of a run's claims up to this one, by number; of none, as before they were numbered, first."""
    start, end = f"{output_dir.name}.partial", f"-{run_id}"
    found = []
    with storage_errors(output_dir):
        names = os.listdir(output_dir.parent) if output_dir.parent.is_dir() else []
    for name in names:
        if name.startswith(start) and name.endswith(end):
            middle = name[len(start) : -len(end)]
            claim = number_of(middle) if middle else 0
            if claim is not None and claim <= number:
                found.append((claim, output_dir.with_name(name)))
    return [path for _, path in sorted(found)]


def open_partial(partial: Path) -> None:
    """Makes an empty directory to write in; after `complete_cut_publication` there is none."""
    with storage_errors(partial), _no_such_place(partial.parent, ANOTHER):
        make_directory(partial)


def put_in_place(partial: Path, output_dir: Path, run_id: str, check: Callable[[], None]) -> None:
    """Publishes a partial directory, whose files are durable and whose manifest is written.

    `check` raises when the claim is lost: nothing is renamed then. StorageError where the old one of an
    earlier replacement is in the way. The old one of this replacement may stay in part: the new one is in
    place, which counts.
    """
    check_output_dir(output_dir, run_id)
    old = old_dir(output_dir, run_id)
    with storage_errors(output_dir):
        if os.path.lexists(old):
            raise StorageError(
                f"{old}: cannot be removed: a file of it is still open somewhere (lsof says by whom); nothing"
                " was replaced. Close it and merge again."
            )
        for directory in sorted({path.parent for path in partial.rglob("*")} | {partial}):
            fsync_directory(directory)
        check()
        if output_dir.exists() and any(output_dir.iterdir()):
            output_dir.rename(old)
        try:
            partial.rename(output_dir)
        except OSError:
            check()
            if old.exists():
                old.rename(output_dir)
            raise
        fsync_directory(output_dir.parent)
        shutil.rmtree(old, ignore_errors=True)
