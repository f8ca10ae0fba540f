"""What leaderboards are made of."""

import pytest

from tests.collect.leaderboard.publications import Publications, publish_one


@pytest.fixture(scope="session")
def publications(tmp_path_factory: pytest.TempPathFactory) -> Publications:
    """Writes published directories after one that merge and score made."""
    return Publications(publish_one(tmp_path_factory.mktemp("publications")))
