"""Where a guide's commands run: a copy of the repository, checkpoints in place of real ones, one shell's variables.

substitutions.yaml is the only difference between what is printed and what runs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.model_shape import SHAPE
from tests.cli.commands import own_names
from tests.guide.commands import Command, is_setting
from tests.models import make_tiny_llama
from tests.quantized_models import make_quantized_llama
from tests.runs import REPOSITORY

TABLE = Path(__file__).with_name("substitutions.yaml")
COPIED = ("launch", "configs", "templates", "demo", "README.md", "LICENSE", "setup.py", "setup.cfg", "pyproject.toml")
PROGRAMS = ("inference_vllm.py", "inference_distributed.py", "inference_with_vllm.sh")
TIMEOUT_S = 300
TINY = ("Llama-3.1-8B-Instruct", "Qwen2.5-72B-Instruct")
MAX_POSITIONS = 32768
# From the published config.json of Qwen2.5-72B-Instruct.
SHAPE_72B: dict[str, Any] = SHAPE | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
}


@dataclass(frozen=True, slots=True)
class Substitution:
    """What stands in a guide, what runs instead, and why."""

    printed: str
    run: str
    reason: str

    def apply(self, text: str) -> tuple[str, int]:
        """The text with it made, and how often it was; never inside a longer word or path."""
        after = "" if self.printed.endswith("/") else r"(?![\w.-])"
        return re.subn(rf"(?<![\w-]){re.escape(self.printed)}{after}", lambda _: self.run, text)


def read_substitutions() -> list[Substitution]:
    """The table, in its order."""
    rows = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [Substitution(row["from"], row["to"], row["reason"]) for row in rows]


@dataclass(slots=True)
class Shell:
    """A directory to work in, the variables exported so far, and which substitutions were made."""

    home: Path
    substitutions: list[Substitution]
    exports: str = ""
    used: set[str] = field(default_factory=set)

    @property
    def repository(self) -> Path:
        """The copy in which commands are typed."""
        return self.home / "vllm-launch"

    def substitute(self, text: str) -> str:
        """What is meant here by a text of the guide."""
        for each in self.substitutions:
            text, times = each.apply(text)
            if times:
                self.used.add(each.printed)
        return text.replace("{home}", str(self.home))

    def run(self, command: Command) -> tuple[int, str]:
        """Exit code and output, both streams; a setting is kept for the commands after it."""
        script = self.substitute(command.script)
        if is_setting(command.script):
            self.exports += script
        kept = {name: value for name, value in os.environ.items() if name not in own_names()}
        changed = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "PYTHONPATH": str(self.repository),
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "200",
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.exports + script],
            cwd=self.repository,
            env=kept | changed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout


def open_shell(home: Path) -> Shell:
    """A fresh copy of the repository and the checkpoints that substitutions.yaml names, below `home`."""
    shell = Shell(home, read_substitutions())
    for name in COPIED + PROGRAMS:
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(REPOSITORY / name, shell.repository / name, ignore=ignored)
        else:
            shutil.copy2(REPOSITORY / name, shell.repository / name)
    models = home / "models"
    for name in TINY:
        make_tiny_llama(models / name, max_position_embeddings=MAX_POSITIONS)
    make_tiny_llama(models / "NewArchitecture", architecture="NewForCausalLM")
    awq, _ = make_quantized_llama(models, "awq")
    awq.rename(models / "Qwen2.5-7B-Instruct-AWQ")
    make_large(home / "shapes" / TINY[0], SHAPE)
    make_large(home / "shapes" / TINY[1], SHAPE_72B)
    return shell


def make_large(path: Path, shape: dict[str, Any]) -> None:
    """A checkpoint of that shape whose weights file has its size and no content: enough for check-model."""
    make_tiny_llama(path, weights="none")
    (path / "config.json").write_text(json.dumps(shape))
    header: dict[str, Any] = {}
    end = 0
    for name, size in _sizes(shape).items():
        header[name] = {"dtype": "BF16", "shape": [size], "data_offsets": [end, end + 2 * size]}
        end += 2 * size
    text = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def _sizes(shape: dict[str, Any]) -> dict[str, int]:
    """Parameters by the names that transformers gives them; one vector for the biases of a layer."""
    hidden, head_dim = shape["hidden_size"], shape["head_dim"]
    kv = shape["num_key_value_heads"] * head_dim
    layer = {
        "self_attn.q_proj.weight": hidden * hidden,
        "self_attn.k_proj.weight": hidden * kv,
        "self_attn.v_proj.weight": hidden * kv,
        "self_attn.o_proj.weight": hidden * hidden,
        "mlp.gate_proj.weight": hidden * shape["intermediate_size"],
        "mlp.up_proj.weight": hidden * shape["intermediate_size"],
        "mlp.down_proj.weight": hidden * shape["intermediate_size"],
        "input_layernorm.weight": hidden,
        "post_attention_layernorm.weight": hidden,
    }
    if shape["model_type"] == "qwen2":
        layer |= {"self_attn.q_proj.bias": hidden, "self_attn.k_proj.bias": kv, "self_attn.v_proj.bias": kv}
    whole = {name: hidden * shape["vocab_size"] for name in ("model.embed_tokens.weight", "lm_head.weight")}
    layers = range(shape["num_hidden_layers"])
    return whole | {f"model.layers.{number}.{name}": size for number in layers for name, size in layer.items()}
