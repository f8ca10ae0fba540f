"""A packed environment on the node's scratch, and the engine process started from it.

`python -m launch.worker.startup.packed_environment ENVIRONMENT --scratch DIR -- COMMAND...` stages
ENVIRONMENT, puts the copy into COMMAND and becomes it (exec): of an image (.sif) a word that names it becomes
the copy's path; of an archive `{python}` becomes bin/python in it. Where there is no copy to be had the
command runs without: the image from its own place, an archive's `{python}` as --python says. The supervisor
starts it on the host with its own Python; stdout is the pipe to the supervisor, on which it says what it did.
"""

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from launch.config.schema import IMAGE_SUFFIXES, ResourcesConfig
from launch.model.fingerprint import fingerprint_files
from launch.worker.startup.ledger import STAGING_VARIABLE, process_age_s
from launch.worker.startup.staging import GIB, Content, StagingArea, StagingError
from launch.worker.startup.unpacked_files import has_noted_files, note_files

PYTHON = "{python}"
_PR_SET_PDEATHSIG = 1


def engines_differ(resources: ResourcesConfig) -> bool:
    """Whether engines run with other software than this process, whose versions nobody knows here."""
    return bool(resources.container) or resources.environment is not None


def is_image(environment: Path) -> bool:
    """Whether it is a container's image, and no archive."""
    return environment.suffix in IMAGE_SUFFIXES


def environment_content(environment: Path) -> Content:
    """A packed environment as something to stage; its name holds a digest over size and three blocks of it.

    OSError when it cannot be read.
    """
    digest = next(iter(fingerprint_files(environment.parent, [environment], small=()).values()))
    size = environment.stat().st_size
    if is_image(environment):
        return Content(
            name=f"image-{digest[:16]}",
            num_bytes=size,
            fill=lambda target: _copy_image(environment, target),
            is_whole=lambda target: _has_size(target / environment.name, size),
        )
    return Content(
        name=f"environment-{digest[:16]}",
        num_bytes=size,  # packed: what it becomes is known when it is unpacked
        fill=lambda target: _unpack(environment, target),
        is_whole=lambda target: find_python(target) is not None and has_noted_files(target),
    )


def find_python(unpacked: Path) -> Path | None:
    """bin/python of an unpacked archive, at its top or one directory below."""
    for pattern in ("bin/python", "*/bin/python"):
        for python in sorted(unpacked.glob(pattern)):
            if os.access(python, os.X_OK):
                return python
    return None


def in_environment(command: Sequence[str], environment: Path, copy: Path | None, python: str) -> list[str]:
    """The command with the staged copy in it; None: there is none."""
    found = None if copy is None or is_image(environment) else find_python(copy)
    image = str(environment if copy is None else copy / environment.name)
    words = [image if is_image(environment) and word == str(environment) else word for word in command]
    return [str(found or python) if word == PYTHON else word for word in words]


def _copy_image(environment: Path, target: Path) -> None:
    shutil.copy2(environment, target / environment.name)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _unpack(environment: Path, target: Path) -> None:
    """By tar, which knows every compression that the node has."""
    command = ["tar", "--extract", "--file", str(environment), "--directory", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[:300]
        raise StagingError(f"{environment}: tar cannot unpack it: {said}")
    if find_python(target) is None:
        raise StagingError(f"{environment}: has no bin/python. Pack a relocatable environment.")
    note_files(target)


def _say(what: str, **details: Any) -> None:
    """To the supervisor, as the engine process will speak to it, and to the log."""
    line = {"time": round(time.time(), 3), "startup": {"what": what, **details}}
    os.write(1, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launch.worker.startup.packed_environment")
    parser.add_argument("environment", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--budget-gib", type=int)
    parser.add_argument("--wait-s", type=float, default=0.0)
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Becomes the command; OSError when that cannot be started."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # and stays set over exec
    asked = _parse(argv)
    copy: Path | None = None
    area = StagingArea(asked.scratch, None if asked.budget_gib is None else asked.budget_gib * GIB)
    began = time.monotonic() - process_age_s()
    try:
        copy, made = area.place(environment_content(asked.environment), asked.wait_s)
        for use in area.uses:
            use.pass_on()
        _say("environment_staged", made=made, seconds=round(time.monotonic() - began, 3))
    except (StagingError, OSError) as error:
        print(f"resources.environment: used from its own place: {error}", file=sys.stderr, flush=True)
        _say("environment_not_staged", why=str(error))
    os.environ[STAGING_VARIABLE] = f"{time.monotonic() - began:.3f}"
    command = in_environment(asked.command, asked.environment, copy, asked.python)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
