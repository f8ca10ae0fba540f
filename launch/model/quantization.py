"""Quantised checkpoints: what config.json says of them, and which methods the installed vLLM knows.

vLLM is read as text, as in launch/model/engines.py.
"""

import ast
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.model.engines import vllm_file

# Left vLLM for plugins: (the plugin's package, the first vLLM without them).
PLUGINS = {"gguf": ("vllm-gguf-plugin", "0.24"), "bitsandbytes": ("vllm-bnb-plugin", "0.28")}
# Methods of one family are the same checkpoint format. --quantization of another one is refused.
FAMILIES = (
    {"awq", "auto_awq", "awq_marlin"},
    {"gptq", "auto_gptq", "gptq_marlin"},
    {"compressed-tensors"},
    {"fp8"},
    {"bitsandbytes"},
)
FORMATS = set().union(*FAMILIES)
# Methods that only read what a checkpoint brings, and the files where it may say so beside config.json.
NEEDS_CHECKPOINT = {
    **dict.fromkeys(FAMILIES[0], ("quant_config.json", "quantize_config.json")),
    **dict.fromkeys(FAMILIES[1], ("quantize_config.json",)),
    "compressed-tensors": (),
}
ONE_BYTE = (
    "fp8",
    "fp8_per_tensor",
    "fp8_per_block",
    "fp8_per_channel",
    "int8_per_channel_weight_only",
    "mxfp8",
)
"""Methods that quantise plain weights while they are loaded, to about a byte each."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """What config.json says: the method's name in vLLM's spelling, and the size of its groups, if any."""

    method: str
    group_size: int | None


def read_quantization(config: Mapping[str, Any]) -> Quantization | None:
    """The quantisation of a checkpoint; None for plain weights."""
    found = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(found, Mapping):
        return None
    method = str(found.get("quant_method", "compressed-tensors" if "config_groups" in found else ""))
    return Quantization(
        method.lower().replace("compressed_tensors", "compressed-tensors"), _group_size(found)
    )


def known_quantizations() -> frozenset[str] | None:
    """Methods of the installed vLLM and its plugins; None when that cannot be read."""
    path = vllm_file("model_executor", "layers", "quantization", "__init__.py")
    methods = None if path is None else read_methods(path.read_text(encoding="utf-8"))
    if methods is None:
        return None
    return methods | {name for name, (package, _) in PLUGINS.items() if _is_installed(package)}


def read_methods(source: str) -> frozenset[str] | None:
    """The names in `QuantizationMethods = Literal[...]`; None if the text has no such list."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Subscript):
            targets = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if targets == ["QuantizationMethods"]:
                nodes = ast.walk(statement.value.slice)
                names = {node.value for node in nodes if isinstance(node, ast.Constant)}
                return frozenset(name for name in names if isinstance(name, str)) or None
    return None


def family(method: str) -> set[str]:
    """The methods that read the same checkpoints as this one."""
    return next((each for each in FAMILIES if method in each), {method})


def lacks_quantized_weights(method: str, directory: Path) -> bool:
    """Whether a method needs a quantised checkpoint and `directory`, plain by config.json, says nothing."""
    files = NEEDS_CHECKPOINT.get(method)
    return files is not None and not any((directory / name).is_file() for name in files)


def _group_size(found: Mapping[str, Any]) -> int | None:
    sizes = [found.get("group_size"), found.get("q_group_size")]
    groups = found.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        sizes.append(weights.get("group_size") if isinstance(weights, Mapping) else None)
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
