"""Private Slurms that last for the whole test session, and the marker of everything in this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster_conf import ClusterSpec
from tests.slurm.private_slurm import PrivateSlurm, list_missing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder is marked slurm."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slurm)


def skip_unless_possible(with_accounting: bool = False) -> None:
    """Skip the test when a private Slurm cannot be started here, saying exactly what is missing."""
    if missing := list_missing(with_accounting):
        pytest.skip(f"a private Slurm needs: {', '.join(missing)} (make slurm-packages, as root)")


@pytest.fixture(scope="session")
def slurm() -> Iterator[PrivateSlurm]:
    """4 nodes with 2 fake GPUs each, without slurmdbd."""
    skip_unless_possible()
    with PrivateSlurm() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_with_slurmdbd() -> Iterator[PrivateSlurm]:
    """2 nodes with 2 fake GPUs each, with slurmdbd, so that sacct answers."""
    skip_unless_possible(with_accounting=True)
    with PrivateSlurm(ClusterSpec(num_nodes=2, accounting=True)) as cluster:
        yield cluster
