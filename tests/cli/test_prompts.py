"""`prompts` shows what the model would be given, with token counts and cuts, and writes nothing."""

import re
import sys
from pathlib import Path

import pytest

from launch.config.schema import Ablation, EngineKind
from launch.model.tokenizer import load_tokenizer_file
from launch.rundir.layout import RunPaths
from launch.rundir.plan import read_index
from launch.rundir.records import load_run, save_record
from tests.cli.commands import submit_words, succeed
from tests.cli.refusals import refusal
from tests.run_requests import requests_of
from tests.runs import SCENARIOS

HEADER = re.compile(
    r"=== (\d+)\. (\S+) \((\w+)\): (\d+) of (\d+) tokens; chat form native;"
    r" left out: (\d+) history entries, (\d+) turns; clipped: \d+ turns(.*)"
)


def headers(here: Path, checkpoint: Path, *words: str) -> tuple[list[re.Match[str]], str]:
    """The line above each prompt, and all that was said."""
    command = ["prompts", "--preset", "quick_test", "--checkpoint", str(checkpoint)]
    said = succeed(*command, "--scenario-path", SCENARIOS / "Chameleons", *words, cwd=here)
    found = [HEADER.fullmatch(line) for line in said.out.splitlines() if line.startswith("=== ")]
    assert list(here.iterdir()) == [], "prompts writes nothing"
    assert None not in found, said.out
    return [match for match in found if match], said.out


def test_every_ablation_shows_tokens_and_cuts(tmp_path: Path, checkpoint: Path):
    tokens = {}
    for ablation in Ablation:
        words = ["--show", "2", "--ablation-config", ablation.value, "--max-model-len", "8192"]
        found, text = headers(tmp_path, checkpoint, *words)
        assert [match[1] for match in found] == ["1", "2"]
        assert all(match[5] == "8160" and match[8] == "" for match in found)
        assert ("Who you are" in text) == ablation.uses_profile
        assert ("What you wrote before" in text) == ablation.uses_history
        tokens[ablation] = int(found[0][4])
    whole = tokens[Ablation.PROFILE_AND_HISTORY_AND_CONTEXT]
    assert all(count <= whole for count in tokens.values())
    assert tokens[Ablation.PROFILE_ONLY] < tokens[Ablation.PROFILE_AND_CONTEXT]
    assert len(set(tokens.values())) == len(Ablation)


def test_a_small_budget_shows_what_is_left_out(tmp_path: Path, checkpoint: Path):
    ablation = ["--ablation-config", "profile_and_history_and_context", "--show", "1"]
    (roomy,), _ = headers(tmp_path, checkpoint, *ablation, "--max-model-len", "8192")
    assert (roomy[6], roomy[7]) == ("0", "0")
    budget = int(roomy[4]) - 60
    (tight,), _ = headers(
        tmp_path, checkpoint, *ablation, "--max-prompt-tokens", str(budget), "--max-model-len", "8192"
    )
    assert int(tight[4]) <= budget and int(tight[6]) > 0
    (none,), _ = headers(tmp_path, checkpoint, *ablation, "--max-prompt-tokens", "50")
    assert none[8] == "; DOES NOT FIT: the item would fail"


@pytest.mark.parametrize("item_type", ["dialogue", "questionnaire"])
def test_only_items_of_a_type(tmp_path: Path, checkpoint: Path, item_type: str):
    found, _ = headers(tmp_path, checkpoint, "--show", "3", "--item-type", item_type)
    assert found and {match[3] for match in found} == {item_type}


def test_those_that_the_preset_would_run_and_no_others(tmp_path: Path, checkpoint: Path):
    found, _ = headers(tmp_path, checkpoint, "--show", "1000", "--limit-items", "5")
    words = [*submit_words(checkpoint), "--limit-items", "5", "--dry-run"]
    succeed(*words, cwd=tmp_path)
    planned = [
        key for entry in read_index(RunPaths(tmp_path / "outputs" / "runs" / "r")) for key in entry.keys
    ]
    assert [match[2] for match in found] == planned and len(planned) == 5


def test_a_mistyped_type_is_an_error(tmp_path: Path, checkpoint: Path):
    words = ["prompts", "--preset", "quick_test", "--checkpoint", str(checkpoint), "--item-type", "dialog"]
    said = refusal(tmp_path, *words, prefix="vllm-launch prompts: ")
    assert said.startswith(
        "Invalid value for '--item-type': 'dialog' is not one of 'dialogue', 'movie_review'"
    )


