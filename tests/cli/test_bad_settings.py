"""Mistyped settings, wherever they are written: one line with the place and the nearest right word."""

import shutil
from pathlib import Path

import pytest

import launch.rundir.create
from launch.config.shipped import shipped
from tests.cli.commands import submit_words
from tests.cli.refusals import refusal

BAD_WORDS = [
    (
        ["--ablation-config", "profile_and_contxt"],
        "--ablation-config: prompt.ablation_config: expected profile_and_history_and_context,"
        " profile_and_history, profile_and_context, history_and_context, profile_only, history_only or"
        " context_only, got 'profile_and_contxt'. Write profile_and_context.",
    ),
    (
        ["--preset", "quick_tst"],
        "--preset: no preset named 'quick_tst'. Did you mean quick_test? Write one of high_quality,"
        " production, quick_test, single_node, throughput, or a file's path.",
    ),
    (["--preset", "./mine.yaml"], "--preset: no preset file './mine.yaml'. Check the path."),
    (
        ["--cluster", "slrm"],
        "--cluster: no cluster named 'slrm'. Did you mean slurm? Write one of example_gpu_partition, none,"
        " slurm, or a file's path.",
    ),
    (["--cluster", "my.yaml"], "--cluster: no cluster file 'my.yaml'. Check the path."),
    (
        ["--set", "sampling.topp=1"],
        "--set sampling.topp=1: sampling.topp: unknown key. Did you mean top_p?",
    ),
    (
        ["--set", "smapling.top_p=1"],
        "--set smapling.top_p=1: smapling: unknown key. Did you mean sampling?",
    ),
    (
        ["--set", "sampling.top_p"],
        "--set sampling.top_p: expected section.key=value. Write --set sampling.top_p=0.9.",
    ),
    (
        ["--set", "sampling.top_p=yes"],
        "--set sampling.top_p=yes: sampling.top_p: expected a number, got 'yes'. Mend it or leave it out for"
        " the default, 0.9.",
    ),
    (
        ["--num-samples", "many"],
        "--num-samples: sampling.num_samples: expected a whole number, got 'many'. Mend it or leave it out.",
    ),
    (
        ["--num-samples", "0"],
        "--num-samples: sampling.num_samples: expected at least 1, got 0. Mend it or leave it out.",
    ),
    (
        ["--stop", "[a"],
        "--stop: not YAML: did not find expected ',' or ']' (column 1). Mend this line.",
    ),
    (
        ["--max-tokens", "4096"],
        "--max-tokens: sampling.max_tokens: 4096 leaves no room for a prompt in engine.max_model_len 2048."
        " Write less than 2048, or raise engine.max_model_len.",
    ),
    (
        ["--output-dir", ""],
        "--output-dir: publish.output_dir: expected a path, got ''. Leave it out, or write . for the current"
        " directory.",
    ),
    (
        ["--checkpoint", "~nobody.here/tiny"],
        "--checkpoint: model.checkpoint: expected a path, got '~nobody.here/tiny'; there is no home directory"
        " ~nobody.here here. Write the whole path.",
    ),
    (
        ["--chat-template-kwargs", "{add_generation_prompt: false}"],
        "--chat-template-kwargs: prompt.chat_template_kwargs.add_generation_prompt: add_generation_prompt is"
        " for vllm-launch to decide. Leave it out.",
    ),
    (
        ["--batch-invariant"],
        "engine.batch_invariant: got true, which only vLLM has, not stub. Leave it out.",
    ),
    (
        ["--name", "../x"],
        "--name: expected up to 100 letters, digits, '.', '_' and '-', a letter or digit first, got '../x'."
        " Choose another.",
    ),
]


@pytest.mark.parametrize(("words", "message"), BAD_WORDS)
def test_a_mistyped_setting(tmp_path: Path, checkpoint: Path, scenario: Path, words: list[str], message: str):
    assert refusal(tmp_path, *submit_words(checkpoint, scenario), *words) == message


NOT_UTF8 = "caf\udce9"  # as Python has an argument of Latin-1


