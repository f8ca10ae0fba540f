"""Runs for a failure: small, of the real vLLM on a CPU, and some that nobody checked before they start."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.config.schema import EngineKind
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, save_record
from tests.models import make_tiny_llama
from tests.worker.build_run import build_run

CPU = {"CUDA_VISIBLE_DEVICES": ""}
VLLM = {"engine": "vllm", "dtype": "float32"}
QUICK = {"enforce_eager": True, "max_num_seqs": 8}
TASK_S = 300
PAST_CHECKS = {"engine": "stub", "dtype": "float32"}


def build_unchecked(
    home: Path,
    *,
    edits: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    engine: dict[str, Any] | None = None,
    damage: Callable[[Path], None] = lambda checkpoint: None,
    **shape: Any,
) -> RunPaths:
    """A run of vLLM that nobody checked: planned for the stub, which runs anything, and then given to vLLM.

    `edits` go over config.json, `damage` is done to the checkpoint, `shape` is make_tiny_llama's.
    """
    checkpoint = make_tiny_llama(home / "model", num_layers=1, **shape)
    config = checkpoint / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | (edits or {})))
    damage(checkpoint)
    return give_to_vllm(
        build_run(
            home,
            num_users=1,
            model={**PAST_CHECKS, "checkpoint": checkpoint, **(model or {})},
            engine={**QUICK, **(engine or {})},
        )
    )


def give_to_vllm(run: RunPaths) -> RunPaths:
    """The run with vLLM as its engine."""
    record = load_run(run)
    model = record.model.model_copy(update={"engine": EngineKind.VLLM})
    save_record(run.run_yaml, record.model_copy(update={"model": model}))
    return run
