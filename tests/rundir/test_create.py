"""Runs that are made at the same moment: each gets a directory of its own, or is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from launch.errors import RunError
from launch.rundir import create
from launch.rundir.create import RunRequest, create_run
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run
from tests.models import make_tiny_llama
from tests.runs import make_config

NUM_MAKERS = 3


def make_at_once(root: Path, name: str | None) -> list[RunPaths | RunError]:
    """What as many makers get that have all found the same name free before one of them has written."""
    config = make_config(make_tiny_llama(root / "model", num_layers=1), settings={"data.limit_items": 2})
    request = RunRequest(config, "quick_test", root / "runs", name)
    everybody = Barrier(NUM_MAKERS)

    def make(_: int) -> RunPaths | RunError:
        asked: list[RunPaths] = []

        def check(run: RunPaths) -> None:
            asked.append(run)
            if len(asked) == 1:
                everybody.wait(60)

        try:
            made = create_run(request, check)
        except RunError as error:
            return error
        assert asked[-1].root == made.root, "the place that it got was checked"
        return made

    with ThreadPoolExecutor(NUM_MAKERS) as pool:
        return list(pool.map(make, range(NUM_MAKERS)))


def test_unnamed_runs_of_one_second_take_one_name_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create, "_default_name", lambda *_: "quick_test-1")
    runs = [made for made in make_at_once(tmp_path, None) if isinstance(made, RunPaths)]
    names = sorted(run.root.name for run in runs)
    assert names == ["quick_test-1", "quick_test-1-2", "quick_test-1-3"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == names, "and nothing else is left"
    for run in runs:
        record = load_run(run)  # with its seal
        assert record.run_id == record.name == run.root.name


def test_of_runs_of_one_name_one_is_made(tmp_path: Path) -> None:
    made = make_at_once(tmp_path, "mine")
    (run,) = [each for each in made if isinstance(each, RunPaths)]
    assert list((tmp_path / "runs").iterdir()) == [run.root]
    for refused in made:
        if isinstance(refused, RunError):
            assert str(refused).startswith(f"{run.root}: this run is there already. Continue it with")
