"""Weights on the node's scratch: the files that count, used from there, and the run's identity as it was."""

from pathlib import Path

import pytest

from launch.model.checkpoint import inspect_checkpoint
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, load_submission, run_config
from launch.worker.startup.preparation import Preparation
from launch.worker.startup.staged_weights import weights_content
from launch.worker.startup.staging import StagingArea
from tests.models import make_tiny_llama
from tests.runs import make_run
from tests.worker.distorted.full_disk import FullDisk
from tests.worker.startup.trees import contents
from tests.worker.tasks import events, run_task


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A run of the stub whose checkpoint is to be staged."""
    settings = {"resources.stage_weights": True, "resources.scratch_dir": str(tmp_path / "scratch")}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "optimizer.pt").write_bytes(bytes(1000))  # no engine reads it
    return make_run(tmp_path, settings={**settings, "data.limit_items": 3}, checkpoint=model_in(tmp_path))


def model_in(root: Path) -> Path:
    """A tiny checkpoint with something beside it that does not count."""
    return make_tiny_llama(root / "model")


def test_the_copy_is_the_checkpoint_by_its_digest(run: RunPaths, tmp_path: Path):
    record = load_run(run)
    content = weights_content(record)
    assert content is not None
    path, made = StagingArea(tmp_path / "scratch", None).place(content, 0)
    assert made
    assert inspect_checkpoint(path).digest == record.checkpoint.digest
    assert set(contents(path)) == set(record.checkpoint.files)
    assert "optimizer.pt" not in contents(path)
    source = Path(record.checkpoint.path)
    assert content.num_bytes == sum((source / name).stat().st_size for name in contents(path))


@pytest.mark.parametrize("change", ["content", "size", "missing", "another file"])
def test_a_copy_that_is_not_the_checkpoint_is_not_used(run: RunPaths, tmp_path: Path, change: str):
    content = weights_content(load_run(run))
    assert content is not None
    path, _ = StagingArea(tmp_path / "scratch", None).place(content, 0)
    weights = path / "model.safetensors"
    data = weights.read_bytes()
    if change == "content":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif change == "size":
        weights.write_bytes(data[:-1])
    elif change == "missing":
        weights.unlink()
    else:
        (path / "chat_template.jinja").write_text("x")
    assert not content.is_whole(path)
    assert StagingArea(tmp_path / "scratch", None).place(content, 0) == (path, True)
    assert content.is_whole(path)


def prepare(run: RunPaths, scratch: Path) -> tuple[Preparation, list[str]]:
    """A start that is prepared, and what it told."""
    record, told = load_run(run), []
    config = run_config(record, load_submission(run, 1))
    made = Preparation(run, record, config, scratch, lambda what, **_: told.append(what))
    made.prepare()
    return made, told


def test_a_full_scratch_disk_costs_the_copy_and_not_the_start(run: RunPaths, tmp_path: Path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with FullDisk(str(scratch), 4):
        made, told = prepare(run, scratch)
    assert told == ["weights_not_staged"]
    assert made.staged is not None
    assert "No space left on device" in made.staged["why"]
    assert made.checkpoint == made.tokenizer == Path(load_run(run).checkpoint.path)
    made, told = prepare(run, scratch)
    assert told == ["weights_staged"]
    assert made.checkpoint == made.tokenizer
    assert made.checkpoint.is_relative_to(scratch)


def test_without_a_scratch_folder_nothing_is_staged(run: RunPaths):
    record = load_run(run)
    made = Preparation(run, record, run_config(record, load_submission(run, 1)), None, lambda *_, **__: None)
    made.prepare()
    assert made.checkpoint == Path(record.checkpoint.path)


@pytest.mark.process
def test_a_task_stages_and_says_so_in_its_files(run: RunPaths):
    assert run_task(run) == (0, "")
    (event,) = events(run, "startup")
    assert (event["what"], event["made"], event["start"]) == ("weights_staged", True, 0)
    engine = read_json(run.attempt(1, 0, 0).engine(0, 0).engine_json)
    assert engine is not None
    startup = engine["startup"]
    assert startup["weights"]["staged"] is True
    own = {row["part"]: row["seconds"] for row in startup["parts"] if row["within"] == "start"}
    assert own.keys() >= {"python", "first_request", "stage_weights", "unexplained"}
    assert sum(own.values()) == pytest.approx(startup["total_s"], abs=0.01)
    assert load_run(run).checkpoint.path not in str(startup["weights"])
