"""What submit says of a plan: slots, compiled or not, starts that cost much, and where numbers are from."""

import re
import shutil
from pathlib import Path

import pytest

from benchmarks.model_shape import make_shape
from launch.cli.plan_table import startup_warning
from launch.config.gpus import gpu_speeds
from launch.planning.compilation import CompileChoice
from launch.planning.cost import cost_user
from launch.planning.forecast import forecast
from launch.planning.rates import TaskRate, measured_for
from launch.planning.shards import plan_shards
from launch.planning.tasks import TaskPlan
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, load_submission, run_config, task_config
from launch.rundir.submissions import Opened
from launch.worker.gpu_settings import measured_settings
from launch.worker.startup import cache_layers
from launch.worker.startup.cache_store import CacheStore, store_of
from launch.worker.startup.start_records import leave_start
from tests.cli.commands import Said, vllm_launch

KNOWN = measured_for("h200", gpu_speeds())
COMPILED_S = KNOWN.start_warm_s + KNOWN.beside_s
UNCOMPILED_S = KNOWN.start_uncompiled_s + KNOWN.beside_s
COLD_S = KNOWN.start_uncompiled_cold_s + KNOWN.beside_s


@pytest.fixture
def words(checkpoint: Path, scenario: Path) -> list[str | Path]:
    """`submit --dry-run` of two items with vLLM, which need not be installed for it."""
    asked: list[str | Path] = ["submit", "--dry-run", "--preset", "throughput", "--cluster", "slurm"]
    asked += ["--engine", "vllm", "--name", "run", "--gpu-type", "h200", "--max-model-len", "384"]
    asked += ["--max-tokens", "64", "--checkpoint-dir", checkpoint, "--scenario-path", scenario]
    return [*asked, "--dataset", "Chameleons"]


def plan(words: list[str | Path], where: Path, *more: str) -> Said:
    said = vllm_launch(*words, *more, cwd=where)
    assert said.code == 0, said.err
    return said


def test_a_cluster_that_shares_nodes_gets_a_task_per_engine(words: list[str | Path], tmp_path: Path) -> None:
    said = plan(words, tmp_path, "--num-tasks", "2")
    assert "#SBATCH --array=0-1\n" in said.out and "#SBATCH --gres=gpu:h200:1\n" in said.out
    assert not any(line.startswith("engines ") for line in said.out.splitlines())


def test_the_language_is_said_where_the_dataset_does_not_say_it(
    words: list[str | Path], tmp_path: Path
) -> None:
    assert not any(line.startswith("prompts ") for line in plan(words, tmp_path).out.splitlines())
    said = plan(words, tmp_path, "--dataset", "Mine", "--name", "mine")
    assert said.row("prompts") == "in English (--language en)"
    said = plan(words, tmp_path, "--language", "ja", "--name", "other", "--max-model-len", "1024")
    assert said.row("prompts") == "in Japanese (--language ja)"


def test_a_cluster_of_whole_nodes_gets_a_task_of_all_engines(words: list[str | Path], tmp_path: Path) -> None:
    said = plan(words, tmp_path, "--whole-node-gpus", "4")
    assert "#SBATCH --gres=gpu:h200:4\n" in said.out
    assert said.row("engines") == "4 in a task, 1 GPU each: the cluster gives whole nodes"
    assert "x 4 GPUs" in said.row("tasks")


@pytest.mark.parametrize(
    ("asked", "start"),
    [
        (("--torch-compile", "true"), "compiled, as asked for"),
        (("--torch-compile", "false"), "not compiled, as asked for"),
        (("--enforce-eager", "true"), "eager, as asked for"),
        (("--enforce-eager", "false", "--torch-compile", "false"), "not compiled, as asked for"),
    ],
)
def test_a_start_that_was_asked_for_is_kept(
    words: list[str | Path], tmp_path: Path, asked: tuple[str, ...], start: str
) -> None:
    assert plan(words, tmp_path, *asked).row("start") == start
    sent = load_submission(RunPaths(tmp_path / "outputs" / "runs" / "run"), 1)
    assert sent.planned.torch_compile is None


