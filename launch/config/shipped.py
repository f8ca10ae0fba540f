"""Where configs/ and templates/ are: in the repository checkout, or in the installed wheel."""

from functools import cache
from pathlib import Path

import launch
from launch.config.wording import printable


@cache
def shipped_root() -> Path:
    """The folder that holds configs/ and templates/.

    The checkout's top level if launch/ lies in one, else the package itself: the wheel carries both as
    package data.
    """
    package = Path(launch.__file__).resolve().parent
    checkout = package.parent
    if (checkout / "configs" / "presets").is_dir() and (checkout / "templates").is_dir():
        return checkout
    return package


def shipped(*parts: str) -> Path:
    """A file or folder of configs/ or templates/, such as `shipped("configs", "presets")`."""
    return shipped_root().joinpath(*parts)


def shown(path: Path) -> str:
    """A path as messages name it, in one line; relative when it lies below the current directory."""
    try:
        return printable(str(path.relative_to(Path.cwd())))
    except (ValueError, FileNotFoundError):  # elsewhere, or the current directory was removed
        return printable(str(path))
