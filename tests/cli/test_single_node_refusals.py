"""inference_vllm.py and inference_distributed.py refuse bad input in one line and leave all as it was."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import launch.cli.run_beside
from launch.cli import inference_vllm
from launch.cli.sending import Sending, open_and_show
from launch.config.schema import RunConfig
from launch.rundir.create import RunRequest
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import mark_process
from launch.rundir.records import list_submissions
from launch.rundir.submissions import Opened
from tests.cli.commands import PROGRAMS, single_node
from tests.cli.disks import read_only, tiny_disk
from tests.cli.refusals import refusal
from tests.cli.test_bad_checkpoint import BROKEN
from tests.cli.test_bad_scenario import BAD_FILES
from tests.models import make_tiny_llama
from tests.quantized_models import add_to_config
from tests.scenarios import builders

REQUIRED = ("--checkpoint_dir", "--dataset", "--ablation_config", "--output_dir")


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def words(checkpoint: Path, scenario: Path) -> dict[str, str]:
    """Flags with which a dry run succeeds."""
    return {
        "--checkpoint_dir": str(checkpoint),
        "--dataset": "Mine",
        "--ablation_config": "profile_and_context",
        "--output_dir": "out",
        "--scenario_path": str(scenario),
        "--engine": "stub",
    }


def flat(words: dict[str, str], *more: str, without: str = "") -> list[str]:
    pairs = [pair for pair in words.items() if pair[0] != without]
    return [*(word for pair in pairs for word in pair), "--dry-run", *more]


@pytest.mark.parametrize("flag", REQUIRED)
def test_a_required_flag_is_named(tmp_path: Path, program: str, words: dict[str, str], flag: str) -> None:
    said = refusal(tmp_path, *flat(words, without=flag), program=program)
    assert said == f"{flag}: not given. Write it."


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_bad_scenario(tmp_path: Path, program: str, words: dict[str, str], text: str, message: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "test_leaderboard.json").write_text(text)
    assert refusal(tmp_path, *flat({**words, "--scenario_path": "bad"}), program=program) == message


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_a_broken_checkpoint(
    tmp_path: Path, program: str, words: dict[str, str], damage: Callable[[Path], None], message: str
) -> None:
    damage(model := make_tiny_llama(tmp_path / "model"))
    assert refusal(tmp_path, *flat({**words, "--checkpoint_dir": str(model)}), program=program) == message


def test_weights_that_are_not_there(tmp_path: Path, program: str, words: dict[str, str]) -> None:
    model = make_tiny_llama(tmp_path / "model", weights="git_lfs_pointer")
    here = {**words, "--checkpoint_dir": str(model)}
    assert "this is a Git-LFS pointer of 3.0 MB" in refusal(tmp_path, *flat(here), program=program)
    add_to_config(make_tiny_llama(model), {"num_hidden_layers": 3})
    real = {**here, "--engine": "auto", "--max_model_len": "2048"}
    assert refusal(tmp_path, *flat(real), program=program).startswith(
        "model.checkpoint: the weights in HERE/model lack model.layers.2, and config.json has"
    )


BAD_FLAGS = [
    ({"--scenario_path": "nowhere"}, "HERE/nowhere: no such scenario directory."),
    ({"--checkpoint_dir": "nowhere"}, "nowhere: there is no such directory. Check the path"),
    ({"--ablation_config": "profil_only"}, "--ablation-config: prompt.ablation_config: expected profile_and"),
    (
        {"--ablation_config": "history_only"},
        "HERE/scenario/train.json: not found, and prompt.ablation_config",
    ),
    ({"--preset": "singel_node"}, "--preset: no preset named 'singel_node'. Did you mean single_node?"),
    ({"--num_sampels": "2"}, "no flag --num-sampels. Did you mean --num-samples?"),
    ({"--num_samples": "0"}, "--num-samples: sampling.num_samples: expected at least 1, got 0."),
    ({"--temperature": "hot"}, "--temperature: sampling.temperature: expected a number, got 'hot'."),
    ({"--top_p": "2"}, "--top-p: sampling.top_p: expected at most 1, got 2."),
    ({"--gpu_memory_utilization": "90"}, "--gpu-memory-utilization: engine.gpu_memory_utilization: expected"),
    ({"--max_model_len": "8k"}, "--max-model-len: engine.max_model_len: expected a whole number, got '8k'."),
    ({"--seed": "x"}, "--seed: sampling.seed: expected a whole number, got 'x'."),
    ({"--engine": "vlm"}, "--engine: model.engine: expected auto, vllm, transformers or stub, got 'vlm'."),
    ({"--output_dir": "/"}, "--output_dir: / has nothing beside it for the run."),
    ({"--output_dir": "/proc/results"}, "/proc: no directory can be made there. Choose another one."),
    (
        {"--output_dir": ""},
        "--output-dir: publish.output_dir: expected a path, got ''. Leave it out, or",
    ),
    ({"--checkpoint_dir": ""}, "--checkpoint: model.checkpoint: expected a path, got ''."),
    ({"--data_root": ""}, "Invalid value for '--data-root': expected a path, got ''."),
    ({"--output_dir": "x" * 300}, "HERE/" + "x" * 300),
]


@pytest.mark.parametrize(("changes", "message"), BAD_FLAGS)
def test_a_bad_flag(
    tmp_path: Path, program: str, words: dict[str, str], changes: dict[str, str], message: str
) -> None:
    said = refusal(tmp_path, *flat({**words, **changes}), program=program)
    assert said.removeprefix(f"{program}: ").startswith(message)


def test_a_dataset_that_is_not_there(tmp_path: Path, program: str, words: dict[str, str]) -> None:
    def said(name: str, *more: str) -> str:
        named = flat({**words, "--dataset": name}, *more, without="--scenario_path")
        return refusal(tmp_path, *named, program=program)

    unknown = "--dataset: data.dataset: no dataset named 'Chamelion'. Did you mean Chameleons?"
    assert said("Chamelion").startswith(unknown)
    assert said("DMSC").startswith("dataset DMSC: no data root. Give --data-root")
    assert said("DMSC", "--data_root", "x").startswith("dataset DMSC: no directory for it; looked for x/")


def test_places_that_hold_something_else(tmp_path: Path, program: str, words: dict[str, str]) -> None:
    (tmp_path / "file").write_text("mine")
    for name in ("thesis", "other.run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chapter1.tex").write_text("mine")

    def said(place: str, *more: str) -> str:
        return refusal(tmp_path, *flat({**words, "--output_dir": place}, *more), program=program)

    assert (
        said("file") == said("file/results") == "HERE/file: is not a directory. Choose another --output_dir."
    )
    assert said("thesis").startswith("HERE/thesis: holds files that vllm-launch did not publish; nothing was")
    message = (
        "HERE/other.run: is no run of vllm-launch, and the run would lie there; nothing was touched. Choose"
        " another --output_dir, or move it away."
    )
    assert said("other") == said("other", "--no-resume") == message
    (tmp_path / "run" / "plan").mkdir(parents=True)
    (tmp_path / "run" / "run.yaml").touch()
    assert said("run/pub").startswith("HERE/run/pub: lies in the directory of run run, which is not for")
    (tmp_path / "pub").mkdir()
    (tmp_path / "pub" / "manifest.json").write_text('{"format": "vllm-launch/1", "run_id": "q"}')
    assert said("pub/more").startswith("HERE/pub/more: lies in the published directory of run q, which is")


def test_places_that_cannot_be_written(tmp_path: Path, program: str, words: dict[str, str]) -> None:
    (tmp_path / "locked").mkdir()
    with read_only(tmp_path / "locked"):
        assert refusal(tmp_path, *flat({**words, "--output_dir": "locked/out"}), program=program) == (
            "HERE/locked: cannot write: writing is not allowed. Choose another --output_dir."
        )
    with tiny_disk(tmp_path / "disk", 256) as disk:
        disk.fill(8)
        assert refusal(tmp_path, *flat({**words, "--output_dir": "disk/out"}), program=program) == (
            "HERE/disk/out.run: cannot write: the disk is full. Free space or choose another directory."
        )


def test_a_refused_no_resume_leaves_the_earlier_run_where_it_is(
    tmp_path: Path, program: str, words: dict[str, str]
) -> None:
    assert single_node(program, *flat(words), cwd=tmp_path).code == 0
    for changes in ({"--checkpoint_dir": "nowhere"}, {"--ablation_config": "history_only"}):
        refusal(tmp_path, *flat({**words, **changes}, "--no-resume"), program=program)
    assert (tmp_path / "out.run" / "run.yaml").is_file()
    for number in (1, 2):  # within the same second, too
        said = single_node(program, *flat(words, "--no-resume"), cwd=tmp_path)
        assert said.code == 0, said.err
        kept = sorted(tmp_path.glob("out.run.old-*"))
        assert len(kept) == number and f"the earlier run is kept in {kept[-1]}" in said.notes


@pytest.mark.parametrize("name", ["test_leaderboard.json", "train.json"])
def test_data_that_changed_since_the_run_was_planned(
    tmp_path: Path, scenario: Path, words: dict[str, str], name: str
) -> None:
    told = builders.dialogue_item(builders.turn("BEN", "Hi."), continuation="Hi", timestamp="2019-01-01")
    builders.write(scenario / "train.json", [builders.user("a1", dialogue=[told])])
    with_history = {**words, "--ablation_config": "history_only"}
    program = inference_vllm.PROGRAM
    assert single_node(program, *flat(with_history), cwd=tmp_path).code == 0
    assert single_node(program, *flat(with_history), cwd=tmp_path).code == 0, "as it was it continues"
    (scenario / name).write_text((scenario / name).read_text() + "\n")
    assert refusal(tmp_path, *flat(with_history), program=program) == (
        f"HERE/scenario/{name}: has changed since HERE/out.run was planned. Choose another --output_dir, or"
        " say --no-resume to begin anew."
    )


def test_a_run_of_before_the_digest_of_train_json_was_kept(
    tmp_path: Path, scenario: Path, words: dict[str, str]
) -> None:
    assert single_node(inference_vllm.PROGRAM, *flat(words), cwd=tmp_path).code == 0
    record = tmp_path / "out.run" / "run.yaml"
    assert "train_digest: null\n" in record.read_text()  # of an ablation without history, too
    record.write_text(record.read_text().replace("train_digest: null\n", ""))
    builders.write(scenario / "train.json", [])
    assert single_node(inference_vllm.PROGRAM, *flat(words), cwd=tmp_path).code == 0
    with_digest = record.read_text().replace("templates_digest:", "train_digest: '0'\ntemplates_digest:")
    record.write_text(with_digest)
    assert "run.yaml: was changed after it was written" in refusal(
        tmp_path, *flat(words), program=inference_vllm.PROGRAM
    )


def test_who_is_refused_for_what_works_is_told_what_there_is(
    tmp_path: Path, program: str, words: dict[str, str]
) -> None:
    assert single_node(program, *flat(words), cwd=tmp_path).code == 0
    driver = subprocess.Popen(["sleep", "60"])
    try:
        mark = mark_process(driver.pid).as_json()
        write_json(RunPaths(tmp_path / "out.run").submission(1).driver, mark)
        works = f"HERE/out.run: process {driver.pid} still works on submission 1. Wait for it, cancel it with"
        assert refusal(tmp_path, *flat(words), program=program) == (
            f"{works} `vllm-launch cancel`, or run `vllm-launch resume HERE/out.run --replace`."
        )
        assert refusal(tmp_path, *flat(words, "--no-resume"), program=program) == (
            f"{works} `vllm-launch cancel`, or choose another --output_dir."
        )
    finally:
        driver.kill()
        driver.wait()


def test_of_two_that_begin_at_once_the_second_leaves_the_run_to_the_first(
    tmp_path: Path, program: str, words: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_twice(run: RunPaths, config: RunConfig, sending: Sending) -> Opened:
        open_and_show(run, config, sending)
        return open_and_show(run, config, sending)

    monkeypatch.setattr(launch.cli.run_beside, "open_and_show", open_twice)
    said = single_node(program, *flat(words), cwd=tmp_path)
    assert said.code == 2 and "submissions/1: another resume has just opened it." in said.errors[0]
    assert list_submissions(RunPaths(tmp_path / "out.run")) == [1]


def test_a_run_that_another_process_makes_meanwhile(
    tmp_path: Path, words: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = launch.cli.run_beside.create_run

    def make_twice(request: RunRequest, check: Callable[[RunPaths], None]) -> RunPaths:
        make(request, check)
        return make(request, check)

    monkeypatch.setattr(launch.cli.run_beside, "create_run", make_twice)
    said = single_node("inference_vllm.py", *flat(words), cwd=tmp_path)
    assert said.code == 2
    assert said.errors == [
        f"inference_vllm.py: {tmp_path / 'out.run'}: another process has just made it. Wait for that one and"
        " type the same again, or choose another --output_dir."
    ]
