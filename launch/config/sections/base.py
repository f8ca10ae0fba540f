"""What every section has in common, and the types of its fields."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def not_empty(value: object) -> object:
    """An empty text would be the current directory: likely a variable of a script that is not set."""
    if value == "":
        raise ValueError("expected a path, got ''. Leave it out, or write . for the current directory")
    return value


AsPath = Annotated[Path, BeforeValidator(not_empty), Field(strict=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Section(BaseModel):
    """Strict: an unknown key or a value of another type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)