def test_what_is_to_be_compiled_and_not_is_refused(words: list[str | Path], tmp_path: Path) -> None:
    said = vllm_launch(*words, "--torch-compile", "true", "--enforce-eager", "true", cwd=tmp_path)
    assert said.code == 2
    assert "engine.torch_compile: got true, and engine.enforce_eager true compiles nothing." in said.err


def test_a_run_that_was_planned_eager_before_torch_compile_was_stays_so(
    words: list[str | Path], tmp_path: Path
) -> None:
    plan(words, tmp_path)
    run = RunPaths(tmp_path / "outputs" / "runs" / "run")
    path = run.submission(1).submission_yaml
    lines = path.read_text(encoding="utf-8")
    assert "  torch_compile: false\n  enforce_eager: null\n" in lines.split("\nplanned:\n")[1]
    before = lines.split("\nplanned:\n")
    old = before[1].replace("  torch_compile: false\n  enforce_eager: null\n", "  enforce_eager: true\n")
    path.chmod(0o600)
    path.write_text("\nplanned:\n".join([before[0], old]), encoding="utf-8")
    engine = task_config(load_run(run), load_submission(run, 1)).engine
    assert engine.enforce_eager is True and engine.torch_compile is None


def test_what_was_asked_for_is_never_overridden(words: list[str | Path], tmp_path: Path) -> None:
    asked = ("--whole-node-gpus", "4", "--engines-per-node", "2", "--enforce-eager", "false")
    said = plan(words, tmp_path, *asked)
    assert said.row("engines") == "2 in a task, 1 GPU each: as asked for"
    assert said.row("start") == "compiled, as asked for"
    assert any("2 of 4 GPUs will idle" in note for note in said.notes)
    sent = load_submission(RunPaths(tmp_path / "outputs" / "runs" / "run"), 1)
    assert sent.planned.torch_compile is None and sent.engine.enforce_eager is False


def test_a_choice_not_to_compile_is_kept_and_reaches_tasks(words: list[str | Path], tmp_path: Path) -> None:
    said = plan(words, tmp_path)
    assert said.row("start").startswith("not compiled: as fast as compiled and ready 11 s earlier (")
    run = RunPaths(tmp_path / "outputs" / "runs" / "run")
    record, sent = load_run(run), load_submission(run, 1)
    assert sent.planned.torch_compile is False and sent.planned.why == said.row("start")
    assert task_config(record, sent).engine.torch_compile is False
    assert run_config(record, sent).engine.torch_compile is None  # what a later submission starts from


AS_FAST = "not compiled: as fast as compiled and ready 11 s earlier ("
BY_LENGTH = "not compiled: about 0 s of generation a task; compiling pays from "


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--gpu-type", "h200"], AS_FAST),
        (["--gpu-type", "NVIDIA-H100"], AS_FAST),
        (["--max-num-seqs", "16"], AS_FAST),  # steps with a prompt in them are graphs on an H200
        (["--max-num-seqs", "256"], BY_LENGTH),
        (["--max-num-seqs", "16", "--gpu-type", "h100"], BY_LENGTH),
        (["--max-num-seqs", "16", "--gpu-type", "h100", "--full-cuda-graphs", "true"], AS_FAST),
        (["--max-num-seqs", "16", "--full-cuda-graphs", "false"], BY_LENGTH),
        (["--max-num-batched-tokens", "512", "--max-model-len", "512"], AS_FAST),
        (["--gpu-type", "a40"], BY_LENGTH),  # vLLM takes 256 there
        (["--gpu-type", "a40", "--max-num-seqs", "1024"], AS_FAST),
        (["--gpu-type", "unheard-of"], BY_LENGTH),
    ],
)
def test_whether_steps_are_full_is_seen_by_what_one_may_hold(
    words: list[str | Path], tmp_path: Path, flags: list[str], said: str
) -> None:
    assert plan(words, tmp_path, *flags).row("start").startswith(said)


def test_costly_starts_are_warned_of(words: list[str | Path], tmp_path: Path) -> None:
    said = plan(words, tmp_path, "--num-tasks", "2")
    (warning,) = [note for note in said.notes if note.startswith("start-up")]
    assert warning == (
        f"start-up is predicted to take 100% of GPU time with cold caches (2 x {COLD_S:.0f} s), 100% with"
        f" warm ones ({UNCOMPILED_S:.0f} s each). Fewer tasks spend less: --num-tasks 1."
    )


