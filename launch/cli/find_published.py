"""Finds the published directory that a command names: itself, or the run that was published there."""

from pathlib import Path

from launch.cli.runs import RUNS_DIR, find_run
from launch.collect.manifest import MANIFEST
from launch.collect.merge import output_dir_of
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_submission
from launch.rundir.submissions import never_submitted


def find_published(path: Path) -> Path:
    """The directory itself, or where the run of that directory or id is published; RunError if it is not."""
    if (path / MANIFEST).is_file() or not any(map(_is_run, (path, RUNS_DIR / path))):
        return path
    run = find_run(str(path))
    submissions = list_submissions(run)
    if not submissions:
        raise never_submitted(run)
    output_dir = output_dir_of(run, load_submission(run, submissions[-1]).publish)
    if not (output_dir / MANIFEST).is_file():
        raise RunError(f"{run.root}: is not published in {output_dir}. Publish it with `vllm-launch merge`.")
    return output_dir


def _is_run(directory: Path) -> bool:
    return RunPaths(directory).run_yaml.is_file()
