"""Compiled modules of Python are kept somewhere, and none that may be torn."""

import compileall
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

from launch.rundir.journal import write_json
from launch.rundir.process_mark import mark_process
from launch.worker.environment import engine_environment
from launch.worker.startup.boot_mark import BOOT_MARK, OTHERS
from launch.worker.startup.bytecode import bytecode_folder, forget_earlier_bytecode, keeps_bytecode

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
        from launch.worker.startup.bytecode import keeps_bytecode
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
        bytecode=bytecode_folder(base, tmp_path / "node", [PACKAGE]),
    )
    made.make_folders()
    kept = Path(made.report["set"]["PYTHONPYCACHEPREFIX"])
    assert kept.is_relative_to(tmp_path / "node") and kept.stat().st_mode & 0o777 == 0o700
    assert made.report["dropped"] == {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", f"import {PACKAGE}"], env=made.variables, check=True)
    assert {path.name.split(".")[0] for path in kept.rglob(f"*{PACKAGE}*/*.pyc")} == {"__init__", "part"}
    assert not list(package.rglob("*.pyc"))


def test_what_is_not_of_its_source_any_more_is_not_compiled(package: Path):
    """A copy of an installation that did not keep the times of its files."""
    told = {"PYTHONDONTWRITEBYTECODE": "1"}
    compile_by_import(package)
    os.utime(package / "__init__.py", (1, 1))
    assert not keeps_bytecode(told, [PACKAGE])
    compileall.compile_dir(package, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, force=True)
    assert keeps_bytecode(told, [PACKAGE])
    (compiled,) = package.glob("__pycache__/__init__.*")
    compiled.write_bytes(b"")
    assert not keeps_bytecode(told, [PACKAGE])


def test_a_package_that_was_only_imported_in_the_making_of_an_image_is_not_compiled(package: Path):
    """As vLLM, most of which is imported when LLM is first named."""
    for number in range(8):
        (package / f"later_{number}.py").write_text("VALUE = 1", encoding="utf-8")
    compile_by_import(package)
    told = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert not keeps_bytecode(told, [PACKAGE])
    compileall.compile_dir(package, quiet=2)
    assert keeps_bytecode(told, [PACKAGE])


def test_a_package_that_cannot_be_asked_asks_for_nothing(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType(PACKAGE)  # its __spec__ is None, for which find_spec has a ValueError
    monkeypatch.setitem(sys.modules, PACKAGE, module)
    assert keeps_bytecode({"PYTHONDONTWRITEBYTECODE": "1"}, [PACKAGE])


def test_a_disk_that_is_nearly_full_gets_none(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Python leaves what the disk took of a module, and no process can import that (seen with 3.11)."""
    told, node = {"PYTHONDONTWRITEBYTECODE": "1"}, tmp_path / "not made yet" / "node"
    full = shutil.disk_usage(tmp_path)._replace(free=2**29)
    assert bytecode_folder(told, node, [PACKAGE]) == node / "caches" / "bytecode"
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full if place == tmp_path else None)
    assert bytecode_folder(told, node, [PACKAGE]) is None


def test_what_was_kept_before_a_crash_is_removed(tmp_path: Path):
    caches = tmp_path / "caches"
    kept, here = caches / "bytecode" / "torn.pyc", mark_process().as_json()
    kept.parent.mkdir(parents=True)
    kept.touch()
    for mark in (None, here, {**here, "boot": "another", OTHERS: ["host"]}):
        if mark is not None:
            write_json(caches / BOOT_MARK, mark)
        forget_earlier_bytecode(tmp_path)
        assert kept.exists()
    write_json(caches / BOOT_MARK, {**here, "boot": "another"})
    forget_earlier_bytecode(tmp_path)
    assert not kept.exists()