def opened(num_tasks: int) -> Opened:
    """1,000 s of generation in so many tasks, each with a start of 10 s."""
    users = [cost_user(number, f"h{number}", [number], [0], 1.0) for number in range(1000)]
    rate = TaskRate(1.0, 10.0, "made up", 10.0)
    expected = forecast(plan_shards(users, num_tasks), rate, gpus_per_task=1)
    return Opened(1, expected, TaskPlan(num_tasks, "", CompileChoice(True, ""), rate), num_tasks)


def test_starts_are_warned_of_above_a_fifth_and_the_advice_keeps_below() -> None:
    assert startup_warning(opened(25)) is None  # 250 s of 1,250
    for num_tasks in (26, 60):
        warning = startup_warning(opened(num_tasks))
        assert warning is not None and warning.endswith(" Fewer tasks spend less: --num-tasks 25.")


def test_who_comes_later_finds_warm_caches(words: list[str | Path], tmp_path: Path) -> None:
    said = plan(words, tmp_path, "--num-tasks", "2", "--max-concurrent", "1")
    (warning,) = [note for note in said.notes if note.startswith("start-up")]
    assert f"with cold caches at first (1 x {COLD_S:.0f} s, 1 x {UNCOMPILED_S:.0f} s). Fewer" in warning


COMPILED = ("--num-tasks", "2", "--enforce-eager", "false")


