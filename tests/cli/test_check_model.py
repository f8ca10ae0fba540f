"""check-model, and the same check inside submit: refused before anything is written, or said as a note."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import PREFIX, submit_words, succeed, vllm_launch
from tests.cli.refusals import refusal
from tests.models import make_tiny_llama, make_tiny_lora


def check(model: Path, *words: str, code: int = 0) -> str:
    said = vllm_launch("check-model", model, "--max-model-len", "2048", *words, cwd=model)
    assert (said.code, said.err) == (code, "")
    return said.out


def edit(model: Path, **settings: Any) -> Path:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return model


def submit(model: Path, scenario: Path, *words: str) -> list[str]:
    """Of the quick_test preset with vllm, on a Slurm that nothing is sent to."""
    return [*submit_words(model, scenario), "--engine", "vllm", "--dry-run", *words]


@pytest.mark.process  # imports vLLM
def test_an_adapter_is_looked_at_with_its_base(tmp_path: Path, checkpoint: Path) -> None:
    pytest.importorskip("vllm")
    adapter = make_tiny_lora(tmp_path / "lora", checkpoint, base_name="/elsewhere/base")
    words = ("--base-checkpoint", str(checkpoint))
    out = check(adapter, *words)
    assert "note        LoRA adapter: through vLLM's own LoRA, max_lora_rank 8" in out
    assert f"note        LoRA adapter {adapter}, rank 8, over the base model {checkpoint}" in out
    make_tiny_lora(adapter, checkpoint, use_dora=True)
    said = vllm_launch("check-model", adapter, *words, "--engine", "vllm", cwd=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"{PREFIX}{adapter}: vLLM's LoRA does not have use_dora: True. Take --engine")


def test_a_table_for_people(checkpoint: Path) -> None:
    out = check(checkpoint, "--gpu", "H100", "--tp", "4")
    rows = {line[:12].strip(): line[12:] for line in out.splitlines()}
    assert rows["engine"].startswith(("vllm: ", "transformers, "))
    assert rows["heads"] == "8 attention, 4 KV"
    assert rows["longest"] == "2048 tokens; asked for 2048"
    assert rows["gpu"] == "4 x h100, 72.0 GiB of 80 GiB for vLLM"
    assert " tokens (estimated)" in rows["KV cache"]
    assert "fits on one h100" in rows["advice"] and "set --tensor-parallel-size 1" in rows["advice"]
    assert rows["verdict"] == "nothing found that stops it"
    assert "memory      not checked: name a --gpu" in check(checkpoint)


def test_json(checkpoint: Path) -> None:
    value = json.loads(check(checkpoint, "--gpu", "l4", "--json", "--typical-tokens", "100"))
    header = 3_019_448 - value["weight_bytes"]  # the file's size, as test_bad_checkpoint.py has it
    assert 0 < header < 10_000
    assert value["tensor_parallel_sizes"] == [1, 2, 4, 8]
    assert value["memory"]["kv_bytes_per_token"] == 2 * 2 * 4 * 32 * 2
    assert value["memory"]["sequences_at_typical_tokens"] == value["memory"]["kv_tokens"] // 100
    assert value["findings"] == []


def test_errors_make_it_exit_2(checkpoint: Path) -> None:
    out = check(checkpoint, "--tp", "3", "--quantization", "gguf", code=2)
    assert "error       engine.tensor_parallel_size: got 3, over which 8 attention heads" in out
    assert "verdict" not in out


def test_what_is_unknown_is_said(tmp_path: Path) -> None:
    model = edit(make_tiny_llama(tmp_path / "model"), sliding_window=512)
    assert "tokens unknown: a sliding window of 512 tokens" in check(model, "--gpu", "h100")
    other = make_tiny_llama(tmp_path / "foo", architecture="FooForCausalLM", weights="none")
    words = ("--engine", "vllm", "--load-format", "dummy", "--gpu", "h100")
    assert "how much memory the weights take cannot be told" in check(other, *words)


def test_a_preset(checkpoint: Path) -> None:
    out = vllm_launch("check-model", checkpoint, "--preset", "production", cwd=checkpoint)
    assert out.code == 2 and "error       engine.max_model_len: got 8192" in out.out


def test_a_gpu_that_is_not_in_the_table(checkpoint: Path) -> None:
    said = vllm_launch("check-model", checkpoint, "--gpu", "a100", cwd=checkpoint)
    assert said.code == 2
    assert said.errors[0].startswith(
        f"{PREFIX}--gpu: no GPU type 'a100' in configs/gpus.yaml. Write one of h100,"
    )


def test_weights_that_config_json_does_not_speak_of(tmp_path: Path, scenario: Path) -> None:
    model = edit(make_tiny_llama(tmp_path / "model"), num_hidden_layers=3)
    said = (
        "model.checkpoint: the weights in {} lack model.layers.2, and config.json has num_hidden_layers 3."
        " Copy config.json and the weights anew."
    )
    for engine in ("vllm", "transformers"):
        assert f"error       {said.format(model)}\n" in check(model, "--engine", engine, code=2)
        assert refusal(tmp_path, *submit(model, scenario, "--engine", engine)) == said.format("HERE/model")
    edit(model, num_hidden_layers=1)
    said = f"model.checkpoint: the weights in {model} have model.layers.1, and config.json has"
    assert f"error       {said}" in check(model, "--engine", "vllm", code=2)
    assert f"warning     {said}" in check(model, "--engine", "transformers")
    # Code of the checkpoint's own may read it otherwise; random weights are not read at all.
    edit(model, auto_map={"AutoModelForCausalLM": "own.Model"})
    (model / "own.py").touch()
    assert said not in check(model, "--engine", "vllm", "--trust-remote-code", "true")
    assert said not in check(model, "--engine", "vllm", "--load-format", "dummy")


# submit


def test_submit_refuses_what_cannot_be_split(tmp_path: Path, scenario: Path) -> None:
    model = make_tiny_llama(tmp_path / "nine", num_heads=9, num_kv_heads=3, max_position_embeddings=8192)
    words = submit(model, scenario, "--tensor-parallel-size", "4")
    assert refusal(tmp_path, *words) == (
        "engine.tensor_parallel_size: got 4, over which 9 attention heads cannot be shared; 1 and 3 work for"
        " nine. Set --tensor-parallel-size 3."
    )
    production = [word.replace("quick_test", "production") for word in submit(model, scenario)]
    assert "1 and 3 work for nine" in refusal(tmp_path, *production)
    succeed(*submit(model, scenario, "--tensor-parallel-size", "3"), cwd=tmp_path)


def test_submit_refuses_a_length_and_a_quantisation(tmp_path: Path, scenario: Path, checkpoint: Path) -> None:
    assert refusal(tmp_path, *submit(checkpoint, scenario, "--max-model-len", "4096")) == (
        "engine.max_model_len: got 4096, but config.json allows tiny 2048 tokens. Set --max-model-len 2048."
    )


@pytest.mark.engine
def test_submit_refuses_a_quantisation_that_this_vllm_lacks(
    tmp_path: Path, scenario: Path, checkpoint: Path
) -> None:
    message = refusal(tmp_path, *submit(checkpoint, scenario, "--quantization", "gguf"))
    assert message == (
        "model.quantization: vLLM has no gguf of its own since 0.24; install vllm-gguf-plugin, or give other"
        " weights."
    )


def test_submit_refuses_what_does_not_fit_the_gpu_of_the_cluster(tmp_path: Path, scenario: Path) -> None:
    model = make_tiny_llama(tmp_path / "wide", weights="none", max_position_embeddings=8192)
    edit(model, hidden_size=8192, head_dim=1024, intermediate_size=28672, num_hidden_layers=80)
    on_slurm = ("--cluster", "slurm", "--load-format", "dummy", "--num-tasks", "1")
    words = submit(model, scenario, *on_slurm, "--gpu-type")
    message = refusal(tmp_path, *words, "h100")
    assert message.startswith("engine.tensor_parallel_size: wide takes ")
    assert message.endswith("Set --tensor-parallel-size 2.")
    said = succeed(*words, "h100", "--tensor-parallel-size", "2", cwd=tmp_path)
    assert not [note for note in said.notes if "wide takes" in note]
    unknown = succeed(*words, "strange", "--name", "s", cwd=tmp_path)
    assert (
        "resources.gpu_type: the memory of strange is not in configs/gpus.yaml, so it was not checked"
        in unknown.notes
    )


def test_submit_says_when_fewer_gpus_would_do(tmp_path: Path, scenario: Path, checkpoint: Path) -> None:
    words = ("--cluster", "slurm", "--gpu-type", "h100", "--tensor-parallel-size", "4", "--num-tasks", "1")
    said = succeed(*submit(checkpoint, scenario, *words), cwd=tmp_path)
    assert any("tiny fits on one h100" in note for note in said.notes)


def test_a_stub_runs_anything(tmp_path: Path, scenario: Path, checkpoint: Path) -> None:
    words = [*submit_words(checkpoint, scenario), "--dry-run", "--tensor-parallel-size", "3"]
    said = succeed(*words, "--max-model-len", "99999", cwd=tmp_path)
    assert said.notes[0] == "engine stub: as asked for"
    assert not [note for note in said.notes if "engine." in note]
