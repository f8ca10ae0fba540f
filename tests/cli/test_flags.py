"""Flags, --set and what --print-config and presets show of them."""

from pathlib import Path

import pytest
import yaml

from launch.cli.options import flag_of, setting_fields
from launch.config.layers import Layers, resolve
from launch.config.schema import RunConfig
from tests.cli.commands import PROGRAMS, single_node, submit_words, succeed, vllm_launch
from tests.cli.refusals import refusal


def shown(here: Path, checkpoint: Path, *words: str) -> str:
    """What --print-config says."""
    return succeed(*submit_words(checkpoint), *words, "--print-config", cwd=here).out


def test_underscores_and_hyphens(tmp_path: Path, checkpoint: Path):
    hyphens = shown(tmp_path, checkpoint, "--num-samples", "3", "--max-chars-per-turn=70", "--top-k", "5")
    underscores = shown(tmp_path, checkpoint, "--num_samples", "3", "--max_chars_per_turn=70", "--top_k", "5")
    assert hyphens == underscores
    assert "max_chars_per_turn: 70  # --max-chars-per-turn" in hyphens


@pytest.mark.parametrize(
    ("short", "flag", "value"),
    [
        ("--tasks", "--num-tasks", "3"),
        ("--tp", "--tensor-parallel-size", "2"),
        ("--checkpoint-dir", "--checkpoint", "here"),
    ],
)
def test_a_flag_by_its_other_name(tmp_path: Path, checkpoint: Path, short: str, flag: str, value: str):
    assert shown(tmp_path, checkpoint, short, value) == shown(tmp_path, checkpoint, flag, value)
    assert f": {value}  # {flag}\n" in shown(tmp_path, checkpoint, short, value)


def test_a_switch_may_stand_alone(tmp_path: Path, checkpoint: Path):
    words = ["--enforce_eager", "--num-samples", "3", "--ignore-eos", "false", "--allow-missing"]
    lines = shown(tmp_path, checkpoint, *words).splitlines()
    for line in ("enforce_eager: true", "num_samples: 3", "ignore_eos: false", "allow_missing: true"):
        assert any(each.startswith(f"  {line}  # --") for each in lines), line


@pytest.mark.parametrize(
    ("flag", "value", "line"),
    [
        ("--temperature", "1e-3", "temperature: 0.001"),
        ("--limit-items", "10", "limit_items: 10"),
        ("--stop", "[no, 12:30, END]", 'stop: [no, "12:30", END]'),
        ("--quantization", "no", "quantization: no"),
        ("--time", "12:30:00", 'time: "12:30:00"'),
        ("--account", "0123", 'account: "0123"'),
    ],
)
def test_a_flag_is_read_as_a_preset_is(tmp_path: Path, checkpoint: Path, flag: str, value: str, line: str):
    """YAML 1.2: no is a text, and 12:30 is no number of seconds."""
    key = next(key for key, _, _ in setting_fields() if flag_of(key) == flag)
    by_flag = shown(tmp_path, checkpoint, "--cluster", "slurm", flag, value)
    assert f"  {line}  # {flag}" in by_flag.splitlines()
    section, _, name = key.partition(".")
    (tmp_path / "own.yaml").write_text(f"extends: quick_test\n{section}:\n  {name}: {value}\n")
    words = ["--preset", "own.yaml", "--cluster", "none" if section != "resources" else "slurm"]
    by_preset = yaml.safe_load(shown(tmp_path, checkpoint, *words))
    if section != "resources":  # which the cluster file decides
        assert by_preset[section][name] == yaml.safe_load(by_flag)[section][name]


def test_octal_numbers_and_long_ones_are_refused(tmp_path: Path, checkpoint: Path, scenario: Path):
    words = submit_words(checkpoint, scenario)
    assert refusal(tmp_path, *words, "--limit-items", "010") == (
        "--limit-items: data.limit_items: expected a whole number, got '010'. Write 10."
    )
    long = "9" * 30
    assert refusal(tmp_path, *words, "--seed", long) == (
        f"--seed: {long} is no number of 64 bits. Write a smaller one, or quote it."
    )


