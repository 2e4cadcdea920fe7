"""A package index in a folder: wheels made on the spot, so that building an environment asks nobody for anything."""

from __future__ import annotations

import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str, *, needs: str = "") -> None:
    """A package of one module, whose `__version__` is the version."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    files = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        f"{about}/METADATA": metadata,
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(path, text)


def settings(folder: Path) -> dict[str, str]:
    """What makes uv look there alone."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "uv.toml"
    file.write_text(
        f'no-index = true\noffline = true\nfind-links = ["{folder}"]\ncache-dir = "{folder.parent}/uv-cache"\n'
    )
    return {"UV_CONFIG_FILE": str(file)}
