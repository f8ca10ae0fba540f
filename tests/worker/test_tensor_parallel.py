"""The preset `production` over two workers of vLLM on the CPU.

Overridden are tensor parallel size, engine, dtype and number of items; samples, lengths and the rest stay.
"""

import json
from pathlib import Path

import pytest

from tests.collect.test_schemas import check_directory
from tests.local_submit import Desk, lives
from tests.models import make_tiny_llama

NUM_ITEMS = 2
NUM_SAMPLES = 5
TIMEOUT_S = 400  # measured on two shared cores: 107 to 181 s


@pytest.mark.engine
@pytest.mark.timeout(TIMEOUT_S + 20)
def test_production_runs_with_tensor_parallel_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # 8 heads, for SmolLM2 has 9, which 2 does not divide; one layer, for torch.compile takes a third of it.
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)  # the session's own engines may have set them
    desk = Desk(tmp_path, make_tiny_llama(tmp_path / "model", num_layers=1, max_position_embeddings=8192))
    words = ("--preset", "production", "--tensor-parallel-size", "2", "--limit-items", str(NUM_ITEMS))
    command = desk.submit("tp2", *words, "--engine", "vllm", "--dtype", "float32")
    code, output, errors = command.finish(TIMEOUT_S)
    assert code == 0, errors
    assert f"{NUM_ITEMS} of {NUM_ITEMS} items done" in output

    assert len(command.below) >= 6, (
        "submit, supervisor, engine process, engine core and two workers were expected"
    )
    assert command.left() == []

    lines = (desk.published("tp2") / "generations.jsonl").read_bytes().splitlines()
    samples = [json.loads(line)["samples"] for line in lines]
    assert [len(each) for each in samples] == [NUM_SAMPLES] * NUM_ITEMS
    assert {sample["finish_reason"] for each in samples for sample in each} <= {"stop", "length"}
    assert len({sample["text"] for each in samples for sample in each}) > NUM_ITEMS, "samples are alike"

    check_directory(desk.published("tp2"))
    summary = desk.summary("tp2")
    assert summary["preset"] == "production"
    assert summary["tensor_parallel_size"] == 2
    assert summary["total_samples"] == NUM_ITEMS * NUM_SAMPLES
    assert summary["sampling_params"]["max_tokens"] == 512
    (engine,) = summary["engines"]
    assert engine["kind"] == "vllm" and engine["device"] == "cpu"
    assert engine["settings"]["tensor_parallel_size"] == 2
    assert engine["settings"]["max_model_len"] == 8192

    ((about, ended),) = lives(desk.run("tp2"))
    threads = about["slots"][0]["environment"]["set"]
    # Each rank has its share of the cores, at least one thread, and binds to none.
    assert threads["OMP_NUM_THREADS"] == str(max(1, (about["cpus"] - 1) // 2))
    assert threads["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert ended["reason"] == "empty"
