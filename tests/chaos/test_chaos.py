"""A part of a campaign of kills in every run of the suite, and proof that its checks see what they must."""

from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.rundir.layout import RunPaths
from tests.chaos.mutants import MUTANTS, bring_through, copy_code
from tests.chaos.part import run_part
from tests.chaos.stub_work import STUB
from tests.collect.builders import copy_run, make_generations, plan_run, write_results
from tests.models import make_tiny_llama
from tests.slurm.private_slurm import list_missing

CI_SEED = "ci"
CI_EACH = 2
CI_PART_S = 480.0  # it takes some 100 s on two cores


@pytest.mark.slurm
@pytest.mark.timeout(540)
def test_twenty_kills_of_every_kind_lose_nothing(tmp_path: Path) -> None:
    if missing := list_missing():
        pytest.skip(f"a private Slurm needs: {', '.join(missing)} (make slurm-packages, as root)")
    record = run_part(STUB, tmp_path, CI_SEED, dict.fromkeys(STUB.kinds, CI_EACH), CI_PART_S)
    assert record["violations"] == []
    assert all(record["kills"][kind] == CI_EACH for kind in STUB.kinds) and record["num_kills"] >= 20
    assert record["num_publishing_kills"] > 0


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A run of 12 items, nothing generated. No files per user: their writer would stop at a duplicate."""
    root = tmp_path_factory.mktemp("planned")
    make_tiny_llama(root / "model")
    return plan_run(root, root / "model", publish={"user_files": "none"})


@pytest.fixture(scope="module")
def reference(planned: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed task publishes of it."""
    run = copy_run(planned, tmp_path_factory.mktemp("reference"))
    write_results(run, make_generations(run))
    return merge(run).output_dir


@pytest.mark.process
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_where_the_code_passes(
    name: str, planned: RunPaths, reference: Path, tmp_path: Path
) -> None:
    mutant = MUTANTS[name]
    problems = {}
    for label, changed in (("as it is", None), ("mutated", mutant)):
        run = copy_run(planned, tmp_path / label)
        mutant.prepare(run)
        problems[label] = bring_through(run, copy_code(tmp_path / f"{label} code", changed), reference)
    assert problems["as it is"] == []
    assert problems["mutated"], f"{name}: nothing was found"
