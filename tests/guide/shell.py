"""Where a guide's commands run: a copy of the repository, checkpoints of ours, the variables of one shell.

substitutions.yaml is the only difference between what is printed and what runs.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.cli.commands import own_names
from tests.guide.commands import Command, is_setting
from tests.guide.shapes import SHAPES, make_shape
from tests.models import make_tiny_llama
from tests.quantized_models import make_quantized_llama
from tests.runs import REPOSITORY

TABLE = Path(__file__).with_name("substitutions.yaml")
COPIED = (
    "launch",
    "configs",
    "templates",
    "demo",
    "README.md",
    "LICENSE",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
)
PROGRAMS = ("inference_vllm.py", "inference_distributed.py", "inference_with_vllm.sh")
CACHE = "VLLM_LAUNCH_CACHE"  # where the environment that quantises lies
TIMEOUT = "300s"
MAX_POSITIONS = 32768


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
    """A directory to work in, what is substituted and how often it was, the variables exported so far."""

    home: Path
    substitutions: list[Substitution]
    exports: str = ""
    used: Counter[str] = field(default_factory=Counter)

    @property
    def repository(self) -> Path:
        """The copy in which commands are typed."""
        return self.home / "vllm-launch"

    def substitute(self, text: str) -> str:
        """What is meant here by a text of the guide."""
        for each in self.substitutions:
            text, times = each.apply(text)
            self.used[each.printed] += times
        return text.replace("{home}", str(self.home))

    def run(self, command: Command) -> tuple[int, str]:
        """Exit code (137: it took too long) and output, both streams; a setting is kept for the rest."""
        script = self.substitute(command.script)
        if is_setting(command.script):
            self.exports += script
        ours = set(own_names()) - {CACHE}
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        changed = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "PYTHONPATH": str(self.repository),
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "200",
        }
        done = subprocess.run(
            ["timeout", "--signal=KILL", TIMEOUT, "bash", "-euo", "pipefail", "-c", self.exports + script],
            cwd=self.repository,
            env=kept | changed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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
    for name in SHAPES:
        make_tiny_llama(models / name, max_position_embeddings=MAX_POSITIONS)
    make_tiny_llama(models / "NewArchitecture", architecture="NewForCausalLM")
    awq, _ = make_quantized_llama(models, "awq")
    awq.rename(models / "Qwen2.5-7B-Instruct-AWQ")
    for name, shape in SHAPES.items():
        make_shape(home / "shapes" / name, shape)
    return shell
