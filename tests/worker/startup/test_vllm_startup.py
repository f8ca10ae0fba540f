"""Tasks with the real vLLM, weights or software staged: what is loaded, how the start is accounted for."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.planning.forecast import Warmth
from launch.rundir.journal import read_json
from launch.rundir.progress import survey_settled
from launch.rundir.records import load_run, load_submission, task_config
from launch.worker.startup.expected_caches import expect_here, expect_on_nodes
from tests.worker.build_run import build_run
from tests.worker.tasks import events, finish, start_task

pytestmark = [pytest.mark.engine, pytest.mark.process, pytest.mark.timeout(360)]
TASK_S = 300
NOT_NEEDED = ("triton", "playwright", "cv2", "opencv_python_headless.libs", "sklearn", "plotly", "scipy*")
"""Large packages of this environment that an engine on a CPU does not import."""
SAYS_WHERE = 'import sys; print("packed Python of", sys.prefix, file=sys.stderr)\n'


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[Path]:
    """This virtual environment as an archive whose Python says where it is; afterwards it and its copy go."""
    site_packages = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    more = tmp_path / "more"
    (more / site_packages).mkdir(parents=True)
    (more / site_packages / "packed.pth").write_text(SAYS_WHERE, encoding="utf-8")
    archive = tmp_path / "environment.tar"
    without = [f"--exclude=./{site_packages}/{name}" for name in NOT_NEEDED]
    subprocess.run(["tar", "-cf", archive, *without, "-C", sys.prefix, ".", "-C", more, "."], check=True)
    yield archive
    archive.unlink()
    for copies in tmp_path.glob("scratch/*/staged"):
        shutil.rmtree(copies)


def test_vllm_starts_out_of_a_packed_environment(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = build_run(
        tmp_path,
        num_users=1,
        engine={"enforce_eager": True, "max_num_seqs": 8},
        model={"engine": "vllm", "dtype": "float32"},
        resources={"environment": packed},
    )
    code, errors = finish(start_task(run, CUDA_VISIBLE_DEVICES=""), TASK_S)
    assert (code, errors) == (0, "")
    assert survey_settled(run).num_done == 3
    paths = run.attempt(1, 0, 0).engine(0, 0)
    (copy,) = tmp_path.glob("scratch/*/staged/environment-*/bin")
    log = paths.log.read_text(encoding="utf-8", errors="replace")
    assert f"packed Python of {copy.parent}\n" in log
    engine = read_json(paths.engine_json)
    assert engine is not None
    rows = {(row["within"], row["part"]): row["seconds"] for row in engine["startup"]["parts"]}
    assert rows["start", "stage_environment"] > 0
    assert next(event["what"] for event in events(run, "startup")) == "environment_staged"


def test_vllm_loads_staged_weights_and_its_start_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = build_run(
        tmp_path,
        num_users=1,
        engine={"enforce_eager": True, "max_num_seqs": 8},
        model={"engine": "vllm", "dtype": "float32"},
        resources={"stage_weights": True, "cache_dir": tmp_path / "shared"},
    )
    code, errors = finish(start_task(run, CUDA_VISIBLE_DEVICES=""), TASK_S)
    assert (code, errors) == (0, "")
    config = task_config(load_run(run), load_submission(run, 1))
    found = expect_here(load_run(run), config, None)
    on_cpus = config.model_copy(
        update={"resources": config.resources.model_copy(update={"gpus_per_task": 0})}
    )
    assert found == expect_on_nodes(load_run(run), on_cpus, tmp_path / "shared")
    assert found == Warmth(compiled=True, uncompiled=True)
    settled = survey_settled(run)
    assert settled.num_done == 3
    assert settled.num_output_tokens <= 3 * 2 * 16  # the warm-up's tokens are nobody's
    paths = run.attempt(1, 0, 0).engine(0, 0)
    log = paths.log.read_text(encoding="utf-8", errors="replace")
    record = load_run(run)
    staged = tmp_path / "scratch"
    assert f"/staged/weights-{record.checkpoint.digest[:16]}" in log
    assert f"model='{record.checkpoint.path}'" not in log
    engine = read_json(paths.engine_json)
    assert engine is not None
    assert str(staged) not in str(engine["settings"])
    startup = engine["startup"]
    assert startup["weights"]["staged"] is True
    assert startup["caches"]["state"] == "compiles"
    assert not list(tmp_path.rglob(".vllm-launch-start-*")), "of a cold start nothing is kept"
    whats = [event["what"] for event in events(run, "startup")]
    assert whats == ["weights_staged", "cache_written", "cache_written"]
    rows = {(row["within"], row["part"]): row["seconds"] for row in startup["parts"]}
    own = sum(seconds for (within, _), seconds in rows.items() if within == "start")
    assert own == pytest.approx(startup["total_s"], abs=0.02)
    assert rows["engine", "init_engine"] > 0
    assert 0 < rows["warm_up", "first_token"] <= rows["start", "warm_up"]
    assert rows["start", "unexplained"] < 0.2 * startup["total_s"]
    assert rows["engine", "start_core"] + rows["engine", "start_workers"] > 0
