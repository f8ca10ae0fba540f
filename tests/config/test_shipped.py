"""configs/ and templates/ are found in a checkout, else in the package."""

from pathlib import Path

import pytest

import launch
from launch.config.shipped import shipped, shipped_root, shown


def test_a_checkout_has_them_beside_the_package() -> None:
    assert shipped("configs", "presets").is_dir() and shipped("templates").is_dir()
    assert shipped_root() == Path(launch.__file__).parent.parent


def test_without_a_checkout_the_package_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "launch"
    (package / "configs" / "presets").mkdir(parents=True)
    monkeypatch.setattr(launch, "__file__", str(package / "__init__.py"))
    shipped_root.cache_clear()
    try:
        assert shipped("configs", "presets") == package / "configs" / "presets"
    finally:
        shipped_root.cache_clear()


def test_shown_is_relative_below_the_current_directory(workspace: Path) -> None:
    assert shown(workspace / "a" / "b.yaml") == "a/b.yaml"
    assert shown(Path("/elsewhere/b.yaml")) == "/elsewhere/b.yaml"
    assert shown(workspace / "a\nb") == "a\\U0000000Ab"