def test_without_a_preset_or_a_run_it_says_what_is_missing(tmp_path: Path):
    said = refusal(tmp_path, "prompts", prefix="vllm-launch prompts: ")
    assert said.startswith("Missing option '--preset'.")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """Where a run `r` was planned, whose budget is too small for most prompts; not to be changed."""
    root = tmp_path_factory.mktemp("prompts")
    words = ["--ablation-config", "profile_and_history_and_context", "--max-prompt-tokens", "1000"]
    words += ["--cluster", "slurm", "--limit-items", "12", "--num-tasks", "2", "--dry-run"]
    succeed(*submit_words(checkpoint), *words, cwd=root)
    return root


def run_of(here: Path) -> RunPaths:
    return RunPaths(here / "outputs" / "runs" / "r")


def test_an_item_of_a_run_is_shown_as_its_worker_makes_it(here: Path, checkpoint: Path):
    tokenizer, num_cut = load_tokenizer_file(checkpoint), 0
    for place, made in enumerate(requests_of(run_of(here))):
        run = "r" if place % 2 else run_of(here).root
        said = succeed("prompts", run, "--item", made.key, cwd=here)
        head, _, text = said.out.partition("\n")
        facts = HEADER.fullmatch(head)
        assert facts is not None and facts[2] == made.key and said.err == ""
        assert int(facts[4]) == len(made.token_ids) and facts[5] == "1000"
        assert (int(facts[6]), int(facts[7])) == (made.cuts.history, made.cuts.context)
        ids = tokenizer.encode(text.removesuffix("\n\n"), add_special_tokens=False).ids
        assert tuple(ids) == made.token_ids
        num_cut += made.cuts.history + made.cuts.context > 0
    assert place == 11 and num_cut, "of some, something was cut"


def test_of_a_real_engine_also_where_transformers_is_not_installed(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, copied = run_of(here), RunPaths(tmp_path / "copied")
    key = next(requests_of(run)).key
    expected = succeed("prompts", "r", "--item", key, cwd=here).out
    record = load_run(run)
    vllm = record.model_copy(update={"model": record.model.model_copy(update={"engine": EngineKind.VLLM})})
    copied.root.mkdir()
    for path in run.root.iterdir():
        (copied.root / path.name).symlink_to(path)
    copied.run_yaml.unlink()
    save_record(copied.run_yaml, vllm)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert succeed("prompts", copied.root, "--item", key, cwd=here).out == expected


def test_an_unknown_key_is_one_line_with_the_nearest(here: Path):
    (first, *_) = read_index(run_of(here))
    for wrong in (f"{first.user_hash}#9.9", f"{first.user_hash[:-1]}?#0.0", first.user_hash):
        said = refusal(here, "prompts", "r", "--item", wrong)
        assert said.startswith(f"{wrong}: no item of run r has this key. Nearest: ")
        assert said.count(first.user_hash) >= (2 if first.user_hash in wrong else 1)
    said = refusal(here, "prompts", "r", "--item", "電影\x07")
    assert (
        said.startswith("電影\\U00000007: no item of run r has this key. Nearest: ") and first.keys[0] in said
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--item", "a#0.0"], "--item a#0.0: of which run? Write RUN before it."),
        (["r"], "r: of which item? Write --item KEY behind it."),
        (["r", "--item", "a#0.0", "--show", "3"], "--show: a run has its own settings."),
        (["r", "--item", "a#0.0", "--set", "sampling.seed=1"], "--set: a run has its own settings."),
        (["r", "--item", "a#0.0", "--temperature", "1"], "--temperature: a run has its own settings."),
    ],
)
def test_what_a_run_does_not_go_with(here: Path, words: list[str], expected: str):
    assert refusal(here, "prompts", *words, prefix="vllm-launch prompts: ").startswith(expected)


def test_a_run_that_is_not_there(tmp_path: Path):
    said = refusal(tmp_path, "prompts", "r", "--item", "a#0.0")
    assert said.startswith("r: no run here; looked for run.yaml in r and outputs/runs/r.")


def test_a_run_of_which_nothing_is_left_to_make_prompts_of(here: Path, tmp_path: Path):
    copied = tmp_path / "copied"
    copied.mkdir()
    for path in run_of(here).root.iterdir():
        if path.name != "submissions":
            (copied / path.name).symlink_to(path)
    said = refusal(tmp_path, "prompts", "copied", "--item", "a#0.0")
    assert said == "HERE/copied: has no submission, so nothing was planned. Submit it anew."
