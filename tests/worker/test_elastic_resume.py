"""Elastic resume: other numbers of tasks, kills anywhere, and still exactly the planned items.

Tasks run their real loop in this process (reader, stub engine, writer, claims, files). A kill ends it in the
middle of a step and leaves, as a process that dies does, no last word and a torn line behind what is durable.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from launch.collect.merge import merge
from launch.rundir.chunks import read_chunks
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import load_run, load_submission, run_config
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from tests.local_submit import digests
from tests.worker.build_run import build_run
from tests.worker.tasks import run_tasks

pytestmark = pytest.mark.process  # seconds

NUM_USERS, ITEMS_PER_USER = 12, 4
NUM_ITEMS = NUM_USERS * ITEMS_PER_USER
STAGES = (10, 3, 16)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elastic")


@pytest.fixture(scope="module")
def whole(base: Path) -> dict[str, str]:
    """Digests of what one undisturbed task publishes."""
    run = build_run(base / "whole", num_users=NUM_USERS, items_per_user=ITEMS_PER_USER)
    run_tasks(run, 1, [None])
    return digests(merge(run).output_dir)


def planned(run: RunPaths, submission: int) -> Iterator[int]:
    """Numbers of the items that a submission is to generate."""
    for chunk in read_chunks(run.submission(submission)):
        yield from chunk.items


EVERY_TASK_DIES: tuple[list[int | None], list[int | None]] = ([2], [2])
"""Of both stages: something is left for each of the three."""
kills = st.lists(st.one_of(st.none(), st.integers(1, 8)), min_size=1, max_size=16)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stages=st.tuples(kills, kills), number=st.integers(0, 10**9))
@example(stages=EVERY_TASK_DIES, number=0)
def test_exactly_the_missing_items_are_sent_and_the_result_is_that_of_one_task(
    base: Path, whole: dict[str, str], stages: tuple[list[int | None], list[int | None]], number: int
) -> None:
    root = base / f"run{number}-{len(list(base.iterdir()))}"
    run = build_run(root, num_users=NUM_USERS, items_per_user=ITEMS_PER_USER, num_tasks=STAGES[0])
    plans: list[list[int | None]] = [*stages, [None]]
    for stage, kills_of_stage in enumerate(plans):
        missing = survey_settled(run).missing()
        if stage and not missing:
            break
        submission = stage + 1
        if stage:
            resume(run, STAGES[stage])
        assert sorted(planned(run, submission)) == missing
        run_tasks(run, submission, kills_of_stage)
    assert stages != EVERY_TASK_DIES or submission == len(plans)
    assert survey_settled(run).num_done == NUM_ITEMS
    assert digests(merge(run).output_dir) == whole


def resume(run: RunPaths, num_tasks: int) -> None:
    """A submission of what is missing over another number of tasks."""
    config = run_config(load_run(run), load_submission(run, 1))
    resources = config.resources.model_copy(update={"num_tasks": num_tasks})
    open_submission(run, config.model_copy(update={"resources": resources}), Place(1001, None, 0))
