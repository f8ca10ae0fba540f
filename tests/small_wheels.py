"""Wheels of one module, made without setuptools; a copy of this file is also a project's build backend."""

import zipfile
from collections.abc import Sequence
from pathlib import Path


def write_wheel(
    directory: Path, name: str, version: str, *, code: str = "", requires: Sequence[str] = ()
) -> Path:
    """Write a wheel with the module `name`, whose text is `code`; returns its path."""
    module = name.replace("-", "_")
    about = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{module}/__init__.py": code,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{each},,\n" for each in (*files, f"{about}/RECORD"))
    path = directory / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return path


def write_index(directory: Path) -> str:
    """Make the wheels in `directory` a package index as PEP 503 has it; returns its URL."""
    wheels = sorted(directory.glob("*.whl"))
    for wheel in wheels:
        page = directory / wheel.name.split("-")[0].replace("_", "-") / "index.html"
        page.parent.mkdir(exist_ok=True)
        with page.open("a", encoding="utf-8") as handle:
            handle.write(f'<a href="{wheel.as_uri()}">{wheel.name}</a>\n')
    return directory.as_uri()


def build_editable(
    wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None
) -> str:
    """PEP 660's hook, by which pip installs a directory with `-e`."""
    return write_wheel(Path(wheel_directory), "small-project", "1").name
