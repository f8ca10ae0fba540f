"""A start that fails, as its user sees it: what went wrong in a line, what to do numbered."""

import re
from pathlib import Path

import pytest

from launch.rundir.journal import read_json
from tests.local_submit import Desk
from tests.models import make_tiny_llama

START_S = 200  # a start of real vLLM took 17 to 60 s on two shared cores
# 16 layers of 8 KV heads in float32: 32 KiB a token, so the 1 GiB of a CPU holds half of 65,536 tokens.
LENGTH = "65536"
MAX_TOKENS = "32500"
"""With the item's prompt, some hundred tokens, more than fits: else the task mends it by itself."""


@pytest.mark.engine
@pytest.mark.process
@pytest.mark.timeout(START_S + 60)
def test_a_kv_cache_too_small_names_the_flag_that_mends_it(tmp_path: Path):
    model = make_tiny_llama(tmp_path / "m", num_layers=16, num_kv_heads=8, max_position_embeddings=131072)
    desk = Desk(tmp_path, model)
    words = ("--preset", "quick_test", "--engine", "vllm", "--dtype", "float32", "--limit-items", "1")
    command = desk.submit("small", *words, "--max-tokens", MAX_TOKENS, "--max-model-len", LENGTH)
    code, _, errors = command.finish(START_S)
    assert code == 3, errors
    assert command.left() == []
    lines = errors.splitlines()
    (at,) = [place for place, line in enumerate(lines) if line.startswith("task 0 ended with 1: ")]
    assert "the KV cache does not hold one sequence of max_model_len" in lines[at]
    assert lines[at].endswith("task-0.log)")
    assert [line[:5] for line in lines[at + 1 : at + 3]] == ["  1. ", "  2. "]
    advice = "\n".join(lines[at + 1 : at + 3])
    assert any(
        f"on a CPU 1 GiB hold 32768 tokens, fewer than engine.max_model_len {LENGTH}" in x for x in lines
    )

    ended = read_json(desk.run("small").attempt(1, 0, 0).ended)
    assert ended is not None and ended["failure"]["class"] == "kv_cache_too_small"
    assert advice == "\n".join(f"  {n}. {each}" for n, each in enumerate(ended["failure"]["advice"], 1))
    task_log = (tmp_path / "slurm_logs" / "small" / "task-0.log").read_text()
    assert advice in task_log

    flag = re.search(r"--max-model-len (\d+)", advice)
    assert flag is not None
    assert 32_000 < int(flag[1]) <= 32_768, "with so much it starts: tests/worker/test_recovery_vllm.py"
