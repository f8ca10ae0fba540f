"""The same bytes whatever the number of tasks and whatever was killed: the stub, and transformers at batch 1.

What real engines do with batches of several items is measured, not promised: benchmarks/invariance.py.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from launch.collect.merge import merge
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.layout import RunPaths
from launch.rundir.progress import settled_items, survey_settled
from launch.rundir.records import load_run, load_submission, run_config
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from launch.worker import engine_process
from launch.worker.caution import Caution
from launch.worker.engines.protocol import Engine, EngineSetup
from launch.worker.engines.select import open_engine
from tests.local_submit import digests
from tests.worker.build_run import build_run
from tests.worker.tasks import SilentChannel, kill_9, num_committed, start_task, wait_until

NUM_USERS, ITEMS_PER_USER = 16, 6
NUM_ITEMS = NUM_USERS * ITEMS_PER_USER
ONE_ITEM_A_BATCH = {"engine": {"max_num_seqs": 1}, "model": {"engine": "transformers", "dtype": "float32"}}
NUM_TEXT_ITEMS = 100
LOADING = threading.Lock()
"""One task at a time opens its engine: transformers replaces PreTrainedModel.tie_weights, torch.linspace and
the default dtype while it makes a model, and two at once leave them replaced for the rest of the process."""


def open_in_turn(setup: EngineSetup, on_dead: Callable[[str], None]) -> Engine:
    with LOADING:
        return open_engine(setup, on_dead)


IN_TURN = engine_process.Place(start=open_in_turn)


def run_side_by_side(run: RunPaths, submission: int) -> None:
    """All tasks of a submission at once, each the real loop in a thread; one that the stub ends has died."""
    num_tasks = load_submission(run, submission).num_tasks
    together = threading.Barrier(num_tasks)

    def run_one(task: int) -> None:
        at = EngineStart(submission, task, open_attempt(run, submission, task)[0], 0, 0)
        together.wait()
        try:
            engine_process.work(run, at, SilentChannel(), {}, Caution(), IN_TURN)  # type: ignore[arg-type]
        except RuntimeError as error:
            if "the stub was told to fail in step" not in str(error):
                raise

    with ThreadPoolExecutor(num_tasks) as pool:
        list(pool.map(run_one, range(num_tasks)))


def resume(run: RunPaths, num_tasks: int) -> None:
    config = run_config(load_run(run), load_submission(run, 1))
    resources = config.resources.model_copy(update={"num_tasks": num_tasks})
    open_submission(run, config.model_copy(update={"resources": resources}), Place(1001, None, 0))


def tasks_at_work(run: RunPaths, submission: int) -> set[int]:
    return {start.task for start, _ in settled_items(run) if start.submission == submission}


def published(run: RunPaths) -> dict[str, str]:
    return digests(merge(run).output_dir)


# The stub


@pytest.fixture(scope="module")
def stub_texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one undisturbed task publishes."""
    run = build_run(tmp_path_factory.mktemp("one"), num_users=NUM_USERS, items_per_user=ITEMS_PER_USER)
    run_side_by_side(run, 1)
    return published(run)


@pytest.mark.process
@pytest.mark.parametrize(("num_tasks", "after_kills"), [(1, 8), (2, 5), (5, 1), (8, 2)])
def test_the_stub_is_the_same_over_any_number_of_tasks_and_kills(
    tmp_path: Path, stub_texts: dict[str, str], num_tasks: int, after_kills: int
) -> None:
    run = build_run(tmp_path, num_users=NUM_USERS, items_per_user=ITEMS_PER_USER, num_tasks=num_tasks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_LAUNCH_STUB_FAIL", "step:6")
        run_side_by_side(run, 1)
    assert tasks_at_work(run, 1) == set(range(num_tasks))
    num_done = survey_settled(run).num_done  # a step that found no request yet is one of the six, too
    assert num_tasks <= num_done <= 5 * num_tasks
    resume(run, after_kills)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_LAUNCH_STUB_SECONDS_PER_ITEM", "0.01")
        run_side_by_side(run, 2)
    assert len(tasks_at_work(run, 2)) >= min(2, after_kills)
    assert published(run) == stub_texts


# Transformers, one item at a time


def build_texts(root: Path, num_tasks: int = 1) -> RunPaths:
    more: dict[str, Any] = ONE_ITEM_A_BATCH
    return build_run(root, num_users=NUM_TEXT_ITEMS // 2, items_per_user=2, num_tasks=num_tasks, **more)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What one undisturbed task publishes. One thread each: the tasks share this process's cores."""
    torch = pytest.importorskip("torch")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = build_texts(tmp_path_factory.mktemp("texts"))
    run_side_by_side(run, 1)
    assert survey_settled(run).num_done == NUM_TEXT_ITEMS
    yield published(run)
    torch.set_num_threads(num_threads)


@pytest.mark.engine
def test_transformers_at_batch_1_is_the_same_over_three_tasks(tmp_path: Path, texts: dict[str, str]) -> None:
    run = build_texts(tmp_path, num_tasks=3)
    run_side_by_side(run, 1)
    assert len(tasks_at_work(run, 1)) > 1
    assert published(run) == texts

    from transformers import PreTrainedModel

    assert PreTrainedModel.tie_weights.__name__ == "tie_weights", "what transformers replaced is back"


@pytest.mark.engine
def test_transformers_at_batch_1_is_the_same_after_a_kill(tmp_path: Path, texts: dict[str, str]) -> None:
    """A task of its own process, killed when it has committed something; three others go on."""
    run = build_texts(tmp_path)
    task = start_task(run, OMP_NUM_THREADS="1")
    wait_until(lambda: num_committed(run) > 0, "a commit", timeout_s=60)
    kill_9(task)
    num_done = survey_settled(run).num_done
    assert 0 < num_done < NUM_TEXT_ITEMS
    resume(run, 3)
    run_side_by_side(run, 2)
    assert published(run) == texts
