"""One small checkpoint for all tests of this room."""

from pathlib import Path

import pytest

from launch.rundir.layout import RunPaths
from tests.collect.builders import copy_run, plan_run
from tests.models import make_tiny_llama


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(
        tmp_path_factory.mktemp("collect") / "model", num_layers=1, num_heads=2, num_kv_heads=1
    )


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> RunPaths:
    """A run of 4 users with 3 items each and two tasks, nothing generated; tests copy it."""
    return plan_run(tmp_path_factory.mktemp("planned"), checkpoint)


@pytest.fixture
def run(planned: RunPaths, tmp_path: Path) -> RunPaths:
    """A copy of its own."""
    return copy_run(planned, tmp_path)
