"""Key figures: what was not measured is said to be so, and nothing is a zero that nobody measured."""

from types import SimpleNamespace
from typing import Any

from launch.collect.run_page import facts
from launch.collect.run_page.facts import Tile

MANIFEST: Any = SimpleNamespace(num_done=3, num_items=4, num_users=2)
SUMMARY: dict[str, Any] = {
    "total_samples": 6,
    "inference_time_seconds": 250.0,
    "num_output_tokens": 123_456,
    "throughput_samples_per_sec": 0.024,
    "throughput_output_tokens_per_sec": 493.8,
    "num_samples_per_item": 2,
}
LEDGER = {
    "gpu_hours": 12.5,
    "num_gpus": 8,
    "tokens_per_gpu_second": 2743.0,
    "samples_per_gpu_hour": 480.2,
    "energy_kwh": 7.25,
    "energy_covers": 1.0,
    "cost": {"amount": 31.25, "currency": "EUR"},
    "phases": {"loading": 300.0, "generating": 600.0, "idle_tail": 0.0},
    "unexplained": 100.0,
    "queued_s": 7200.0,
}


def tiles(**more: Any) -> dict[str, Tile]:
    found = facts.tiles_of(SUMMARY | more, MANIFEST, None)
    return {tile.label: tile for tile in found}


def test_the_figures_of_a_run_on_gpus() -> None:
    found = tiles(ledger=LEDGER, gpu={"mean_utilization_percent": 91.4})
    assert found["Items done"][1:] == ("3 of 4", "2 users, 2 samples an item")
    assert found["Samples"][1:] == ("6", "1.4 a minute")
    assert found["Output tokens"][1:] == ("123.5 k", "20,576 a sample")
    assert found["Output tokens a second"][1:] == ("494", "in 4 min of generation")
    assert found["GPU hours"][1:] == ("12.50", "31.25 EUR")
    assert found["Output tokens a GPU second"][1:] == ("2,743", "480 samples a GPU hour")
    assert found["Energy"][1:] == ("7.25 kWh", "91 % mean utilisation")


def test_a_run_without_gpu_says_so_and_has_no_energy() -> None:
    found = tiles(ledger={"gpu_hours": None, "no_gpu": "no GPU was visible"})
    assert found["GPU hours"][1:] == ("no GPU", "no GPU was visible") and "Energy" not in found


def test_what_nobody_measured_is_not_a_zero() -> None:
    found = tiles(ledger=LEDGER | {"energy_kwh": None, "cost": None}, gpu={}, throughput_samples_per_sec=None)
    assert found["GPU hours"].more == "8 GPUs at most"
    assert found["Energy"][1:] == ("not measured", "utilisation not measured")
    assert found["Samples"].more == "no rate"
    assert tiles()["GPU hours"].value == "not measured"


def test_energy_that_was_measured_in_part_is_a_lower_bound() -> None:
    assert tiles(ledger=LEDGER | {"energy_covers": 0.5})["Energy"].value == "≥ 7.25 kWh"


def test_the_title_names_dataset_model_and_ablation() -> None:
    summary = {"dataset": None, "scenario": "/data/DMSC", "checkpoint": "/m/llama", "ablation_config": "base"}
    assert facts.title_of(summary) == "DMSC · llama · base"
    assert facts.title_of(summary | {"dataset": "d", "checkpoint_hub_id": "org/m"}) == "d · org/m · base"
