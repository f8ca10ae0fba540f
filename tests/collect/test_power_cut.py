"""A power cut at any moment of a merge: what is published is whole, and merging again publishes the same."""

from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.collect.verify import verify_published
from launch.rundir.layout import RunPaths
from tests.collect.builders import copy_run, make_generations, published, same_bytes, write_results
from tests.power_cut import Cut, PowerCuts

pytestmark = pytest.mark.process  # seconds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "disk"


@pytest.fixture
def run(planned: RunPaths, root: Path) -> RunPaths:
    """A run with all results there are."""
    copy = copy_run(planned, root)
    write_results(copy, make_generations(copy))
    return copy


def cuts_of_a_merge(root: Path, run: RunPaths) -> list[Cut]:
    """Merges; what a power cut may have left, 1 reported when it was published."""
    done: list[object] = []
    with PowerCuts(root, lambda: len(done)) as disk:
        done.append(merge(run))
    return disk.cuts


def check(root: Path, run: RunPaths, cut: Cut, expected: dict[str, bytes]) -> None:
    """Nothing half is in the place of what is published, and a merge publishes what it is to."""
    output_dir = published(run)
    cut.restore(root)
    if output_dir.exists():
        assert verify_published(output_dir).is_whole and same_bytes(output_dir) == expected, cut
    assert merge(run).is_new in (False, not cut.reported), cut
    assert verify_published(output_dir).is_whole and same_bytes(output_dir) == expected, cut
    assert [path.name for path in output_dir.parent.iterdir()] == [output_dir.name], cut


def test_from_any_power_cut_the_same_is_published(root: Path, run: RunPaths) -> None:
    cuts = cuts_of_a_merge(root, run)
    expected = same_bytes(published(run))
    assert len(cuts) > 40
    for cut in cuts:
        check(root, run, cut, expected)


def test_in_place_of_an_earlier_publication_as_well(root: Path, run: RunPaths) -> None:
    """And from any power cut of the merge that completes what was cut between the two renames."""
    merge(run)
    write_results(run, [], task=1)  # nothing, and so news
    expected = same_bytes(published(run))
    name = str(published(run).relative_to(root))
    cuts = cuts_of_a_merge(root, run)
    between = [cut for cut in cuts if name not in cut.tree]
    assert len(cuts) > 40 and between
    for cut in cuts:
        check(root, run, cut, expected)
    between[0].restore(root)
    for cut in cuts_of_a_merge(root, run):
        check(root, run, cut, expected)
