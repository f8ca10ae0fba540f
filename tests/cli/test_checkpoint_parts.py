"""Whole runs of checkpoints as users have them: hub ids, adapters, a tokenizer elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.commands import Said, finish, start, submit_words, succeed
from tests.models import make_tiny_llama, make_tiny_lora, put_in_hub_cache

HUB_ID = "lab/tiny-llama"

pytestmark = pytest.mark.process


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "base", num_layers=1)


def record_of(here: Path, name: str = "r") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((here / "outputs" / "runs" / name / "run.yaml").read_text())
    return loaded


def published(here: Path, file: str, name: str = "r") -> str:
    return (here / "outputs" / "leaderboards" / name / file).read_text()


def test_a_hub_id_and_an_adapter_over_a_hub_id(tmp_path: Path, base: Path, scenario: Path):
    cache = tmp_path / "hub"
    snapshot = put_in_hub_cache(cache, base, HUB_ID)
    said = run_with_cache(cache, tmp_path, *submit_words(Path(HUB_ID), scenario))
    assert f"model.checkpoint: {HUB_ID} is {snapshot} in the Hugging Face cache" in said.notes
    record = record_of(tmp_path)
    assert (record["checkpoint"]["path"], record["checkpoint"]["hub_id"]) == (str(snapshot), HUB_ID)
    summary = json.loads(published(tmp_path, "inference_summary.json"))
    assert (summary["checkpoint"], summary["checkpoint_hub_id"]) == (str(snapshot), HUB_ID)
    assert summary["complete"] is True

    adapter = make_tiny_lora(tmp_path / "lora", base, base_name=HUB_ID)
    said = run_with_cache(cache, tmp_path, *submit_words(adapter, scenario, "lora"))
    assert f"LoRA adapter {adapter}, rank 8, over the base model {snapshot}" in said.notes
    record = record_of(tmp_path, "lora")
    assert record["model"]["checkpoint"] == record["checkpoint"]["adapter"] == str(adapter)
    assert record["model"]["base_checkpoint"] == record["checkpoint"]["path"] == str(snapshot)
    assert json.loads(published(tmp_path, "inference_summary.json", "lora"))["checkpoint"] == str(adapter)


def run_with_cache(cache: Path, here: Path, *words: str) -> Said:
    """A command in a process of its own: huggingface_hub reads the variable when it is imported."""
    said = finish(start(*words, cwd=here, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1"))
    assert said.code == 0, said.err
    return said


def test_a_tokenizer_elsewhere(tmp_path: Path, base: Path, scenario: Path):
    trained = make_tiny_llama(tmp_path / "checkpoint-500", num_layers=1, tokenizer=False)
    said = succeed(*submit_words(trained, scenario), "--tokenizer", base, cwd=tmp_path)
    assert f"tokenizer and chat template of {base}, as asked for" in said.notes
    succeed(*submit_words(base, scenario, "own"), cwd=tmp_path)
    mine, own = (json.loads(published(tmp_path, "inference_summary.json", name)) for name in ("r", "own"))
    assert mine["model"]["tokenizer"] == str(base)
    assert mine["num_prompt_tokens"] == own["num_prompt_tokens"] > 0
    shown = succeed(
        *("prompts", "--preset", "quick_test", "--checkpoint", trained, "--tokenizer", base),
        *("--scenario-path", scenario),
        cwd=tmp_path,
    )
    assert "<|im_start|>" in shown.out


@pytest.mark.engine
@pytest.mark.usefixtures("vllm_in_one_process")
def test_an_adapter_through_vllm_and_through_transformers(tmp_path: Path, base: Path, scenario: Path):
    pytest.importorskip("peft")
    adapter = make_tiny_lora(tmp_path / "lora", base, use_rslora=True)
    greedy = ["--temperature", "0", "--dtype", "float32", "--max-tokens", "16", "--enforce-eager", "true"]
    ways = {
        "vllm": ("LoRA adapter: through vLLM's own LoRA, max_lora_rank 8", "by vLLM's own LoRA, per request"),
        "transformers": (
            "LoRA adapter: merged into its base model in memory, with peft",
            "merged into the base model with peft",
        ),
    }
    for engine, (note, applied) in ways.items():
        words = [*submit_words(adapter, scenario, engine), *greedy, "--engine", engine]
        said = finish(start(*words, cwd=tmp_path), timeout_s=240)
        assert said.code == 0, said.err
        assert note in said.notes
        summary = json.loads(published(tmp_path, "inference_summary.json", engine))
        assert note in summary["notes"]
        assert [each["settings"]["adapter_applied"] for each in summary["engines"]] == [applied]
    by_vllm, by_transformers = (texts(tmp_path, engine) for engine in ways)
    assert by_vllm == by_transformers and len(by_vllm) == 2


def texts(here: Path, name: str) -> dict[str, list[str]]:
    lines = [json.loads(line) for line in published(here, "generations.jsonl", name).splitlines()]
    return {line["key"]: [sample["text"] for sample in line["samples"]] for line in lines}
