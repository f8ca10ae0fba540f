"""`vllm-launch quantize` whole: llm-compressor in its pinned environment, vLLM on both, the comparison.

The environment is made on the first run on a machine (about a minute) and stays in the cache.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launch.config.schema import EngineConfig, EngineKind
from launch.config.shipped import shipped
from launch.errors import CheckpointError, StorageError
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.quantize.environment import open_environment
from launch.model.quantize.produce import Quantization, produce
from launch.model.quantize.schemes import Scheme
from launch.model.tensors import read_tensors
from launch.model.weights import find_weights
from launch.worker.engines.vllm_engine import open_vllm
from tests.cli.disks import tiny_disk
from tests.local_submit import Desk
from tests.models import make_tiny_llama
from tests.runs import SCENARIOS
from tests.worker.engine_setups import make_setup
from tests.worker.test_quantized_layouts import greedy_tokens, logit_gaps

# Measured on two shared cores: 107 s, and 52 s more where the environment has to be made.
TIMEOUT_S = 400
# Of the logits of the original, in float32. Measured: 0.0 for the quantised weights, 16.1 for other ones.
MOST_GAP = 1.0
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(TIMEOUT_S + 20),
    pytest.mark.usefixtures("vllm_in_one_process"),
]


@pytest.fixture(scope="module")
def quantizer_python() -> Path:
    """The Python that has llm-compressor."""
    return open_environment(shipped("configs", "quantize", "requirements.txt"), cpu=True, say=print)


def test_w4a16_is_made_loaded_and_compared(tmp_path: Path, quantizer_python: Path):
    # Width 192: 128 does not divide it, so the group size is 64.
    desk = Desk(tmp_path, make_tiny_llama(tmp_path / "tiny", num_heads=6, num_kv_heads=2))
    (desk.checkpoint / "LICENSE").write_text("as you like")
    out = tmp_path / "out"
    words = ("--scheme", "w4a16", "--calibration-items", "8", "--compare-users", "1", "--max-tokens", "8")
    data = ("--dataset", "Chameleons", "--data-root", str(SCENARIOS))
    code, output, errors = desk.launch("quantize", str(desk.checkpoint), str(out), *words, *data).finish(
        TIMEOUT_S
    )
    assert code == 0, errors

    record = json.loads((out / "quantization_recipe.json").read_text())
    original, made = inspect_checkpoint(desk.checkpoint), inspect_checkpoint(out)
    assert (record["scheme"], record["group_size"], record["num_modules"]) == ("w4a16", 64, 14)
    assert record["source"]["digest"] == original.digest
    assert record["versions"]["llmcompressor"] and record["versions"]["compressed-tensors"]
    calibration = record["calibration"]
    assert (calibration["dataset"], calibration["num_prompts"]) == ("Chameleons", 8)
    assert calibration["ablation_config"] == "profile_and_context" and len(calibration["digest"]) == 32

    assert made.config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert made.num_weight_bytes < original.num_weight_bytes
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "LICENSE"):
        assert (out / name).read_bytes() == (desk.checkpoint / name).read_bytes()
    assert "group size 64" in output and "weights " in output

    summaries = {
        name: json.loads((tmp_path / "out.compare" / name / "inference_summary.json").read_text())
        for name in ("original", "quantized")
    }
    as_run = {name: each["engines"][0]["settings"]["quantization"] for name, each in summaries.items()}
    assert as_run == {"original": None, "quantized": "compressed-tensors"}
    assert all(each["engine"] == "vllm" for each in summaries.values())
    items = {each["num_data_items_filled"] for each in summaries.values()}
    assert len(items) == 1 and items.pop() > 0
    assert "exact match" in output and "verdict" in output
    assert not list(tmp_path.glob(".*partial")) and not (tmp_path / "out.log").exists()


def test_fp8_writes_what_it_says_and_a_full_disk_leaves_nothing(tmp_path: Path, quantizer_python: Path):
    original = inspect_checkpoint(make_tiny_llama(tmp_path / "tiny"))
    wanted = Quantization(original, tmp_path / "out", Scheme.FP8, None, [], False, {})
    check_eight_bits(produce(wanted, quantizer_python), "float")
    with tiny_disk(tmp_path / "disk", 1700) as disk:  # the weights take 1.8 MB
        with pytest.raises(StorageError, match=r"disk/out: cannot write: the disk is full\."):
            produce(replace(wanted, out=disk.root / "out"), quantizer_python)
        assert list(disk.root.iterdir()) == []


def test_experts_are_quantised_and_their_router_is_not(tmp_path: Path, quantizer_python: Path):
    original = inspect_checkpoint(make_tiny_mixtral(tmp_path / "tiny"))
    wanted = Quantization(original, tmp_path / "out", Scheme.FP8, None, [], False, {})
    made = produce(wanted, quantizer_python)
    tensors = read_tensors(find_weights(made.path))
    assert tensors is not None
    experts = {name: kind for name, kind in tensors.dtypes.items() if ".experts." in name}
    assert {kind for name, kind in experts.items() if name.endswith(".weight")} == {"F8_E4M3"}
    assert tensors.dtypes["model.layers.0.block_sparse_moe.gate.weight"] == "BF16"
    # Four matrices of attention, three of each of two experts.
    assert json.loads((made.path / "quantization_recipe.json").read_text())["num_modules"] == 10
    narrow = replace(wanted, scheme=Scheme.W4A16, group_size=128, prompts=[[1]], out=tmp_path / "w4")
    with pytest.raises(
        CheckpointError, match=r"group size 128 does not divide 96, the input width of .*experts"
    ):
        produce(narrow, quantizer_python)


def make_tiny_mixtral(path: Path) -> Path:
    """A random Mixtral of one layer and two experts, 96 wide inside."""
    from transformers import AutoConfig, AutoModelForCausalLM

    make_tiny_llama(path, weights="none")
    sizes = {"vocab_size": 640, "hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": 2}
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1}
    config = AutoConfig.for_model("mixtral", **sizes, **heads, **experts)
    AutoModelForCausalLM.from_config(config, dtype="bfloat16").save_pretrained(path)
    return path


def test_w8a8_writes_what_it_says_and_vllm_computes_it(
    tmp_path: Path, quantizer_python: Path, cpu_environment: None
):
    original = inspect_checkpoint(make_tiny_llama(tmp_path / "tiny"))
    prompts = [[7, 8, 9, 10] * 8, [3, 4, 5]]
    wanted = Quantization(original, tmp_path / "out", Scheme.W8A8, None, prompts, False, {})
    made = produce(wanted, quantizer_python)
    check_eight_bits(made, "int")

    limits = EngineConfig(max_model_len=256, max_num_seqs=8, enforce_eager=True)
    setup = make_setup(
        made.path, EngineKind.VLLM, engine=limits, sampling={"temperature": 0, "num_samples": 1}
    )
    # vLLM's kernel for a CPU with AMX takes no other dtype.
    setup = replace(setup, model=setup.model.model_copy(update={"dtype": "bfloat16"}))
    engine = open_vllm(setup, pytest.fail)
    try:
        tokens = greedy_tokens(engine, prompts)
    finally:
        engine.close()
    assert engine.facts.settings["quantization"] == "compressed-tensors"
    gaps = logit_gaps(original.path, prompts, tokens)
    other = logit_gaps(make_tiny_llama(tmp_path / "other", seed=1), prompts, tokens)
    assert max(gaps) < MOST_GAP < max(other)


def check_eight_bits(made: Checkpoint, kind: str) -> None:
    """Weights per channel, activations per token as they come, the head as it was."""
    (group,) = made.config["quantization_config"]["config_groups"].values()
    assert (group["weights"]["type"], group["weights"]["num_bits"]) == (kind, 8)
    assert group["weights"]["strategy"] == "channel"
    assert group["input_activations"]["strategy"] == "token" and group["input_activations"]["dynamic"]
    assert made.config["quantization_config"]["ignore"] == ["lm_head"]


def test_a_group_size_that_does_not_divide_is_one_line_and_leaves_nothing(
    tmp_path: Path, quantizer_python: Path
):
    original = inspect_checkpoint(make_tiny_llama(tmp_path / "tiny"))
    wanted = Quantization(original, tmp_path / "out", Scheme.W4A16, 96, [[1]], False, {})
    with pytest.raises(CheckpointError, match=r"tiny: group size 96 does not divide 256, the input width of"):
        produce(wanted, quantizer_python)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_model_without_linear_layers_is_one_line(tmp_path: Path, quantizer_python: Path):
    # GPT-2 has layers of a kind of its own (Conv1D); its weights are not read before that is seen.
    checkpoint = make_tiny_llama(tmp_path / "tiny")
    shape = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 640, "n_positions": 64}
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "eos_token_id": 2, **shape}
    (checkpoint / "config.json").write_text(json.dumps(config))
    wanted = Quantization(
        inspect_checkpoint(checkpoint), tmp_path / "out", Scheme.W8A8, None, [[1]], False, {}
    )
    with pytest.raises(CheckpointError, match=r"tiny: no Linear layer was found in it"):
        produce(wanted, quantizer_python)
