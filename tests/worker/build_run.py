"""Real run directories for the tests of a task: planned, with one submission opened, ready for work."""

import json
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.rundir.create import RunRequest, create_run
from launch.rundir.layout import RunPaths
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from tests.models import make_tiny_llama

MAX_MODEL_LEN = 512


def build_run(
    root: Path,
    *,
    num_users: int = 4,
    items_per_user: int = 3,
    num_tasks: int = 1,
    engine: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    prompt: dict[str, Any] | None = None,
    publish: dict[str, Any] | None = None,
) -> RunPaths:
    """A run of the stub engine with submission 1 opened; `root` also gets its scenario and checkpoint."""
    scenario = write_scenario(root / "scenario", num_users, items_per_user)
    checkpoint = make_tiny_llama(root / "checkpoint", num_layers=1, num_heads=2, num_kv_heads=1)
    config = RunConfig.model_validate(
        {
            "model": {"checkpoint": checkpoint, "engine": "stub", **(model or {})},
            "data": {"scenario_path": scenario},
            "prompt": {"language": "en", **(prompt or {})},
            "sampling": {"num_samples": 2, "max_tokens": 16},
            "engine": {"max_model_len": MAX_MODEL_LEN, **(engine or {})},
            "resources": {"num_tasks": num_tasks, "scratch_dir": root / "scratch", **(resources or {})},
            "publish": publish or {},
        }
    )
    run = create_run(RunRequest(config, preset="test", runs_dir=root / "runs", name="run"))
    open_submission(run, config, Place(1001, None, config.gpus_per_task))
    return run


def write_scenario(directory: Path, num_users: int, items_per_user: int) -> Path:
    """A scenario directory of dialogues, as the benchmark has them."""
    directory.mkdir(parents=True)
    users = [_user(number, items_per_user) for number in range(num_users)]
    (directory / "test_leaderboard.json").write_text(json.dumps(users), encoding="utf-8")
    return directory


def _user(number: int, num_items: int) -> dict[str, Any]:
    name = f"user{number}"
    items = [
        {
            "context": [{"source": "friend", "content": f"What do you think of film {place}?"}],
            "continuation": f"I liked film {place}.",
        }
        for place in range(num_items)
    ]
    return {
        "user": {"name": name, "profile": {"age": 20 + number}},
        "user_hash": name,
        "task": {
            "description": "dialogue",
            "task_behavior_collections": [{"type": "dialogue", "data": items}],
        },
    }
