"""`quantize` refuses before time is spent, draws its prompts fairly, and compares like with like."""

import json
from pathlib import Path
from typing import Any

import pytest

from launch.cli.calibration import draw_prompts
from launch.cli.options import collect_flags
from launch.cli.quantize import SCHEMES
from launch.cli.quantize import command as quantize_command
from launch.cli.quantize_compare import run_flags
from launch.cli.quantizing import calibration_of
from launch.collect.leaderboard.folder import OURS
from launch.config.layers import Layers, resolve
from launch.config.schema import RunConfig
from launch.errors import InputError
from launch.model.checkpoint import inspect_checkpoint
from launch.model.quantize.record import describe
from launch.model.quantize.schemes import Scheme
from tests.cli.commands import PREFIX, Said, succeed, vllm_launch
from tests.cli.disks import read_only, tiny_disk
from tests.cli.refusals import contents, refusal
from tests.cli.test_bad_scenario import BAD_FILES
from tests.models import make_tiny_llama, make_tiny_lora
from tests.quantized_models import add_to_config
from tests.runs import SCENARIOS, make_config
from tests.scenarios import builders


def quantize(here: Path, checkpoint: Path, *words: str | Path, **environment: str) -> Said:
    """Runs quantize to OUT `out` below `here`, on the demo scenario."""
    data = ("--dataset", "Chameleons", "--data-root", SCENARIOS)
    return vllm_launch("quantize", checkpoint, "out", *data, *words, cwd=here, **environment)


def test_help_says_that_autoawq_is_deprecated_and_names_every_scheme(tmp_path: Path):
    said = succeed("quantize", "--help", cwd=tmp_path)
    assert "AutoAWQ" in said.out and "deprecated" in said.out
    assert list(SCHEMES) == [scheme.value for scheme in Scheme]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scheme", "fp8", "--group-size", "64"), "--group-size: has no meaning with --scheme fp8."),
        (("--scheme", "w8a8", "--group-size", "64"), "--group-size: has no meaning with --scheme w8a8."),
        (("--scheme", "w4a16", "--checkpoint", "x"), "--checkpoint: is not taken by quantize. Give the"),
        (("--scheme", "w4a16", "--quantization", "awq"), "--quantization: is not taken by quantize."),
        (("--scheme", "w4a16", "--output-dir", "x"), "--output-dir: is not taken by quantize."),
        (("--scheme", "w4a16", "--limit-items", "5"), "--limit-items: is not taken by quantize. Write"),
        (("--scheme", "w4a16", "--limit-users", "5"), "--limit-users: is not taken by quantize. Write"),
        (("--scheme", "w4a16", "--quantizer-python", "absent"), "--quantizer-python: /"),
        (
            ("--scheme", "fp8", "--quantizer-python", "/bin/true"),
            "--quantizer-python: /bin/true: does not run",
        ),
        (("--scheme", "fp8", "--quantizer-python", "/bin/false"), "--quantizer-python: /bin/false: does not"),
    ],
)
def test_flags_that_mean_nothing_here(tmp_path: Path, checkpoint: Path, words: tuple[str, ...], message: str):
    said = quantize(tmp_path, checkpoint, *words)
    assert said.code == 2
    assert said.err.startswith(PREFIX + message) and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_scheme_is_asked_for_and_is_a_known_one(tmp_path: Path, checkpoint: Path):
    absent = quantize(tmp_path, checkpoint)
    assert absent.code == 2
    assert absent.err == f"{PREFIX}--scheme: not set; expected fp8, w4a16 or w8a8. Give one.\n"
    unknown = quantize(tmp_path, checkpoint, "--scheme", "awq")
    assert unknown.code == 2 and "'fp8', 'w4a16', 'w8a8'" in unknown.err


def test_a_taken_place_is_refused_before_anything_else(tmp_path: Path, checkpoint: Path):
    for taken in ("out", "out.compare"):
        (tmp_path / taken).mkdir()
        (tmp_path / taken / "mine").touch()
        said = quantize(tmp_path, checkpoint, "--scheme", "w4a16")
        assert (said.code, f"{taken}: is there already" in said.err) == (2, True)
        (tmp_path / taken / "mine").unlink()


