"""A LoRA adapter and a tokenizer elsewhere in both engines: the same greedy texts, and not the base's."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.worker.engines.adapted import lora_arguments, merge_adapter, refuse_overlooked
from launch.worker.engines.hf import TransformersEngine, open_transformers
from launch.worker.engines.protocol import Engine
from launch.worker.engines.vllm_engine import VllmEngine, open_vllm
from tests.models import make_tiny_llama, make_tiny_lora
from tests.worker.engine_setups import make_requests, make_setup, run_all, texts_of

GREEDY = {"temperature": 0.0, "num_samples": 1}
ODD = """
from transformers import LlamaConfig, LlamaForCausalLM

class OddConfig(LlamaConfig):
    model_type = "odd"

class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig
"""
RANK = 12  # none of vLLM's ranks, so that its padding is tried, too


@pytest.fixture(scope="module")
def adapters(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same adapter in both forms that peft saves."""
    pytest.importorskip("peft")
    root = tmp_path_factory.mktemp("adapters")
    return {form: make_tiny_lora(root / form, tiny_llama, rank=RANK, weights=form) for form in FORMS}


FORMS: tuple[Any, ...] = ("safetensors", "bin")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama as a training run leaves it, without a tokenizer, and with code that must not run."""
    made = make_tiny_llama(tmp_path_factory.mktemp("bare") / "tiny", tokenizer=False)
    bring_code(made, "raise RuntimeError('the code of the checkpoint ran')")
    return made


def bring_code(model: Path, source: str, **changes: Any) -> None:
    """Puts odd.py into a checkpoint, and its classes into config.json."""
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "odd.OddConfig", "AutoModelForCausalLM": "odd.OddForCausalLM"}
    (model / "config.json").write_text(json.dumps(config | changes))
    (model / "odd.py").write_text(source)


@pytest.fixture(scope="module")
def adapted_vllm(
    bare: Path, tiny_llama: Path, adapters, cpu_environment: None, vllm_in_one_process: None
) -> Iterator[VllmEngine]:
    """vLLM with the adapter as .bin and its tokenizer elsewhere."""
    parts = {"adapter": adapters["bin"], "adapter_rank": RANK, "tokenizer": tiny_llama}
    engine = open_vllm(make_setup(bare, EngineKind.VLLM, sampling=GREEDY, **parts), pytest.fail)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def plain_vllm(
    bare: Path, tiny_llama: Path, cpu_environment: None, vllm_in_one_process: None
) -> Iterator[VllmEngine]:
    """vLLM with the base model, its tokenizer elsewhere."""
    setup = make_setup(bare, EngineKind.VLLM, sampling=GREEDY, tokenizer=tiny_llama)
    engine = open_vllm(setup, pytest.fail)
    yield engine
    engine.close()


def merged(bare: Path, tokenizer: Path, adapter: Path | None) -> TransformersEngine:
    """transformers with the adapter, or with the base alone."""
    parts = {"adapter": adapter, "adapter_rank": RANK, "tokenizer": tokenizer}
    return open_transformers(make_setup(bare, EngineKind.TRANSFORMERS, sampling=GREEDY, **parts))


def texts(engine: Engine, tokenizer: Path) -> list[str]:
    generations = run_all(engine, make_requests(tokenizer))
    return [texts_of(generations[number])[0] for number in sorted(generations)]


@pytest.mark.engine
def test_both_engines_write_the_same_and_not_what_the_base_writes(
    bare: Path, tiny_llama: Path, adapters, adapted_vllm: VllmEngine, plain_vllm: VllmEngine
):
    by_vllm, base_by_vllm = texts(adapted_vllm, tiny_llama), texts(plain_vllm, tiny_llama)
    for form in FORMS:
        assert texts(merged(bare, tiny_llama, adapters[form]), tiny_llama) == by_vllm
    assert texts(merged(bare, tiny_llama, None), tiny_llama) == base_by_vllm
    assert all(one != other for one, other in zip(by_vllm, base_by_vllm, strict=True))


@pytest.mark.engine
def test_facts_say_how_the_adapter_is_applied(
    bare: Path, tiny_llama: Path, adapters, adapted_vllm: VllmEngine, plain_vllm: VllmEngine
):
    assert (
        adapted_vllm.facts.settings.items()
        >= {
            "adapter": str(adapters["bin"]),
            "adapter_applied": "by vLLM's own LoRA, per request",
            "tokenizer": str(tiny_llama),
        }.items()
    )
    facts = merged(bare, tiny_llama, adapters["safetensors"]).facts
    assert facts.settings["adapter_applied"] == "merged into the base model with peft"
    assert "peft" in facts.versions
    assert "adapter" not in plain_vllm.facts.settings


@pytest.mark.engine
def test_trusted_code_runs_in_transformers(
    bare: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("torch")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    odd = make_tiny_llama(tmp_path / "odd", tokenizer=False)
    bring_code(odd, ODD, architectures=["OddForCausalLM"], model_type="odd")
    setup = make_setup(odd, EngineKind.TRANSFORMERS, sampling=GREEDY, tokenizer=tiny_llama)
    with pytest.raises(EngineError, match=r"transformers refuses it: .*custom code"):
        open_transformers(setup)
    trusted = replace(setup, model=setup.model.model_copy(update={"trust_remote_code": True}))
    assert texts(open_transformers(trusted), tiny_llama) == texts(merged(bare, tiny_llama, None), tiny_llama)


@pytest.mark.engine
def test_an_adapter_of_another_model_is_a_users_error(bare: Path, tiny_llama: Path, tmp_path: Path):
    pytest.importorskip("peft")
    other = make_tiny_llama(tmp_path / "other", num_heads=4, num_kv_heads=2)
    with pytest.raises(EngineError, match=r"lora: peft refuses it: .*size mismatch"):
        merged(bare, tiny_llama, make_tiny_lora(tmp_path / "lora", other, rank=RANK))


def test_peft_that_is_not_installed_on_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)  # which is how Python says that it is not there
    setup = make_setup(tmp_path, EngineKind.TRANSFORMERS, adapter=tmp_path / "lora", adapter_rank=RANK)
    with pytest.raises(
        EngineError, match=r"lora: peft, which merges a LoRA adapter, is not installed\. Inst"
    ):
        merge_adapter(setup, object())


def test_what_an_older_vllm_overlooks_in_an_adapter_is_refused(tmp_path: Path):
    base = make_tiny_llama(tmp_path / "base", num_layers=1, weights="none")
    adapter = make_tiny_lora(tmp_path / "lora", base, alpha_pattern={"q_proj": 4})
    refuse_overlooked(adapter, {"r", "rank_pattern", "alpha_pattern"})
    with pytest.raises(EngineError, match=r"lora: adapter_config\.json: alpha_pattern is overlooked by this"):
        refuse_overlooked(adapter, {"r", "rank_pattern"})


@pytest.mark.parametrize(("rank", "limit"), [(1, 1), (RANK, 16), (512, 512)])
def test_vllm_is_asked_for_the_least_rank_that_holds(tmp_path: Path, rank: int, limit: int):
    setup = make_setup(tmp_path, EngineKind.VLLM, adapter=tmp_path, adapter_rank=rank)
    assert lora_arguments(setup) == {"enable_lora": True, "max_loras": 1, "max_lora_rank": limit}


def test_without_an_adapter_vllm_is_asked_for_nothing(tmp_path: Path):
    assert lora_arguments(make_setup(tmp_path, EngineKind.VLLM)) == {}
