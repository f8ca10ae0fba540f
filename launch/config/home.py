"""`~` and `~name` at the beginning of a path."""

from pathlib import Path


def expand_home(path: Path) -> Path:
    """The path with the home directory written out; ValueError where there is none of that name."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(
            f"expected a path, got {str(path)!r}; there is no home directory {path.parts[0]} here. Write the"
            " whole path"
        ) from None
