"""What the installed vLLM and transformers know by themselves, so that no checkpoint has to bring its code.

Both are read as text (importing them takes seconds, and they need torch): names in transformers' tables of
configurations, models and tokenizers, and in vLLM's own table of configurations.
"""

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from launch.config.schema import EngineKind
from launch.model.engines import known_architectures

# package -> file -> tables; transformers 4 and 5, vLLM 0.26 and 0.32.
_CONFIGS = {
    "transformers": {
        "models/auto/auto_mappings.py": "CONFIG_MAPPING_NAMES",
        "models/auto/configuration_auto.py": "CONFIG_MAPPING_NAMES",
    }
}
_VLLM_CONFIGS = {"vllm": {"transformers_utils/config.py": "_CONFIG_REGISTRY"}}
_MODELS = {"transformers": {"models/auto/modeling_auto.py": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"}}
_TOKENIZERS = {"transformers": {"models/auto/tokenization_auto.py": "TOKENIZER_MAPPING_NAMES"}}
# Classes for tokenizer.json alone; no model type has its own of these names.
_GENERIC_TOKENIZERS = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})


def knows_model(kind: EngineKind, config: Mapping[str, Any], architecture: str | None) -> bool | None:
    """Whether this engine loads a model of config.json without its code; None if that cannot be seen here."""
    configs = _names(_CONFIGS)
    if kind is EngineKind.VLLM:
        models, own = known_architectures(), _names(_VLLM_CONFIGS)
        configs = configs and own and configs | own
    else:
        models = _names(_MODELS)
    if models is None or configs is None:
        return None
    return architecture in models and config.get("model_type") in configs


def knows_tokenizer(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> bool | None:
    """The same for the tokenizer, which both engines load with transformers."""
    known = _names(_TOKENIZERS)
    if known is None:
        return None
    name = str(tokenizer_config.get("tokenizer_class") or "").removesuffix("Fast")
    classes = {each.removesuffix("Fast") for each in known | _GENERIC_TOKENIZERS}
    return config.get("model_type") in known or name in classes


def _names(tables: dict[str, dict[str, str]]) -> frozenset[str] | None:
    """Every name in the tables; None when not even one was found."""
    ((package, files),) = tables.items()
    found: frozenset[str] = frozenset()
    for file, table in files.items():
        found |= read_table(package, file, table)
    return found or None


@cache
def read_table(package: str, file: str, table: str) -> frozenset[str]:
    """names_in_table of a file of an installed package; empty when it is not there."""
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder, file)
        if path.is_file():
            return names_in_table(path.read_text(encoding="utf-8"), table)
    return frozenset()


def names_in_table(source: str, table: str) -> frozenset[str]:
    """The strings and keywords of `TABLE = ...` and `TABLE: ... = ...` in the text of a Python file."""
    names: set[str] = set()
    for statement in ast.parse(source).body:
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        value = getattr(statement, "value", None)
        if value is None or not any(isinstance(each, ast.Name) and each.id == table for each in targets):
            continue
        for node in ast.walk(value):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg:
                names.add(node.arg)
    return frozenset(names)
