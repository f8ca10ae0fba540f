"""Imports: nothing is collected meanwhile, and what is not needed is not found."""

import gc
import importlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest

from launch.worker.startup.imports import fast_imports


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
        assert importlib.util.find_spec("sklearn") is not None
    with fast_imports(hides_sklearn=True):
        assert importlib.util.find_spec("sklearn") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("sklearn")
        with fast_imports(hides_sklearn=True):
            pass
        assert importlib.util.find_spec("sklearn") is None
    module = importlib.import_module("sklearn")
    assert module.VALUE == 5
    with fast_imports(hides_sklearn=True):
        assert importlib.import_module("sklearn") is module
    monkeypatch.delitem(sys.modules, "sklearn")


def test_one_that_was_imported_inside_all_the_same_stays(monkeypatch: pytest.MonkeyPatch):
    """As by another thread, which left a block of its own meanwhile."""
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    module = types.ModuleType("sklearn")
    with fast_imports(hides_sklearn=True):
        monkeypatch.setitem(sys.modules, "sklearn", module)
    assert sys.modules["sklearn"] is module
