"""Shows what was found of a checkpoint: rows for people, or JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from launch.model.findings import FitReport, Level
from launch.model.fit_memory import gib

UNKNOWN = "unknown"


def as_rows(report: FitReport, typical_tokens: int) -> Iterator[tuple[str, str]]:
    """(name, value) rows: what the model is, what it takes, what was found."""
    subject, shape = report.subject, report.subject.shape
    quantization = subject.quantization.method if subject.quantization else "none"
    yield "model", f"{subject.path.name}: {shape.architecture or UNKNOWN}, {shape.dtype or UNKNOWN} weights"
    yield "quantised", subject.run.model.quantization or quantization
    yield "heads", f"{shape.num_heads or UNKNOWN} attention, {shape.num_kv_heads or UNKNOWN} KV"
    yield "longest", f"{shape.max_model_len or UNKNOWN} tokens; asked for {subject.run.engine.max_model_len}"
    yield "weights", UNKNOWN if report.weight_bytes is None else gib(report.weight_bytes)
    yield from _memory_rows(report, typical_tokens)
    for finding in report.findings:
        yield finding.level.value, str(finding)
    if not report.of(Level.ERROR):
        yield "verdict", "nothing found that stops it" if report.findings else "runs as asked, as far as seen"


def _memory_rows(report: FitReport, typical_tokens: int) -> Iterator[tuple[str, str]]:
    if report.gpu is None or report.fit is None:
        reason = "not checked: name a --gpu" if report.gpu is None else UNKNOWN
        yield "memory", reason
        return
    found, size = report.fit, report.subject.run.engine.tensor_parallel_size
    yield (
        "gpu",
        f"{size} x {report.gpu.name}, {gib(found.budget_bytes)} of {report.gpu.memory_gib} GiB for vLLM",
    )
    yield "of each", f"{gib(found.weight_bytes)} weights, {gib(found.reserve_bytes)} for itself (estimated)"
    if found.kv_tokens is None:
        reason = report.subject.shape.unknown_kv or "config.json lacks a number"
        yield "KV cache", f"{gib(max(0, found.kv_bytes))}; tokens {UNKNOWN}: {reason}"
        return
    yield "KV cache", f"{gib(max(0, found.kv_bytes))}, {found.kv_tokens:,} tokens (estimated)"
    longest = report.subject.run.engine.max_model_len
    yield (
        "sequences",
        f"{found.sequences(longest):,} of {longest} tokens, {found.sequences(typical_tokens):,} of"
        f" {typical_tokens}, at a time",
    )


def as_json(report: FitReport, typical_tokens: int) -> dict[str, Any]:
    """All of it by name; sizes in bytes, null where unknown."""
    subject, found = report.subject, report.fit
    memory = None
    if report.gpu is not None and found is not None:
        memory = {
            "gpu": report.gpu.name,
            "gpu_memory_gib": report.gpu.memory_gib,
            **asdict(found),
            "kv_tokens": found.kv_tokens,
            "sequences_at_max_model_len": found.sequences(subject.run.engine.max_model_len),
            "sequences_at_typical_tokens": found.sequences(typical_tokens),
        }
    return {
        "checkpoint": str(subject.path),
        "engine": subject.engine.value,
        "vllm": subject.vllm.version,
        "transformers_fallback": subject.fallback,
        "shape": asdict(subject.shape),
        "tensor_parallel_sizes": subject.shape.tensor_parallel_sizes(64),
        "quantization": None if subject.quantization is None else asdict(subject.quantization),
        "settings": {
            "tensor_parallel_size": subject.run.engine.tensor_parallel_size,
            "gpu_memory_utilization": subject.run.engine.gpu_memory_utilization,
            "max_model_len": subject.run.engine.max_model_len,
        },
        "typical_tokens": typical_tokens,
        "weight_bytes": report.weight_bytes,
        "memory": memory,
        "findings": [asdict(each) for each in report.findings],
    }