@pytest.mark.parametrize("flag", ["--system-prompt", "--dataset", "--stop", "--output-dir", "--cache-dir"])
def test_an_argument_that_is_not_utf8(tmp_path: Path, checkpoint: Path, scenario: Path, flag: str):
    assert refusal(tmp_path, *submit_words(checkpoint, scenario), flag, NOT_UTF8) == (
        f"{flag}: not UTF-8 text (at character 4). A run's files hold no other: write it in UTF-8, or rename"
        " what it names."
    )


def test_a_place_whose_name_is_not_utf8(tmp_path: Path, checkpoint: Path, scenario: Path):
    here = tmp_path / NOT_UTF8
    here.mkdir()
    message = "not UTF-8, and the files of a run hold no other names. Rename it, or choose another."
    words = submit_words(checkpoint, scenario)
    for place in ([], ["--runs-dir", str(tmp_path / "runs")]):
        said = refusal(here, *words, *place, "--output-dir", "results")
        assert said.startswith(str(tmp_path)) and said.endswith(message)


BAD_FLAGS = [
    (["--num_sampels", "3"], "no flag --num-sampels. Did you mean --num-samples?"),
    (["--foregroung"], "no flag --foregroung. Did you mean --foreground?"),
    (["--zzz"], "no flag --zzz."),
    (["--num-samples=3", "extra"], "Got unexpected extra argument (extra)."),
]


@pytest.mark.parametrize(("words", "message"), BAD_FLAGS)
def test_a_mistyped_flag(tmp_path: Path, checkpoint: Path, scenario: Path, words: list[str], message: str):
    said = refusal(tmp_path, *submit_words(checkpoint, scenario), *words, prefix="vllm-launch submit: ")
    assert said == f"{message} See `vllm-launch submit --help`."


def test_a_flag_without_its_value(tmp_path: Path, checkpoint: Path, scenario: Path):
    said = refusal(tmp_path, *submit_words(checkpoint, scenario), "--num_samples")
    assert said.startswith("Option '--num-samples' requires an argument.")


