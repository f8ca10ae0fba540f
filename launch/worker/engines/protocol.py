"""What every engine offers to the engine process: add requests, step, take generations."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from launch.config.schema import EngineConfig, EngineKind, ModelConfig, SamplingConfig
from launch.scenarios.records import Generation, Request


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """All that an engine is opened with; `eos_token_ids` come from generation_config.json.

    `checkpoint` holds the weights; over them goes the LoRA `adapter` of `adapter_rank`. The tokenizer is
    that of `tokenizer`, else the checkpoint's own. `reasoning_opened`: prompts end within the reasoning.
    """

    checkpoint: Path
    model: ModelConfig
    engine: EngineConfig
    sampling: SamplingConfig
    reasoning_end: str | None
    eos_token_ids: tuple[int, ...]
    max_prompt_tokens: int
    reasoning_opened: bool = False
    adapter: Path | None = None
    adapter_rank: int | None = None
    tokenizer: Path | None = None

    @property
    def tokenizer_dir(self) -> Path:
        """Where the tokenizer lies."""
        return self.tokenizer or self.checkpoint

    @property
    def parts(self) -> dict[str, str]:
        """What there is beside the checkpoint, for engine.json: adapter and tokenizer."""
        parts = {"adapter": self.adapter, "tokenizer": self.tokenizer}
        return {name: str(path) for name, path in parts.items() if path not in (None, self.checkpoint)}


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What engine.json says: the engine as it runs, after every default and fallback."""

    kind: EngineKind
    version: str
    device: str
    max_num_seqs: int
    settings: dict[str, Any]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    phases_s: dict[str, float] = field(default_factory=dict)


class RequestRefused(Exception):
    """The engine cannot take this one request; the item has failed and the others go on."""

    def __init__(self, request: Request, failure_class: str, message: str) -> None:
        super().__init__(message)
        self.request = request
        self.failure_class = failure_class
        self.message = message


class EngineDied(RuntimeError):
    """The engine's processes are gone; nothing but `close` may follow."""


class Engine(Protocol):
    """One engine on its GPUs. Not thread-safe: one thread calls add, step and close."""

    facts: EngineFacts
    num_aborted: int
    """Requests whose samples did not all end by stop or length; they were dropped."""

    @property
    def num_cached_tokens(self) -> int:
        """Prompt tokens that requests found in a prefix cache, of one sample each; 0 without a cache."""
        ...

    @property
    def window(self) -> int:
        """How many requests to keep unfinished so that the engine never waits for work."""
        ...

    @property
    def num_unfinished(self) -> int:
        """Requests added and not yet returned."""
        ...

    def add(self, request: Request) -> None:
        """Takes a request; RequestRefused when it cannot be run."""
        ...

    def step(self) -> list[Generation]:
        """Works until something may have finished; finished generations, often none.

        A generation whose samples did not all end by stop or length is never returned: it stays lost, and
        its item is missing (an aborted request on preemption).
        """
        ...

    def close(self) -> None:
        """Gives the device back; no call may follow."""
        ...