def test_underscores_stay_in_values_and_names(tmp_path: Path, checkpoint: Path):
    """Values that begin with hyphens, too, as a rule above a prompt does."""
    words = ["--output_dir=--my_dir", "--set", "model.quantization=a_b", "--reasoning_end", "--the_end--"]
    text = shown(tmp_path, checkpoint, *words, "--system-prompt", "--- user_profile ---")
    values = yaml.safe_load(text)
    assert values["publish"]["output_dir"] == "--my_dir"
    assert values["model"]["quantization"] == "a_b"
    assert values["prompt"]["reasoning_end"] == "--the_end--"
    assert values["prompt"]["system_prompt"] == "--- user_profile ---"
    said = vllm_launch("status", "--", "--odd_run", cwd=tmp_path)
    assert said.code == 2 and "--odd_run: " in said.err


def test_the_home_directory_behind_an_equals_sign(tmp_path: Path, checkpoint: Path, scenario: Path):
    """A shell leaves ~ there as it is; a directory of that name would be removed with all of one's home."""
    words = [*submit_words(checkpoint, scenario), "--dry-run"]
    (tmp_path / "here").mkdir()
    succeed(*words, "--runs-dir=~/runs", cwd=tmp_path / "here", HOME=str(tmp_path / "home"))
    assert (tmp_path / "home" / "runs" / "r" / "run.yaml").is_file()
    assert not list((tmp_path / "here").glob("~*"))
    said = refusal(tmp_path, *words, "--runs-dir=~nobody.here/runs", prefix="vllm-launch submit: ")
    assert said.startswith(
        "Invalid value for '--runs-dir': expected a path, got '~nobody.here/runs'; there is no home directory"
    )


def test_every_value_has_its_origin(tmp_path: Path, checkpoint: Path):
    (tmp_path / "mine.yaml").write_text("extends: quick_test\nsampling:\n  top_p: 0.5\n  top_k: 7\n")
    (tmp_path / "here.yaml").write_text("scheduler: slurm\npartition: gpu\n")
    words = ["--preset", "mine.yaml", "--cluster", "here.yaml", "--top-k", "8", "--set", "sampling.min_p=0.1"]
    text = shown(tmp_path, checkpoint, *words)
    for line in (
        "  top_p: 0.5  # mine.yaml:3",
        "  top_k: 8  # --top-k",
        "  min_p: 0.1  # --set sampling.min_p=0.1",
        "  partition: gpu  # here.yaml:2",
        "  seed: 42  # default",
        f"  checkpoint: {checkpoint}  # --checkpoint",
    ):
        assert line in text.splitlines()
    assert any(
        line.startswith("  max_tokens: 32  # ") and "quick_test.yaml:" in line for line in text.splitlines()
    )
    values = yaml.safe_load(text)
    assert values["sampling"]["top_k"] == 8 and values["resources"]["partition"] == "gpu"
    assert list(tmp_path.iterdir()) and not (tmp_path / "outputs").exists()


def test_what_is_shown_is_a_preset(tmp_path: Path, checkpoint: Path):
    text = shown(tmp_path, checkpoint, "--num-samples", "3", "--stop", '["\\n", "#"]')
    (tmp_path / "again.yaml").write_text(text)
    again = succeed("submit", "--preset", "again.yaml", "--print-config", cwd=tmp_path).out
    assert yaml.safe_load(again) == yaml.safe_load(text)


def test_the_last_of_two_wins(tmp_path: Path, checkpoint: Path):
    words = ["--num-samples", "3", "--set", "sampling.num_samples=4"]
    assert "  num_samples: 4  # --set sampling.num_samples=4" in shown(tmp_path, checkpoint, *words)