def test_what_is_quantised_or_no_checkpoint_is_refused(tmp_path: Path):
    awq = make_tiny_llama(tmp_path / "awq")
    add_to_config(awq, {"quantization_config": {"quant_method": "awq"}})
    assert "is quantised already (awq)" in quantize(tmp_path, awq, "--scheme", "fp8").err
    assert "there is no such directory" in quantize(tmp_path, tmp_path / "absent", "--scheme", "fp8").err


def test_an_adapter_is_not_taken_for_its_base(tmp_path: Path, checkpoint: Path):
    adapter = make_tiny_lora(tmp_path / "lora", checkpoint)
    assert refusal(tmp_path, "quantize", adapter, tmp_path / "out", "--scheme", "fp8") == (
        "HERE/lora: is a LoRA adapter, and only whole weights are quantised. To do so, merge it into its base"
        " first (peft: `merge_and_unload`, then `save_pretrained`)."
    )


def test_a_dataset_is_asked_for_where_prompts_are_needed(tmp_path: Path, checkpoint: Path):
    for words in (("--scheme", "w4a16", "--no-compare"), ("--scheme", "fp8")):
        said = vllm_launch("quantize", checkpoint, "out", *words, cwd=tmp_path)
        assert said.code == 2 and said.err.startswith(f"{PREFIX}--dataset: not set")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_bad_scenario_is_seen_before_anything_is_made(
    tmp_path: Path, checkpoint: Path, scheme: str, text: str, message: str
):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "test_leaderboard.json").write_text(text)
    words = ("quantize", checkpoint, "out", "--scheme", scheme, "--scenario-path", "bad")
    assert refusal(tmp_path, *words, "--quantizer-python", "nowhere") == message


def test_a_place_that_cannot_be_written_is_seen_before_anything_is_made(tmp_path: Path, checkpoint: Path):
    words = ("--scheme", "fp8", "--no-compare", "--quantizer-python", "nowhere")
    (tmp_path / "file").write_text("mine")
    assert refusal(tmp_path, "quantize", checkpoint, "file/out", *words) == (
        "HERE/file: is not a directory. Name another directory."
    )
    assert refusal(tmp_path, "quantize", checkpoint, "/proc/out", *words) == (
        "/proc: no directory can be made there. Name another directory."
    )
    assert "name too long" in refusal(tmp_path, "quantize", checkpoint, "x" * 300, *words)
    assert refusal(tmp_path, "quantize", checkpoint, "", *words, prefix="vllm-launch quantize: ") == (
        "Invalid value for 'OUT': expected a path, got ''. See `vllm-launch quantize --help`."
    )
    (tmp_path / "locked").mkdir()
    with read_only(tmp_path / "locked"):
        assert refusal(tmp_path, "quantize", checkpoint, "locked/out", *words) == (
            "HERE/locked: cannot write: writing is not allowed. Name another directory."
        )


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, checkpoint: Path):
    words = ("quantize", checkpoint, "out", "--scheme", "fp8", "--no-compare")
    assert refusal(tmp_path, *words, VLLM_LAUNCH_CACHE="/proc/cache") == (
        "/proc: no directory can be made there. Set VLLM_LAUNCH_CACHE to another place."
    )


def test_a_disk_without_room_for_the_weights_is_seen_before_anything_is_made(
    tmp_path: Path, checkpoint: Path
):
    with tiny_disk(tmp_path / "disk", 256):
        for scheme, least in (("fp8", "1.5 MB"), ("w8a8", "1.5 MB"), ("w4a16", "754.3 kB")):
            words = ("--scheme", scheme, "--dataset", "Chameleons", "--data-root", SCENARIOS)
            assert refusal(tmp_path, "quantize", checkpoint, "disk/new/out", *words) == (
                f"HERE/disk/new/out: cannot write: 262.1 kB are free, and {scheme} weights take at least"
                f" {least}. Free space or choose another directory."
            )


