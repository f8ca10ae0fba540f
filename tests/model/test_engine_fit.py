"""The chosen engine and a checkpoint's adapter and code: what is said, and one line for what does not run."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import EngineKind
from launch.errors import CheckpointError, EngineError
from launch.model.adapters import MAX_LORA_RANKS, max_lora_rank, vllm_objection
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.engine_fit import choose_engine
from launch.model.native import knows_model, knows_tokenizer, names_in_table, read_table
from tests.models import make_tiny_llama, make_tiny_lora

VLLM, TRANSFORMERS, STUB, AUTO = (
    *(EngineKind.VLLM, EngineKind.TRANSFORMERS),
    *(EngineKind.STUB, EngineKind.AUTO),
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "base", num_layers=1)


def said(kind: EngineKind, checkpoint: Checkpoint, trust: bool = False) -> tuple[str, ...]:
    """What is said after the choice of the engine."""
    return choose_engine(kind, checkpoint, trust_remote_code=trust)[1][1:]


def refusal(kind: EngineKind, checkpoint: Checkpoint, trust: bool = False) -> str:
    with pytest.raises(CheckpointError) as caught:
        choose_engine(kind, checkpoint, trust_remote_code=trust)
    return str(caught.value).replace(str(checkpoint.root), "CKPT")


def test_an_adapter_is_run_by_each_engine_in_its_way(base: Path, tmp_path: Path) -> None:
    adapter = inspect_checkpoint(make_tiny_lora(tmp_path / "lora", base, rank=9, use_rslora=True))
    assert said(VLLM, adapter) == ("LoRA adapter: through vLLM's own LoRA, max_lora_rank 16",)
    assert said(TRANSFORMERS, adapter) == ("LoRA adapter: merged into its base model in memory, with peft",)
    assert said(STUB, adapter) == ()


@pytest.mark.process
def test_merging_needs_peft(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    adapter = inspect_checkpoint(make_tiny_lora(tmp_path / "lora", base))
    monkeypatch.setitem(sys.modules, "peft", None)  # which is how Python says that it is not there
    with pytest.raises(EngineError) as caught:
        choose_engine(TRANSFORMERS, adapter, trust_remote_code=False)
    assert str(caught.value) == (
        f"{adapter.root}: the transformers engine merges a LoRA adapter with peft, which is not installed"
        " here. Install vllm-launch[hf], or peft."
    )


@pytest.mark.parametrize(
    ("settings", "objection"),
    [
        ({"use_dora": True}, "vLLM's LoRA does not have use_dora: True"),
        ({"modules_to_save": ["lm_head"]}, "vLLM's LoRA does not have modules_to_save: ['lm_head']"),
        ({"bias": "all"}, "vLLM's LoRA does not have bias: 'all'"),
        ({"init_lora_weights": "pissa"}, "vLLM's LoRA does not have init_lora_weights: 'pissa'"),
        (
            {"rank_pattern": {"q_proj": 513}},
            "vLLM's LoRA takes ranks up to 512, and this one has 513",
        ),
    ],
)
def test_what_vllms_lora_does_not_run(
    base: Path, tmp_path: Path, settings: dict[str, Any], objection: str
) -> None:
    adapter = inspect_checkpoint(make_tiny_lora(tmp_path / "lora", base, **settings))
    assert refusal(VLLM, adapter) == (
        f"CKPT: {objection}. Take --engine transformers, which merges it with peft, or merge it into its base"
        " first (peft: `merge_and_unload`, then `save_pretrained`)."
    )
    kind, sentences = choose_engine(AUTO, adapter, trust_remote_code=False)
    assert kind is TRANSFORMERS
    assert objection in sentences[0] or "vLLM is not installed here" in sentences[0]


def test_settings_that_change_nothing_are_no_objection(base: Path, tmp_path: Path) -> None:
    harmless = {
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "layer_replication": None,
    }
    adapter = inspect_checkpoint(make_tiny_lora(tmp_path / "lora", base, **harmless)).adapter
    assert adapter is not None and vllm_objection(adapter) is None


@pytest.mark.process
@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_whole_tensors_in_an_adapter_are_seen(base: Path, tmp_path: Path, weights: Any) -> None:
    pytest.importorskip("torch")
    whole = ("base_model.model.lm_head.weight",)
    made = make_tiny_lora(tmp_path / "lora", base, weights=weights, whole_tensors=whole)
    adapter = inspect_checkpoint(made).adapter
    assert adapter is not None
    assert vllm_objection(adapter) == (
        "vLLM's LoRA leaves out whole tensors, and this one has 1, such as base_model.model.lm_head.weight"
    )


def test_ranks_are_those_of_the_installed_vllm() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = Path(spec.origin).parent.joinpath("config", "lora.py").read_text(encoding="utf-8")
    listed = re.search(r"MaxLoRARanks = Literal\[([\d, ]+)\]", source)
    assert listed is not None
    assert tuple(int(rank) for rank in listed[1].split(",")) == MAX_LORA_RANKS
    assert [max_lora_rank(rank) for rank in (1, 8, 9, 512)] == [1, 8, 16, 512]


def test_whole_weights_beside_an_adapter_config(base: Path) -> None:
    (base / "adapter_config.json").write_text("{}")
    whole = inspect_checkpoint(base)
    assert whole.adapter is None
    assert said(VLLM, whole) == (
        "adapter_config.json lies beside whole weights: these are taken as they are, without an adapter",
    )
    assert refusal(TRANSFORMERS, whole) == (
        "CKPT: has whole weights beside adapter_config.json, and transformers would load an adapter on top of"
        " them. Move adapter_* elsewhere, and give the one directory that is meant."
    )


def bring_code(model: Path, *, native: bool = False, files: bool = True, prefix: str = "") -> Checkpoint:
    """The checkpoint with an auto_map for a model of its own, or for one that the engines know."""
    config = json.loads((model / "config.json").read_text())
    names = {
        "AutoConfig": "configuration_odd.OddConfig",
        "AutoModelForCausalLM": "modeling_odd.OddForCausalLM",
    }
    config["auto_map"] = {key: f"{prefix}{name}" for key, name in names.items()}
    if not native:
        config |= {"architectures": ["OddForCausalLM"], "model_type": "odd"}
    (model / "config.json").write_text(json.dumps(config))
    if files:
        for name in ("configuration_odd.py", "modeling_odd.py"):
            (model / name).write_text("raise RuntimeError('this code ran')")
    return inspect_checkpoint(model)


def test_code_where_the_engine_is_not_installed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_table.cache_clear()
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert said(TRANSFORMERS, bring_code(base)) == (
        "code of the checkpoint (configuration_odd.py, modeling_odd.py) does not run; whether transformers"
        " needs it cannot be seen here",
    )
    read_table.cache_clear()


@pytest.mark.parametrize("kind", [VLLM, TRANSFORMERS])
def test_code_that_would_have_to_run(base: Path, kind: EngineKind) -> None:
    odd = bring_code(base)
    assert odd.files.keys() >= {"configuration_odd.py", "modeling_odd.py"}
    assert refusal(kind, odd) == (
        f"CKPT: {kind} does not know OddForCausalLM by itself; it would run the checkpoint's own code:"
        " configuration_odd.py, modeling_odd.py. Read it, and give --trust-remote-code true if you trust it."
    )
    assert said(kind, odd, trust=True) == (
        "model.trust_remote_code: code of the checkpoint may run: configuration_odd.py, modeling_odd.py",
    )


@pytest.mark.parametrize("kind", [VLLM, TRANSFORMERS])
def test_code_of_a_known_architecture_does_not_run_and_that_is_said(base: Path, kind: EngineKind) -> None:
    known = bring_code(base, native=True)
    assert said(kind, known) == (
        f"code of the checkpoint (configuration_odd.py, modeling_odd.py) does not run: {kind} knows"
        " LlamaForCausalLM by itself",
    )


@pytest.mark.process
@pytest.mark.parametrize("model_type", ["llama", "qwen2", "odd"])
@pytest.mark.parametrize(
    "tokenizer_class", ["OddTokenizer", "PreTrainedTokenizerFast", "Qwen2Tokenizer", "LlamaTokenizerFast"]
)
def test_code_of_a_tokenizer_is_foretold_as_transformers_decides(
    base: Path, model_type: str, tokenizer_class: str
) -> None:
    transformers = pytest.importorskip("transformers")
    auto_map = {"AutoTokenizer": ["tokenization_odd.Odd", None]}
    edit_json(base / "config.json", model_type=model_type)
    edit_json(base / "tokenizer_config.json", tokenizer_class=tokenizer_class, auto_map=auto_map)
    (base / "tokenization_odd.py").write_text("raise RuntimeError('this code ran')")
    seen = inspect_checkpoint(base)
    try:
        transformers.AutoTokenizer.from_pretrained(base, trust_remote_code=False, local_files_only=True)
    except ValueError:
        assert refusal(VLLM, seen).startswith(
            "CKPT: vllm does not know its tokenizer by itself; it would run the checkpoint's own code:"
            " tokenization_odd.py."
        )
    else:
        assert said(VLLM, seen) == (
            "code of the checkpoint (tokenization_odd.py) does not run:"
            " vllm knows LlamaForCausalLM by itself",
        )


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_trusted_code_has_to_be_in_the_checkpoint(base: Path) -> None:
    assert refusal(VLLM, bring_code(base, files=False), trust=True) == (
        "CKPT: auto_map: names configuration_odd.py, which is not there. Copy it there."
    )
    assert refusal(VLLM, bring_code(base, prefix="lab/odd--"), trust=True) == (
        "CKPT: auto_map: takes its code from another repository (lab/odd--configuration_odd.py), which no"
        " digest of this checkpoint holds. Copy configuration_odd.py of lab/odd here and take `lab/odd--`"
        " out."
    )


def test_trust_where_there_is_no_code(base: Path) -> None:
    plain = inspect_checkpoint(base)
    assert said(VLLM, plain) == ()
    assert said(VLLM, plain, trust=True) == (
        "model.trust_remote_code: ignored, the checkpoint brings no code",
    )


def test_what_the_installed_engines_know() -> None:
    pytest.importorskip("transformers")
    assert knows_model(TRANSFORMERS, {"model_type": "qwen2"}, "Qwen2ForCausalLM") is True
    assert knows_model(TRANSFORMERS, {"model_type": "odd"}, "Qwen2ForCausalLM") is False
    assert knows_tokenizer({"model_type": "odd"}, {"tokenizer_class": "PreTrainedTokenizerFast"}) is True
    assert knows_tokenizer({"model_type": "odd"}, {"tokenizer_class": "QWenTokenizer"}) is False


@pytest.mark.process  # imports the whole of transformers
def test_the_tables_are_the_ones_that_the_installed_transformers_uses() -> None:
    auto = pytest.importorskip("transformers.models.auto.configuration_auto")
    modeling = pytest.importorskip("transformers.models.auto.modeling_auto")
    for model_type, name in modeling.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        names = [name] if isinstance(name, str) else name
        expected = model_type in auto.CONFIG_MAPPING_NAMES
        assert all(knows_model(TRANSFORMERS, {"model_type": model_type}, each) is expected for each in names)


def test_a_table_is_read_in_every_form() -> None:
    source = (
        'A = OrderedDict([("a", "AConfig")])\nB: dict[str, str] = Lazy(b="BConfig")\nB.update({"c": "C"})\n'
    )
    assert names_in_table(source, "A") == {"a", "AConfig"}
    assert names_in_table(source, "B") == {"b", "BConfig"}
    assert names_in_table(source, "C") == frozenset()
