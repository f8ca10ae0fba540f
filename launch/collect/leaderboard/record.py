"""leaderboard.json: every published run of a folder, and which of them are ranked beside which.

It holds no time and no host of its own and no path outside the folder's neighbourhood: the same published
directories give the same bytes, also where they were copied to.
"""

from typing import Any, Literal

from pydantic import Field

from launch.collect.scoring.record import ReferencesUsed, TypeScores
from launch.config.schema import Section
from launch.rundir.records import Subset

LEADERBOARD = "leaderboard.json"
TABLE = "leaderboard.csv"
INDEX = "index.html"
FORMAT = "vllm-launch-leaderboard/1"


class Cost(Section):
    """What the GPU-hours cost at the price that was configured."""

    price_per_gpu_hour: float | None = Field(description="Null where submissions had different ones.")
    currency: str
    amount: float


class GpuUse(Section):
    """What a run took of GPUs; null where nobody measured it, and `no_gpu` says why."""

    gpu_hours: float | None
    energy_kwh: float | None
    energy_covers: float | None = Field(description="Share of the GPU-hours in which energy was measured.")
    samples_per_gpu_hour: float | None
    cost: Cost | None
    no_gpu: str | None


class Entry(Section):
    """One published run."""

    directory: str = Field(description="From the folder of leaderboard.json, with /.")
    page: str | None = Field(description="The run's page from there, where it has one.")
    run_id: str
    preset: str | None
    published: str = Field(description="Time, UTC.")
    model: str = Field(description="Its name on the hub, else its directory's.")
    checkpoint_digest: str
    dataset: str = Field(description="Its name, else that of the scenario's directory.")
    scenario_digest: str
    ablation: str
    language: str | None
    engine: str
    stub: bool = Field(description="Texts of the stub engine and not of a model.")
    subset: Subset | None = Field(description="How --limit-users and --limit-items cut the scenario.")
    complete: bool
    num_users: int
    num_items: int
    num_done: int
    num_failed: int
    num_missing: int
    num_samples_per_item: int
    total_samples: int
    inference_time_s: float
    samples_per_min: float | None
    output_tokens_per_s: float | None
    gpu: GpuUse
    scores: dict[str, TypeScores] | None = Field(description="As in scores.json; null where it has none.")
    references: ReferencesUsed | None
    signatures: dict[str, str] = Field(description="How scores were computed, as in scores.json.")
    settings: dict[str, Any] = Field(description="By dotted name, as `compare` names them.")
    notes: tuple[str, ...] = Field(strict=False, description="What is damaged of it and was left out.")
    results_digest: str = Field(description="sha256 of generations.jsonl.")
    board: int | None = Field(default=None, description="Of `boards`; null where it is not ranked.")
    ranks: dict[str, int] = Field(default_factory=dict, description="In its board, by <type>.<score>.")

    @property
    def is_full(self) -> bool:
        """Whether it may stand beside others: every item of the scenario, by a model."""
        return self.complete and self.subset is None and not self.stub


class Ranking(Section):
    """One way to rank a board."""

    key: str = Field(description="<type>.<score>")
    better: Literal["higher", "lower"]
    num_ranked: int


class Board(Section):
    """Full runs that may be ranked beside each other: the same scenario file, the same references."""

    dataset: str
    scenario_digest: str
    references: str = Field(description="none, scenario, or the sha256 of the file.")
    num_users: int
    num_items: int
    directories: tuple[str, ...] = Field(strict=False)
    rankings: tuple[Ranking, ...] = Field(strict=False, description="The first is the one shown first.")


class LeftOut(Section):
    """A directory of the folder that is not in the leaderboard, and why."""

    directory: str
    why: str


class Leaderboard(Section):
    """leaderboard.json."""

    format: Literal["vllm-launch-leaderboard/1"] = "vllm-launch-leaderboard/1"
    boards: tuple[Board, ...] = Field(strict=False)
    entries: tuple[Entry, ...] = Field(strict=False)
    left_out: tuple[LeftOut, ...] = Field(strict=False)
