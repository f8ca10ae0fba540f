"""What tests of starts have in common."""

import pytest

from launch.worker.startup.cache_layers import FOLDERS


@pytest.fixture(autouse=True)
def no_caches_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places of caches that the environment names are the user's own, and a task leaves them alone.

    In a process of the suite that has run an engine itself they are those of that engine.
    """
    for folders in FOLDERS.values():
        for name in folders:
            monkeypatch.delenv(name, raising=False)
