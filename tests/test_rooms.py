"""The rooms of launch/ keep their order: imports go one way, nothing heavy on import, no name taken twice."""

import ast
import configparser
import functools
import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch"

# A room imports only from itself and from rooms before it.
ROOMS = (
    "errors",
    "config",
    "model",
    "scenarios",
    "planning",
    "rundir",
    "slurm",
    "worker",
    "collect",
    "doctor",
    "cli",
    "submit",
)
# Seconds to import, or absent on a login node: imported inside functions, and not at all on login-node paths.
HEAVY = {"torch", "transformers", "vllm", "peft", "pynvml", "submitit", "llmcompressor"}
HEAVY |= {"sentence_transformers", "bert_score"}


@dataclass(frozen=True)
class Import:
    """One imported name, `package.module` or `package.module.name`, and where it stands."""

    name: str
    line: int
    on_import: bool  # runs when the module is imported: not inside a function, not for type checkers only


def module_name(path: Path) -> str:
    """`launch.config.schema` of launch/config/schema.py; a package has its own name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def find_imports(source: str, package: str) -> list[Import]:
    """Every import of a module; `package` is what its relative imports start from."""
    return list(_walk(ast.parse(source), package, on_import=True))


def _walk(node: ast.AST, package: str, on_import: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, on_import) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *filter(None, [base])])
        yield from (Import(f"{base}.{alias.name}", node.lineno, on_import) for alias in node.names)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _walk(child, package, on_import=False)
        for child in node.orelse:
            yield from _walk(child, package, on_import)
    else:
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, package, on_import and not inside)


def against_the_order(module: str, imports: list[Import]) -> list[str]:
    """A line for each import from a room that is not before the module's own; launch/__init__.py has none."""
    own = room_of(module)
    allowed = set(ROOMS[: ROOMS.index(own) + 1]) if own else set()
    return [
        f"{module}:{entry.line}: {own or 'launch'} imports {entry.name}, which is not above it"
        for entry in imports
        if (room := room_of(entry.name)) in ROOMS and room not in allowed
    ]


def room_of(name: str) -> str:
    """`config` of launch.config.schema; empty for `launch` itself and for what is not ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "launch" and len(parts) > 1 else ""


def heavy_on_import(module: str, imports: list[Import]) -> list[str]:
    """A line for each heavy import that runs when the module is imported."""
    return [
        f"{module}:{entry.line}: {entry.name} at module level; import it inside the function that needs it"
        for entry in imports
        if entry.on_import and entry.name.split(".")[0] in HEAVY
    ]


def undeclared(module: str, imports: list[Import], declared: set[str]) -> list[str]:
    """A line for each light import of a distribution that setup.cfg does not ask for."""
    lines = []
    for entry in imports:
        top = entry.name.split(".")[0]
        if top == "launch" or top in sys.stdlib_module_names | HEAVY:
            continue
        owners = {normalized(owner) for owner in distributions().get(top, [])}
        if not owners & declared:
            lines.append(f"{module}:{entry.line}: {top} is not in install_requires of setup.cfg")
    return lines


def declared_distributions() -> set[str]:
    """The names in install_requires: what a login node has."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].split()
    return {normalized(re.split(r"[<>=!~;\[]", line)[0]) for line in lines}


def normalized(distribution: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def collect(check) -> list[str]:
    """What `check` says of all modules."""
    return [line for module, imports in modules_of_launch().items() for line in check(module, imports)]


@functools.cache
def modules_of_launch() -> dict[str, list[Import]]:
    """Every module's imports."""
    modules = {}
    for path in sorted(LAUNCH.rglob("*.py")):
        name = module_name(path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        modules[name] = find_imports(path.read_text(encoding="utf-8"), package)
    return modules


@functools.cache
def distributions() -> Mapping[str, list[str]]:
    """Which distributions an importable name comes from."""
    return importlib.metadata.packages_distributions()


def test_imports_go_one_way():
    assert collect(against_the_order) == []


def test_nothing_heavy_is_imported_at_module_level():
    assert collect(heavy_on_import) == []


def test_vllm_is_imported_by_its_adapter_alone():
    """And by what asks vLLM's own LoRA reader on its behalf."""
    importers = {
        module
        for module, imports in modules_of_launch().items()
        if any(room.name.split(".")[0] == "vllm" for room in imports)
    }
    assert importers == {"launch.worker.engines.vllm_calls", "launch.worker.engines.adapted"}


def test_what_is_imported_is_declared():
    declared = declared_distributions()
    assert collect(lambda module, imports: undeclared(module, imports, declared)) == []


def test_what_is_declared_is_imported():
    tops = {entry.name.split(".")[0] for imports in modules_of_launch().values() for entry in imports}
    imported = {normalized(owner) for top in tops for owner in distributions().get(top, [])}
    assert declared_distributions() - imported == set()


def test_every_room_has_its_place_in_the_order():
    found = {path.stem for path in LAUNCH.glob("*.py")} | {path.parent.name for path in LAUNCH.glob("*/*.py")}
    assert found - {"__init__", LAUNCH.name} <= set(ROOMS)


def test_no_room_takes_the_name_of_a_module_of_others():
    # `python launch/submit.py` puts launch/ first on sys.path: a room called `queue` would be everyone's.
    assert [room for room in ROOMS if room in sys.stdlib_module_names] == []
    assert [room for room in ROOMS if room in distributions()] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("launch.config.schema", "from launch.worker.engines import stub"),
        ("launch.config.schema", "from launch import worker"),
        ("launch.config.schema", "import launch.cli.app"),
        ("launch.config.schema", "from ..worker import reader"),
        ("launch.config.schema", "def late():\n    from launch.rundir import layout"),
        ("launch", "from launch.errors import LaunchError"),
    ],
)
def test_an_import_against_the_order_is_found(module: str, source: str):
    assert len(against_the_order(module, find_imports(source, module.rpartition(".")[0]))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from launch.errors import LaunchError",
        "from launch import __version__",
        "from . import lines",
        "from .lines import line_of",
        "import json",
    ],
)
def test_an_import_along_the_order_is_not_reported(source: str):
    assert against_the_order("launch.config.schema", find_imports(source, "launch.config")) == []


@pytest.mark.parametrize(
    ("source", "num_found"),
    [
        ("import torch", 1),
        ("from vllm.sampling_params import RequestOutputKind", 1),
        ("try:\n    import pynvml\nexcept ImportError:\n    raise", 1),
        ("class A:\n    import submitit", 1),
        ("def f():\n    import torch", 0),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", 0),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import torch", 1),
    ],
)
def test_a_heavy_import_is_found_where_it_would_run(source: str, num_found: int):
    assert len(heavy_on_import("launch.worker.gpu", find_imports(source, "launch.worker"))) == num_found


def test_an_undeclared_import_is_found():
    imports = find_imports("import yaml\nimport pytest\nimport torch\nimport json", "launch")
    assert undeclared("launch.x", imports, {"pyyaml"}) == [
        "launch.x:2: pytest is not in install_requires of setup.cfg"
    ]
