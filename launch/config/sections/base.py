"""What every section has in common, and the types of its fields."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from launch.config.home import expand_home
from launch.config.wording import found


def a_path(value: object) -> object:
    """The value itself unless it is a text that names no path.

    An empty one would be the current directory: likely a variable of a script that is not set.
    """
    if value == "":
        raise ValueError("expected a path, got ''. Leave it out, or write . for the current directory")
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"expected a path, got {found(value)}; no name of a file has a NUL. Take it out")
    if isinstance(value, str):
        expand_home(Path(value))
    return value


AsPath = Annotated[Path, BeforeValidator(a_path), Field(strict=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Section(BaseModel):
    """Strict: an unknown key or a value of another type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)
