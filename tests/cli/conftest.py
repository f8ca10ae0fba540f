"""A checkpoint and a small scenario for commands."""

from pathlib import Path

import pytest

from tests.models import make_tiny_llama
from tests.scenarios import builders


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random tiny Llama; not to be changed."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Two users of one item each."""
    directory = tmp_path / "scenario"
    directory.mkdir()
    builders.write(directory / "test_leaderboard.json", [builders.user("a1"), builders.user("b2")])
    return directory
