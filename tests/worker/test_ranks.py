"""When does a worker start its ranks as new interpreters, and which are a script's own modules?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from leyden.cli import target
from leyden.worker import fork, nursery, script
from leyden.worker.ranks import start_ranks
from tests.conformance.engine import a_launch


def test_a_worker_that_has_imported_nothing_forks_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit(4)")
    launch = a_launch(tmp_path, "", argv=(sys.executable, "train.py"))
    assert fork.why_not(launch.argv, dict(os.environ), tmp_path) == "nothing is preloaded here"
    ranks = start_ranks(launch, [dict(os.environ)] * 2, tmp_path)
    while ranks.running():
        pass
    ranks.kill()
    assert ranks.first_failure is not None
    assert ranks.first_failure[1] == 4


def test_modules_of_its_own_that_are_imported_already(tmp_path: Path) -> None:
    for name in ("os.py", "sys.py", "train.py", "json.txt", "re.cpython-311-x86_64-linux-gnu.so", "sitecustomize.py"):
        (tmp_path / name).touch()
    for folder in ("pathlib", "argparse"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pathlib/__init__.py").touch()
    # `sys` is built in, a folder without __init__.py comes after all others, and Python starts with sitecustomize.
    assert script.shadows([tmp_path, tmp_path / "nowhere"]) == ["os", "pathlib", "re", "sitecustomize"]
    assert script.shadows([Path(os.__file__).parent / "email"]) == []


def test_folders_python_looks_into(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/train.py").touch()
    (tmp_path / "link.py").symlink_to("real/train.py")
    assert script.folders(tmp_path / "link.py") == [tmp_path.resolve() / "real"]
    assert script.python_path({"PYTHONPATH": "src:/x:"}, tmp_path) == [f"{tmp_path}/src", "/x", str(tmp_path)]
    assert script.python_path({"PYTHONPATH": ""}, tmp_path) == script.python_path({}, tmp_path) == []


def test_a_nursery_notices_what_changed(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.touch()
    before = nursery._changed([str(file), str(tmp_path / "nowhere")])
    assert nursery._changed([str(file), str(tmp_path / "nowhere")]) == before
    os.utime(file, (1, 1))
    assert nursery._changed([str(file), str(tmp_path / "nowhere")]) != before
    assert 0 < nursery._memory_left() < 1


def test_cold_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    assert target.make(["train.py"], {"warm": None}).warm
    assert not target.make(["train.py"], {"warm": False}).warm