@pytest.fixture
def stores(words: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[CacheStore]:
    """What two tasks that compile on an H200 left in the shared directory: of kernels, and of graphs."""
    cold = plan(words, tmp_path, *COMPILED)
    assert not any(line.startswith("caches ") for line in cold.out.splitlines())
    run = RunPaths(tmp_path / "outputs" / "runs" / "run")
    monkeypatch.setattr(cache_layers, "visible_gpus", lambda: ["0"])
    target = {"device": "NVIDIA H200", "compute_capability": "9.0", "driver": "580"}
    monkeypatch.setattr(cache_layers, "describe_compiler_target", lambda _: target)
    engine = task_config(load_run(run), load_submission(run, 1)).engine
    engine = engine.model_copy(update=measured_settings(engine, "NVIDIA H200"))
    folders = {name: "" for layer in cache_layers.FOLDERS.values() for name in layer}
    made = [
        store_of(tmp_path / "outputs" / "caches", layer.folder, layer.key)
        for layer in cache_layers.cache_layers(load_run(run), engine, folders)
    ]
    (tmp_path / "made").mkdir()
    for store in made:
        store.write_back(tmp_path / "made")
    shutil.rmtree(run.root)
    return made


def plan_anew(words: list[str | Path], where: Path, *more: str) -> tuple[Said, str]:
    """What is said, and the warning of starts; the run is removed, so that the next has its name."""
    said = plan(words, where, *more)
    shutil.rmtree(where / "outputs" / "runs" / "run")
    (warning,) = [note for note in said.notes if note.startswith("start-up")]
    return said, warning


@pytest.mark.usefixtures("stores")
def test_caches_of_an_earlier_run_are_forecast(words: list[str | Path], tmp_path: Path) -> None:
    warm, warning = plan_anew(words, tmp_path, *COMPILED)
    assert warm.row("caches") == "warm: an earlier run compiled what these engines need"
    assert warm.row("forecast").endswith(" GPU hours")
    assert f"with warm caches (2 x {COMPILED_S:.0f} s). Fewer tasks spend less: --num-tasks 1." in warning
    other, _ = plan_anew(words, tmp_path, *COMPILED, "--max-num-seqs", "7")
    assert not any(line.startswith("caches ") for line in other.out.splitlines())


def test_starts_that_were_measured_here_are_forecast_and_named(
    words: list[str | Path], tmp_path: Path, stores: list[CacheStore]
) -> None:
    by_table, _ = plan_anew(words, tmp_path, *COMPILED)
    for start_s in (60.0, 61.0, 300.0):
        leave_start(stores[-1].folder, "warm", start_s)
    basis = "by the median of 3 earlier starts here and the table's"
    said, warning = plan_anew(words, tmp_path, *COMPILED)
    assert said.row("forecast").endswith(f" GPU hours; a warm start takes 62 s {basis}")
    assert f"with warm caches (2 x 62 s {basis}). Fewer tasks spend less" in warning
    assert all(said.row(name) == by_table.row(name) for name in ("start", "tasks", "caches"))
    uncompiled, _ = plan_anew(words, tmp_path, "--num-tasks", "2")
    assert uncompiled.row("forecast").endswith(" GPU hours"), "of those nothing was measured"


def test_starts_that_will_compile_take_longer_than_those_measured_here(
    words: list[str | Path], tmp_path: Path, stores: list[CacheStore]
) -> None:
    for start_s in (60.0, 61.0, 300.0):
        leave_start(stores[-1].folder, "warm", start_s)
    for manifest in stores[0].folder.glob("*.json"):
        manifest.unlink()
    cold_s = 61.5 + KNOWN.start_cold_s - KNOWN.start_warm_s
    basis = "by the median of 3 earlier starts here and the table's"
    _, warning = plan_anew(words, tmp_path, *COMPILED, "--max-concurrent", "1")
    assert f"with cold caches at first (1 x {cold_s:.0f} s, 1 x 62 s {basis}). Fewer" in warning
    _, warning = plan_anew(words, tmp_path, *COMPILED)
    assert f"with cold caches (2 x {cold_s:.0f} s), 100% with warm ones (62 s each {basis})." in warning


def test_a_cpu_is_warned_of_nothing(words: list[str | Path], tmp_path: Path) -> None:
    said = plan(words, tmp_path, "--gpus-per-task", "0")
    assert not any(note.startswith("start-up") for note in said.notes)
    assert said.row("start") == "left to the engine: on a CPU nothing was measured"


LONG = ["--max-model-len", "8192", "--max-tokens", "4096", "--num-samples", "1"]
"""Samples of 2,048 tokens are expected, after prompts of some hundred."""
FEWER_GRAPHS = ["--full-cuda-graphs", "false"]
PAYS = "s of generation a task; compiling pays from "
FULL = r"\(measured on one h200 with a model of 8\.0B\)"


@pytest.mark.parametrize(
    ("flags", "rate", "start"),
    [
        ([], FULL, AS_FAST),
        (LONG, r"x 0\.94 for 3\d\d sequences at a time, measured with 1,024\)", AS_FAST),
        ([*LONG, *FEWER_GRAPHS], r"x 0\.94 for 3\d\d sequences at a time, measured with 1,024\)", PAYS),
        ([*LONG, "--gpu-type", "h100"], r"x 0\.8\d for 1\d\d sequences at a time, measured", PAYS),
        (
            [*LONG, *FEWER_GRAPHS, "--ignore-eos", "true"],
            r"x 0\.8\d for 2\d\d sequences at a time, measured",
            PAYS,
        ),
        ([*LONG, *FEWER_GRAPHS, "--max-num-seqs", "8"], r"x 0\.17 for 8 sequences at a time, measured", PAYS),
        (
            [*LONG, *FEWER_GRAPHS, "--max-num-seqs", "300"],
            r"x 0\.92 for 300 sequences at a time, measured",
            PAYS,
        ),
        (["--quantization", "fp8"], r"8\.0B; quantised weights or KV cache were not\)", AS_FAST),
        (["--kv-cache-dtype", "fp8"], r"8\.0B; quantised weights or KV cache were not\)", AS_FAST),
        ([*LONG, "--kv-cache-dtype", "fp8"], r"x 0\.99 for 7\d\d sequences at a time, measured", AS_FAST),
    ],
)
def test_the_rate_is_that_of_as_many_sequences_as_a_step_should_have(
    words: list[str | Path], tmp_path: Path, checkpoint: Path, flags: list[str], rate: str, start: str
) -> None:
    """By the limit, or by what the KV cache should hold of sequences of the expected length."""
    eight = tmp_path / "eight"
    make_shape(eight, checkpoint)
    said = plan(words, tmp_path, "--checkpoint-dir", str(eight), "--load-format", "dummy", *flags)
    assert re.search(rate, said.row("tasks")), said.row("tasks")
    assert start in said.row("start"), said.row("start")