BAD_PRESETS = [
    (
        'publish:\n  output_dir: "a\\0b"\n',
        "bad.yaml:2: publish.output_dir: expected a path, got 'a\\x00b'; no name of a file has a NUL."
        " Take it out.",
    ),
    ("sampling:\n  top_pp: 0.4\n", "bad.yaml:2: sampling.top_pp: unknown key. Did you mean top_p?"),
    ("top_p: 0.4\n", "bad.yaml:1: top_p: unknown key; there is sampling.top_p. Write it there."),
    (
        "sampling:\n  top_p: 2\n",
        "bad.yaml:2: sampling.top_p: expected at most 1, got 2. Mend it or leave it out for the default,"
        " 0.9.",
    ),
    ("sampling:\n\ttop_p: 1\n", "bad.yaml:2: a tab in the indentation. Write spaces."),
    (
        "sampling:\n  top_p: 1\n  top_p: 0.5\n",
        "bad.yaml:3: sampling.top_p: given twice, first in line 2. Remove one of the two.",
    ),
    (
        "extends: quick_tst\n",
        "bad.yaml:1: extends: no preset named 'quick_tst'. Did you mean quick_test? Write one of"
        " high_quality, production, quick_test, single_node, throughput, or a file's path.",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_PRESETS)
def test_a_mistake_in_a_preset_file(
    tmp_path: Path, checkpoint: Path, scenario: Path, text: str, message: str
):
    (tmp_path / "bad.yaml").write_text(text)
    words = [*submit_words(checkpoint, scenario), "--preset", "bad.yaml"]
    assert refusal(tmp_path, *words) == message


def test_a_mistake_in_a_cluster_file(tmp_path: Path, checkpoint: Path, scenario: Path):
    words = [*submit_words(checkpoint, scenario), "--cluster", "bad.yaml"]
    (tmp_path / "bad.yaml").write_text("scheduler: slurm\npartitoin: gpu\n")
    assert (
        refusal(tmp_path, *words) == "bad.yaml:2: resources.partitoin: unknown key. Did you mean partition?"
    )
    (tmp_path / "bad.yaml").write_text('scheduler: slurm\nsetup: ["module load x\\nrm -rf y"]\n')
    assert refusal(tmp_path, *words).startswith("bad.yaml:2: resources.setup.0: ")


def test_a_mistyped_cluster_of_the_environment(tmp_path: Path, checkpoint: Path, scenario: Path):
    words = submit_words(checkpoint, scenario)
    said = refusal(tmp_path, *words, VLLM_LAUNCH_CLUSTER="slrm")
    assert said.startswith("VLLM_LAUNCH_CLUSTER: no cluster named 'slrm'. Did you mean slurm? Write one of")
    said = refusal(tmp_path, *words, "--cluster", "nnoe", VLLM_LAUNCH_CLUSTER="slurm")
    assert said.startswith("--cluster: no cluster named 'nnoe'. Did you mean none?")


def test_a_mistake_in_a_prompt_file_is_named_where_the_file_is_the_user_s(
    tmp_path: Path, checkpoint: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch
):
    prompts = Path(shutil.copytree(shipped("templates", "prompts"), tmp_path / "prompts"))
    (prompts / "dialogue.j2").write_text("{% block system %}\n{{ nobody.knows }}\n{% endblock %}")
    monkeypatch.setattr(launch.rundir.create, "shipped", lambda *parts: prompts)
    assert refusal(tmp_path, *submit_words(checkpoint, scenario)) == (
        "HERE/prompts/dialogue.j2: no block `instruction`. Add {% block instruction %}."
    )


USAGE = [
    (["quantize"], "Missing argument 'CHECKPOINT'."),
    (["quantize", "a"], "Missing argument 'OUT'."),
    (["quantize", "a", "b", "c"], "Got unexpected extra argument (c)."),
    (["quantize", "a", "b", "--group-size", "0"], "Invalid value for '--group-size': 0 is not in the range"),
    (["quantize", "a", "b", "--schem", "fp8"], "no flag --schem. Did you mean --scheme?"),
    (["check-model"], "Missing argument 'CHECKPOINT'."),
    (["check-model", "a", "--gup", "h100"], "no flag --gup. Did you mean --gpu?"),
    (["check-model", "a", "--num-gpus", "0"], "Invalid value for '--num-gpus': 0 is not in the range"),
    (["compare"], "Missing argument 'A'."),
    (["compare", "a"], "Missing argument 'B'."),
    (["compare", "a", "b", "--show", "-1"], "Invalid value for '--show': -1 is not in the range"),
    (["compare", "a", "b", "--shwo", "1"], "no flag --shwo. Did you mean --show?"),
    (["prompts", "--preset", "quick_test", "--json"], "no flag --json. See `vllm-launch prompts --help`."),
    (
        ["submit", "--preset", "quick_test", "--nodes", "2"],
        "no flag --nodes. See `vllm-launch submit --help`.",
    ),
]


@pytest.mark.parametrize(("words", "message"), USAGE)
def test_a_command_line_that_cannot_be(tmp_path: Path, words: list[str], message: str):
    said = refusal(tmp_path, *words, prefix=f"vllm-launch {words[0]}: ")
    assert said.startswith(message) and said.endswith(f" See `vllm-launch {words[0]} --help`.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "quick_tst"], "--preset: no preset named 'quick_tst'. Did you mean quick_test?"),
        (
            ["--tp", "two"],
            "--tensor-parallel-size: engine.tensor_parallel_size: expected a whole number, got",
        ),
        (
            ["--gpu-memory-utilization", "2"],
            "--gpu-memory-utilization: engine.gpu_memory_utilization: expected",
        ),
    ],
)
def test_settings_of_check_model(tmp_path: Path, checkpoint: Path, words: list[str], message: str):
    assert refusal(tmp_path, "check-model", checkpoint, *words).startswith(message)
