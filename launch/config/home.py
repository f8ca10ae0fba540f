"""`~` and `~user` at the beginning of a path that a person gave."""

from pathlib import Path

from launch.errors import ConfigError


def expanded(path: Path) -> Path:
    """The path with the home directory written out; ConfigError where nobody here has that home directory."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{path}: {path.parts[0]} is no home directory that is known here. Write the whole path."
        ) from None
