"""vLLM against Hugging Face, as a user would compare them: the same prompts, and the same greedy texts.

Where a text differs, its two likeliest tokens were equally likely for all that float32 can say. Transformers
computes every prompt from its start, which takes minutes: every third user's texts are compared, with
PARITY_USERS=all everyone's (`make parity`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.rundir.layout import RunPaths
from tests.run_requests import requests_of
from tests.runs import REPOSITORY, SCENARIOS

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1500), pytest.mark.usefixtures("vllm_in_one_process")]

MAX_TOKENS = 48
# Short prompts: transformers has no prefix cache, and reads each whole.
ABLATION = "context_only"
SHORT = ("--max_context_turns", "3", "--max_chars_per_turn", "60")
PROGRAMS = (("vllm", "inference_vllm.py"), ("hf", "inference_distributed.py"))
EVERY = 1 if os.environ.get("PARITY_USERS") == "all" else 3
NUM_ITEMS = {1: 133, 3: 49}[EVERY]
MIN_IDENTICAL = 0.95
MAX_LOGIT_GAP = 1e-3


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Both demo scenarios in one: every item of the users that are compared."""
    users = [
        user
        for name in ("Chameleons", "DMSC")
        for user in json.loads((SCENARIOS / name / "test_leaderboard.json").read_text())
    ]
    (tmp_path / "scenario").mkdir()
    text = json.dumps(users[::EVERY], ensure_ascii=False)
    (tmp_path / "scenario" / "test_leaderboard.json").write_text(text)
    return tmp_path / "scenario"


def generate(
    program: str, checkpoint: Path, scenario: Path, output: Path, ablation: str, *more: str
) -> RunPaths:
    """A greedy float32 run of every item; the run."""
    words = [
        *("--checkpoint_dir", str(checkpoint), "--dataset", "Chameleons", "--scenario_path", str(scenario)),
        *("--ablation_config", ablation, "--output_dir", str(output)),
        *("--temperature", "0", "--max_tokens", str(MAX_TOKENS), "--dtype", "float32"),
        *("--max_model_len", "2048", "--max_num_seqs", "16", *more),
    ]
    if program == "inference_vllm.py":
        words += ["--engine", "vllm", "--enforce_eager", "true"]
    done = subprocess.run(
        [sys.executable, program, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return RunPaths(output.with_name(f"{output.name}.run"))


def texts_of(output: Path) -> dict[str, str]:
    """The one text of each item, by key."""
    lines = [json.loads(line) for line in (output / "generations.jsonl").read_bytes().splitlines()]
    return {line["key"]: line["samples"][0]["text"] for line in lines}


def first_gap(model: Any, tokenizer: Any, prompt: tuple[int, ...], other: str) -> float:
    """The gap between the two largest logits at the first token at which `other` leaves the greedy text."""
    import torch

    ids = torch.tensor([prompt])
    with torch.inference_mode():
        for _ in range(MAX_TOKENS):
            logits = model(ids).logits[0, -1]
            ids = torch.cat([ids, logits.argmax()[None, None]], dim=1)
            text = tokenizer.decode(ids[0, len(prompt) :], skip_special_tokens=True)
            if not other.startswith(
                text.rstrip("\ufffd")
            ):  # a character may be whole only with its next token
                first, second = logits.topk(2).values.tolist()
                return float(first - second)
    raise AssertionError(f"{other!r} is the greedy text")


def prompts_of(run: RunPaths) -> dict[str, tuple[int, ...]]:
    """Token ids of every item's prompt, by key."""
    return {each.key: each.token_ids for each in requests_of(run)}


@pytest.mark.parametrize("ablation", ["profile_and_context", "profile_only"])
def test_the_same_prompts_in_other_ablations(tmp_path: Path, smollm2: Path, scenario: Path, ablation: str):
    vllm, hf = (
        prompts_of(generate(program, smollm2, scenario, tmp_path / name, ablation, "--dry-run"))
        for name, program in PROGRAMS
    )
    assert vllm == hf and len(hf) == NUM_ITEMS


def test_the_same_prompts_and_the_same_greedy_texts(tmp_path: Path, smollm2: Path, scenario: Path):
    runs = {
        name: generate(program, smollm2, scenario, tmp_path / name, ABLATION, *SHORT)
        for name, program in PROGRAMS
    }
    prompts = {name: prompts_of(run) for name, run in runs.items()}
    assert prompts["vllm"] == prompts["hf"] and len(prompts["hf"]) == NUM_ITEMS
    ours, theirs = texts_of(tmp_path / "vllm"), texts_of(tmp_path / "hf")
    different = [key for key in theirs if ours[key] != theirs[key]]
    assert len(different) <= (1 - MIN_IDENTICAL) * len(theirs), different

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    gaps = {key: first_gap(model, tokenizer, prompts["hf"][key], ours[key]) for key in different}
    print(f"{len(theirs) - len(different)} of {len(theirs)} texts are identical; gaps {gaps}")
    assert all(gap < MAX_LOGIT_GAP for gap in gaps.values()), gaps
