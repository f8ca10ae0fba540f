"""GPU figures of a whole run out of the summaries of its attempts; figures that nobody measured are null."""

from collections.abc import Sequence
from typing import Any

from launch.collect.attempt_files import AttemptFiles


def gpu_figures(attempts: Sequence[AttemptFiles], num_idle_spells: int = 0) -> dict[str, Any]:
    """Mean and peak utilisation, memory, power and energy over all GPUs and attempts, and what went wrong.

    Means are weighted by GPU samples (one GPU, one second). Energy is a sum; `num_unmeasured_attempts` says
    how many attempts it lacks, and `no_gpu` why. `throttle` is the part of samples by reason, ECC errors are
    those that came while it was sampled. `num_idle_spells`: warnings of GPUs that idled beside requests.
    """
    gpus = [gpu | {"weight": each.gpu["num_samples"]} for each in attempts for gpu in each.gpu["gpus"]]
    measured = [each for each in attempts if each.gpu["total"]]
    reasons = sorted({each.gpu["no_gpu"] for each in attempts if each.gpu["no_gpu"]})
    return {
        "num_measured_attempts": len(measured),
        "num_unmeasured_attempts": len(attempts) - len(measured),
        "devices": sorted({str(gpu.get("name")) for gpu in gpus}),
        "mean_utilization_percent": _mean(gpus, "mean_utilization_percent"),
        "peak_utilization_percent": _peak(gpus, "peak_utilization_percent"),
        "mean_memory_used_mib": _mean(gpus, "mean_memory_used_mib"),
        "peak_memory_used_mib": _peak(gpus, "peak_memory_used_mib"),
        "mean_power_w": _mean(gpus, "mean_power_w"),
        "peak_power_w": _peak(gpus, "peak_power_w"),
        "mean_temperature_c": _mean(gpus, "mean_temperature_c"),
        "peak_temperature_c": _peak(gpus, "peak_temperature_c"),
        "mean_sm_clock_mhz": _mean(gpus, "mean_sm_clock_mhz"),
        "throttle": _throttle(gpus),
        "ecc_corrected": _sum(gpus, "ecc_corrected"),
        "ecc_uncorrected": _sum(gpus, "ecc_uncorrected"),
        "num_xids": sum(each.gpu.get("num_xids", 0) for each in measured) if measured else None,
        "num_idle_spells": num_idle_spells if measured else None,
        "energy_j": _sum(gpus, "energy_j"),
        "no_gpu": None if measured else "; ".join(reasons) or "no attempt was sampled",
        "attempts": [_describe(each) for each in measured],
    }


def energy_gpu_s(attempts: Sequence[AttemptFiles]) -> float:
    """GPU-seconds, from the first sample to the last, of the GPUs whose energy is known."""
    return float(
        sum(
            each.gpu["sampled_s"] * sum(gpu.get("energy_j") is not None for gpu in each.gpu["gpus"])
            for each in attempts
            if each.gpu["total"]
        )
    )


def _describe(attempt: AttemptFiles) -> dict[str, Any]:
    return {
        "submission": attempt.submission,
        "task": attempt.task,
        "attempt": attempt.attempt,
        "host": attempt.host,
        "sampled_s": attempt.gpu["sampled_s"],
        **attempt.gpu["total"],
    }


def _throttle(gpus: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """None where no GPU told its reasons."""
    telling = [(gpu["throttle"], gpu["weight"]) for gpu in gpus if gpu.get("throttle") is not None]
    weight = sum(weight for _, weight in telling)
    if not weight:
        return None
    names = sorted({name for reasons, _ in telling for name in reasons})
    return {
        name: round(sum(reasons.get(name, 0.0) * each for reasons, each in telling) / weight, 4)
        for name in names
    }


def _mean(gpus: Sequence[dict[str, Any]], name: str) -> float | None:
    known = [(gpu[name], gpu["weight"]) for gpu in gpus if gpu.get(name) is not None]
    weight = sum(weight for _, weight in known)
    return round(sum(value * weight for value, weight in known) / weight, 2) if weight else None


def _peak(gpus: Sequence[dict[str, Any]], name: str) -> float | None:
    return max((gpu[name] for gpu in gpus if gpu.get(name) is not None), default=None)


def _sum(gpus: Sequence[dict[str, Any]], name: str) -> float | None:
    known = [gpu[name] for gpu in gpus if gpu.get(name) is not None]
    return round(sum(known), 2) if known else None