def test_weights_that_transformers_would_make_up_are_not_quantised(tmp_path: Path):
    model = make_tiny_llama(tmp_path / "model")
    words = ("quantize", model, "out", "--scheme", "fp8", "--no-compare", "--quantizer-python", "nowhere")
    add_to_config(model, {"num_hidden_layers": 3})
    assert refusal(tmp_path, *words) == (
        "the weights in HERE/model lack model.layers.2, and config.json has num_hidden_layers 3. Copy"
        " config.json and the weights anew."
    )
    add_to_config(model, {"num_hidden_layers": 1})  # of which transformers reads one layer, and says so
    assert refusal(tmp_path, *words).startswith("--quantizer-python: HERE/nowhere")


# OUT that is there already


def make_out(here: Path, checkpoint: Path, config: RunConfig, scheme: Scheme = Scheme.FP8) -> None:
    """`out`, as `quantize` would leave it but for its weights."""
    add_to_config(make_tiny_llama(here / "out"), {"quantization_config": {"quant_method": "fp8"}})
    prompts = draw_prompts(config, 4) if scheme.needs_prompts else None
    record = describe(inspect_checkpoint(checkpoint), scheme, {}) | calibration_of(config, prompts)
    (here / "out" / "quantization_recipe.json").write_text(json.dumps(record | {"group_size": 64}))


def test_out_that_was_made_as_asked_is_not_made_again(tmp_path: Path, checkpoint: Path):
    make_out(tmp_path, checkpoint, make_config(checkpoint), Scheme.W4A16)
    before = contents(tmp_path)
    words = ("--no-compare", "--quantizer-python", "nowhere", "--scheme")
    same = ("w4a16", "--calibration-items", "4")
    for more in ((), ("--group-size", "64")):
        said = quantize(tmp_path, checkpoint, *words, *same, *more)
        assert said.code == 0, said.err
        assert said.out == f"checkpoint  {tmp_path / 'out'}: is there already, made as asked\n"
    for more, found in (
        (("fp8",), "with scheme w4a16, asked for fp8"),
        ((*same, "--group-size", "32"), "with group size 64, asked for 32"),
        (("w4a16", "--calibration-items", "5"), "from other calibration prompts"),
    ):
        said = quantize(tmp_path, checkpoint, *words, *more)
        assert said.code == 2
        assert said.err == (
            f"{PREFIX}{tmp_path}/out: is there already and was made {found}. Name another directory, or"
            " remove it.\n"
        )
    other = make_tiny_llama(tmp_path / "other", seed=1)
    assert "was made from another original" in quantize(tmp_path, other, *words, *same).err
    assert contents(tmp_path) - {path.relative_to(tmp_path) for path in [other, *other.rglob("*")]} == before


@pytest.mark.process
def test_a_comparison_that_was_interrupted_goes_on_when_it_is_asked_for_again(
    tmp_path: Path, checkpoint: Path
):
    make_out(tmp_path, checkpoint, make_config(checkpoint))
    words = ("--scheme", "fp8", "--engine", "stub", "--compare-users", "1", "--max-tokens", "4")
    said = quantize(tmp_path, checkpoint, *words, VLLM_LAUNCH_STUB_FAIL="step:3")
    assert said.code == 3 and said.errors[-1].endswith(
        "Type the same command again to generate what is missing."
    )
    folder = tmp_path / "out.compare"
    assert [path.name for path in folder.iterdir()] == ["original.run"]
    said = quantize(tmp_path, checkpoint, *words)
    assert said.code == 0, said.err
    assert "original.run: 2 of " in said.out and "verdict" in said.out
    assert {path.name for path in folder.iterdir()} == {
        *("original", "original.run"),
        *("quantized", "quantized.run"),
        *OURS,
    }
    said = quantize(tmp_path, checkpoint, *words)
    assert said.out.count("nothing new since") == 2 and "submission" not in said.out
    said = quantize(tmp_path, checkpoint, *words, "--max-tokens", "5")
    assert "sampling.max_tokens 4, asked for" in said.errors[-1]
    assert said.errors[-1].endswith(f". Ask as before, or move {folder} away.")


