"""Are the packages that a script needs found from its imports, and no others?"""

from __future__ import annotations

import sys
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from leyden.client.imports import infer
from leyden.core.errors import SpecError
from tests.client.test_capture import write


def found(
    root: Path, script: str = "train.py", python: str = sys.executable
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    inferred = infer(root, files, script, python=python)
    return inferred.requirements, inferred.files


def test_imports_of_local_modules_count_and_their_names_become_distributions(tmp_path: Path) -> None:
    write(tmp_path, {
        "app/train.py": "import os, yaml\nimport model\nfrom pkg.sub import net\nimport leyden\nfrom . import x\n",
        "app/model.py": "def build():\n    import pluggy\n",
        "app/pkg/__init__.py": "",
        "app/pkg/sub/net.py": "from ..tools import helper\n",
        "app/pkg/tools.py": "from click import echo\n",
        "other.py": "import numpy\n",  # nobody imports it
    })  # fmt: skip
    requirements, files = found(tmp_path, "app/train.py")
    assert requirements == tuple(f"{name}=={version(name)}" for name in ("PyYAML", "click", "pluggy"))
    assert files[:2] == ("app/train.py", "app/model.py")
    assert set(files[2:]) == {"app/pkg/__init__.py", "app/pkg/sub/net.py", "app/pkg/tools.py"}


def test_the_part_of_leyden_that_has_an_extra_brings_its_packages(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "from leyden.data import ShardLoader\n"})
    assert {"numpy", "obstore", "zstandard"} <= {one.partition("==")[0] for one in found(tmp_path)[0]}
    write(tmp_path, {"train.py": "from leyden import Trainer\n"})
    assert found(tmp_path)[0] == ()


def test_local_versions_lose_their_label(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "import torch.nn as nn\n"})
    assert found(tmp_path)[0] == (f"torch=={version('torch').partition('+')[0]}",)


def test_what_may_be_missing_may_be_missing(tmp_path: Path) -> None:
    text = """
    from typing import TYPE_CHECKING
    import typing
    try:
        import surely_not_installed
    except ImportError:
        import click
    if TYPE_CHECKING:
        import never_installed
    if typing.TYPE_CHECKING:
        import never_installed
    else:
        import yaml
    """
    write(tmp_path, {"train.py": "\n".join(line.strip(" ") and line[4:] for line in text.splitlines())})
    assert [one.partition("==")[0] for one in found(tmp_path)[0]] == ["PyYAML", "click"]


def test_a_missing_package_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "import os\n\nimport surely_not_installed.sub\n"})
    with pytest.raises(
        SpecError, match=r"train.py:3 imports surely_not_installed; no package of .*--env requirements.txt"
    ):
        found(tmp_path)
    write(tmp_path, {"train.py": "def broken(:\n"})
    with pytest.raises(SpecError, match="is not Python"):
        found(tmp_path)


def test_another_interpreter_is_asked_for_its_own_packages(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    write(site, {
        "mine/__init__.py": "",
        "mine-3.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 3.1\n",
        "mine-3.1.dist-info/RECORD": "mine/__init__.py,,\n",
        "space/one/a.py": "",
        "space_one-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: space-one\nVersion: 1\n",
        "space_one-1.dist-info/RECORD": "space/one/a.py,,\n",
        "space/two/b.py": "",
        "space_two-2.dist-info/METADATA": "Metadata-Version: 2.1\nName: space-two\nVersion: 2\n",
        "space_two-2.dist-info/RECORD": "space/two/b.py,,\n",
        "local_one/__init__.py": "",
        "local_one-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: local-one\nVersion: 1\n",
        "local_one-1.dist-info/RECORD": "local_one/__init__.py,,\n",
        "local_one-1.dist-info/direct_url.json": '{"url": "file:///x", "dir_info": {"editable": true}}',
    })  # fmt: skip
    project, python = tmp_path / "project", str(tmp_path / "venv/bin/python")
    write(project, {"train.py": "import mine\nfrom space.two import b\n"})
    assert found(project, python=python)[0] == ("mine==3.1", "space-two==2")
    write(project, {"train.py": "import local_one\n"})
    with pytest.raises(SpecError, match="local-one is installed from a folder"):
        found(project, python=python)