def test_presets_lists_what_can_be_named(tmp_path: Path):
    out = succeed("presets", cwd=tmp_path).out
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "presets:",
        "clusters:",
        "datasets:",
    ]
    names = [line.split()[0] for line in out.splitlines() if line.startswith(" ")]
    assert {"quick_test", "production", "high_quality", "throughput", "none", "slurm"} <= set(names)
    assert names[-8:] == [
        *("Chameleons", "DMSC", "MovieLens", "PERSONA-Bench"),
        *("REALTALK", "LovinkDialogue", "LovinkQuestionnaire", "RealPersonaChat"),
    ]
    assert "(also MovieReview)" in out


def test_the_cluster_of_the_environment(tmp_path: Path, checkpoint: Path):
    (tmp_path / "ours.yaml").write_text("scheduler: slurm\npartition: h100\n")
    words = [*submit_words(checkpoint), "--print-config"]
    out = succeed(*words, cwd=tmp_path, VLLM_LAUNCH_CLUSTER="ours.yaml").out
    assert "  partition: h100  # ours.yaml:2" in out.splitlines()


@pytest.mark.parametrize(
    ("scontrol", "scheduler"),
    [
        ("echo 'ClusterName             = ours'", "slurm"),
        ("echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1", "none"),
    ],
)
def test_slurm_is_used_where_it_knows_a_cluster_without_a_file(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, scontrol: str, scheduler: str
):
    """Its configuration may be compiled in elsewhere, or come by DNS; a client alone is no cluster."""
    words = [*submit_words(checkpoint), "--print-config"]
    said = succeed(*words, cwd=tmp_path, PATH=slurm_client(tmp_path, monkeypatch, scontrol)).out
    assert f"  scheduler: {scheduler}  #" in said


def test_a_slurm_that_does_not_answer_starts_nothing_on_the_login_node(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    scontrol = "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1"
    path = slurm_client(tmp_path, monkeypatch, scontrol)
    said = vllm_launch(*submit_words(checkpoint), cwd=tmp_path, PATH=path)
    assert said.code == 2 and len(said.err.splitlines()) == 1
    assert said.err.endswith(" There is an sbatch: choose --cluster slurm or none.\n")
    succeed(*submit_words(checkpoint), "--cluster", "none", "--print-config", cwd=tmp_path, PATH=path)


def slurm_client(folder: Path, monkeypatch: pytest.MonkeyPatch, scontrol: str) -> str:
    """A PATH with an sbatch and this scontrol, on a host without a file of Slurm's."""
    monkeypatch.setattr("launch.cli.new_run.SLURM_CONFIGURATIONS", ())
    monkeypatch.delenv("SLURM_CONF", raising=False)
    for name, text in (("sbatch", "exit 1"), ("scontrol", scontrol)):
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_help_says_what_is_required_and_the_defaults(tmp_path: Path):
    for program in PROGRAMS:
        text = " ".join(single_node(program, "--help", cwd=tmp_path).out.split())
        for words in (
            *(
                "[model.checkpoint; required]",
                "[data.dataset; required]",
                "[prompt.ablation_config; required]",
            ),
            *(
                "lies beside it in OUTPUT_DIR.run. [publish.output_dir; required]",
                "[sampling.top_p; default 0.9]",
                "[sampling.top_k; default 50]",
            ),
            *("[engine.max_model_len; default 8192]", "[prompt.max_context_turns; default 15]"),
            *("5 unless set, 1 when temperature is 0. [sampling.num_samples]", "[model.quantization]"),
        ):
            assert words in text
    text = " ".join(succeed("submit", "--help", cwd=tmp_path).out.split())
    assert "[prompt.ablation_config; default profile_and_context]" in text
    assert "[sampling.ignore_eos; default false]" in text


def test_the_single_node_preset_keeps_the_defaults_that_help_names():
    here, default = resolve(Layers("single_node", "none", {}, [])).config, RunConfig()
    same = {"num_samples": default.sampling.num_samples}
    assert here.sampling.model_copy(update=same) == default.sampling
    assert (here.prompt, here.engine) == (default.prompt, default.engine)