# Prompts


def test_a_larger_draw_holds_a_smaller_one_and_spreads_over_users(checkpoint: Path):
    config = make_config(checkpoint)
    small, large, whole = (draw_prompts(config, count) for count in (5, 20, 1000))
    assert len(small.token_ids) == 5 and len(large.token_ids) == 20
    assert list(large.token_ids)[:5] == list(small.token_ids)
    assert all(large.token_ids[key] == ids for key, ids in small.token_ids.items())
    assert len(whole.token_ids) <= whole.of_items == small.of_items
    assert len({key.partition("#")[0] for key in large.token_ids}) > 5
    assert small.digest == draw_prompts(config, 5).digest != large.digest
    assert small.num_tokens == sum(len(ids) for ids in small.token_ids.values())


def test_the_draw_does_not_depend_on_the_order_of_users(tmp_path: Path, checkpoint: Path):
    users = [builders.user(name) for name in ("a1", "b2", "c3", "d4")]
    drawn = []
    for number, order in enumerate((users, users[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        builders.write(folder / "test_leaderboard.json", order)
        drawn.append(draw_prompts(scenario_config(checkpoint, folder), 2))
    assert drawn[0] == drawn[1]


def scenario_config(checkpoint: Path, scenario: Path, **settings: Any) -> RunConfig:
    """quick_test on a scenario directory."""
    return make_config(checkpoint, settings={"data.scenario_path": str(scenario), **settings})


def test_history_goes_in_and_the_budget_is_kept(checkpoint: Path):
    ablation = {"prompt.ablation_config": "profile_and_history_and_context"}
    with_history = draw_prompts(
        make_config(checkpoint, settings={**ablation, "engine.max_model_len": 8192}), 10
    )
    without = draw_prompts(make_config(checkpoint, settings={"engine.max_model_len": 8192}), 10)
    assert with_history.num_tokens > without.num_tokens
    assert with_history.max_prompt_tokens == 2048
    assert max(map(len, with_history.token_ids.values())) <= 2048
    tight = draw_prompts(make_config(checkpoint, settings={**ablation, "prompt.max_prompt_tokens": 900}), 10)
    assert 0 < max(map(len, tight.token_ids.values())) <= 900


def test_prompts_that_cannot_fit_are_no_calibration(checkpoint: Path):
    with pytest.raises(InputError, match=r"no prompt of 10 fits 50 tokens"):
        draw_prompts(make_config(checkpoint, settings={"prompt.max_prompt_tokens": 50}), 10)


# The comparison


def compared(*words: str) -> RunConfig:
    """The configuration of a run of the comparison for flags as typed."""
    context = quantize_command.make_context("quantize", ["IN", "OUT", "--scheme", "fp8", *words])
    flags = run_flags(context.params, Path("/models/x"), Path("/results/out.compare"), "original")
    return resolve(Layers(flags["preset"], "none", collect_flags(flags), flags["sets"])).config


@pytest.mark.parametrize("preset", ["quick_test", "production"])
def test_both_are_greedy_on_whole_users_with_the_flags_given(preset: str):
    config = compared("--preset", preset, "--max-tokens", "99", "--compare-users", "7")
    assert config.model.checkpoint == Path("/models/x")
    assert config.publish.output_dir == Path("/results/out.compare/original")
    assert (config.data.limit_users, config.data.limit_items) == (7, None)
    assert (config.sampling.temperature, config.sampling.samples_per_item) == (0, 1)
    assert config.sampling.max_tokens == 99
    assert config.model.quantization is None


def test_a_temperature_that_is_asked_for_is_kept():
    assert compared("--temperature", "0.7").sampling.temperature == 0.7
