"""Imports: nothing is collected meanwhile, and their compiled modules are kept somewhere."""

import gc
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.worker.environment import engine_environment
from launch.worker.startup.imports import fast_imports, keeps_bytecode

PACKAGE = "module_of_a_test"
AS_USER = 65534


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package without compiled modules, where Python looks."""
    folder = tmp_path / "site" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import module_of_a_test.part\n", encoding="utf-8")
    (folder / "part.py").write_text("VALUE = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def compile_by_import(package: Path) -> None:
    """As the first process that imports it does."""
    environment = {"PYTHONPATH": str(package.parent), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", f"import {PACKAGE}"], env=environment, check=True)


def test_nothing_is_collected_inside_and_it_is_as_it_was_afterwards():
    with fast_imports():
        assert not gc.isenabled()
        frozen = gc.get_freeze_count()
        made = [[] for _ in range(10_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(made)


def test_a_failure_inside_and_one_in_another_leave_it_as_it_was():
    with fast_imports():
        with pytest.raises(ImportError), fast_imports():
            raise ImportError
        assert not gc.isenabled()
    assert gc.isenabled()


def test_scikit_learn_is_not_there_inside_and_can_be_imported_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sklearn.py").write_text("VALUE = 5", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with fast_imports():
        assert importlib.util.find_spec("sklearn") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("sklearn")
        with fast_imports():
            pass
        assert importlib.util.find_spec("sklearn") is None
    module = importlib.import_module("sklearn")
    assert module.VALUE == 5
    with fast_imports():
        assert importlib.import_module("sklearn") is module
    monkeypatch.delitem(sys.modules, "sklearn")


@pytest.mark.parametrize("variables", [{}, {"PYTHONDONTWRITEBYTECODE": ""}])
def test_python_leaves_compiled_modules_beside_the_sources_where_it_may(package: Path, variables):
    assert keeps_bytecode(variables, [PACKAGE])


def test_python_that_was_told_to_write_none_keeps_what_is_there_already(package: Path):
    told = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert not keeps_bytecode(told, [PACKAGE])
    compile_by_import(package)
    assert keeps_bytecode(told, [PACKAGE])


def test_the_users_own_folder_for_compiled_modules_is_left_to_them(package: Path):
    own = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/own"}
    assert keeps_bytecode(own, [PACKAGE])


@pytest.mark.skipif(os.getuid() != 0, reason="root may write everywhere, and becomes somebody who may not")
def test_a_package_where_this_user_may_not_write(package: Path):
    for folder in (package, *package.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)
    ask = f"""if 1:
        import os, sys
        from launch.worker.startup.imports import keeps_bytecode
        os.setgroups([])
        os.setgid({AS_USER})
        os.setuid({AS_USER})
        sys.path.insert(0, {str(package.parent)!r})
        sys.exit(7 if keeps_bytecode({{}}, [{PACKAGE!r}]) else 8)
    """
    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 8
    compile_by_import(package)
    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 7


def test_packages_that_are_not_there_or_have_no_sources_ask_for_nothing(package: Path):
    (package.parent / "named_only").mkdir()
    assert keeps_bytecode({"PYTHONDONTWRITEBYTECODE": "1"}, ["no_such_package", "named_only", "sys"])


def test_an_engine_process_keeps_them_in_scratch_where_nothing_else_does(package: Path, tmp_path: Path):
    base = {"PYTHONPATH": str(package.parent), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    made = engine_environment(
        base,
        slot_gpus=None,
        scratch=tmp_path / "node",
        cpu_threads=1,
        keeps_bytecode=keeps_bytecode(base, [PACKAGE]),
    )
    made.make_folders()
    kept = Path(made.report["set"]["PYTHONPYCACHEPREFIX"])
    assert kept.is_relative_to(tmp_path / "node") and kept.stat().st_mode & 0o777 == 0o700
    assert made.report["dropped"] == {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", f"import {PACKAGE}"], env=made.variables, check=True)
    assert {path.name.split(".")[0] for path in kept.rglob(f"*{PACKAGE}*/*.pyc")} == {"__init__", "part"}
    assert not list(package.rglob("*.pyc"))
