"""What is known of a checkpoint before anything starts, and what is found in it.

An ERROR is what the engine itself would refuse, minutes later on a node, or what makes its texts worthless;
whatever is estimated, or depends on what is installed there, is a WARNING at most.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from launch.config.schema import EngineKind, RunConfig
from launch.model.memory import Gpu, ModelFit
from launch.model.quantization import Quantization
from launch.model.shape import ModelShape


class Level(StrEnum):
    """How sure a finding is, and whether it has to be minded."""

    ERROR = "error"
    WARNING = "warning"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: the setting it is about, and a sentence with the flag that mends it."""

    level: Level
    setting: str
    message: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.message}"


@dataclass(frozen=True, slots=True)
class KnownVllm:
    """The vLLM installed here. `is_that_of_the_nodes`: tasks run in no container and no other Python."""

    version: str | None
    architectures: frozenset[str] | None
    quantizations: frozenset[str] | None
    is_that_of_the_nodes: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked. `fallback`: whether transformers has this model type, None if not installed here."""

    path: Path
    shape: ModelShape
    quantization: Quantization | None
    has_own_code: bool
    fallback: bool | None
    lacks_quantized_weights: bool
    run: RunConfig
    engine: EngineKind
    vllm: KnownVllm
    allow_long: bool = False

    @property
    def sure(self) -> Level:
        """The level of what the installed vLLM refuses."""
        return Level.ERROR if self.vllm.is_that_of_the_nodes else Level.WARNING


@dataclass(frozen=True, slots=True)
class FitReport:
    """All that check-model says. `gpu` and `fit` are None where no GPU was named or weights are unknown."""

    subject: Subject
    findings: tuple[Finding, ...]
    weight_bytes: int | None
    gpu: Gpu | None = None
    fit: ModelFit | None = None

    def of(self, level: Level) -> tuple[Finding, ...]:
        """The findings of one level."""
        return tuple(each for each in self.findings if each.level is level)


def sort(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors, warnings, advice; in the order found among themselves."""
    return tuple(sorted(findings, key=lambda each: list(Level).index(each.level)))
