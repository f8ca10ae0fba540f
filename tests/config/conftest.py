"""A workspace of one's own: the current directory is empty, so messages show short paths."""

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, without a data root in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VLLM_LAUNCH_DATA_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def write(workspace: Path) -> Write:
    """Writes a file of the workspace and gives its path."""

    def write_file(name: str, text: str) -> Path:
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file
