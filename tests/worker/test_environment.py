"""Do ranks run in the environment their job asks for, built once, whole or not at all?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from leyden.core.environment import read_environment
from leyden.core.errors import SpecError
from leyden.engines import record
from leyden.engines.base import Ending, Launch, Outcome
from leyden.engines.leftovers import kill_leftovers
from leyden.worker import environment
from leyden.worker.bell import Bell
from leyden.worker.deadline import deadline_of
from leyden.worker.recipe import make_recipe
from tests.conformance.engine import a_launch
from tests.conformance.until import until
from tests.worker.test_attempt import log, run, start
from tests.worker.wheels import settings, wheel

SHOWS = """
import sys, importlib.util, leyden
import alpha
print("alpha", alpha.__version__, sys.prefix, importlib.util.find_spec("click"), leyden.__version__)
leyden.log({"loss": 1.0})
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    wheel(folder, "alpha", "1.0")
    wheel(folder, "alpha", "2.0", needs="beta")
    wheel(folder, "beta", "1.0")
    return folder


def job(tmp_path: Path, env: str, program: str = SHOWS, *, name: str = "run", **files: str) -> Launch:
    """An attempt of train.py in a folder with those files."""
    run_dir = tmp_path / name
    run_dir.mkdir()
    (run_dir / "train.py").write_text(program)
    for file, text in files.items():
        (run_dir / file.replace("__", ".")).write_text(text)
    return a_launch(
        run_dir, "", argv=(sys.executable, "train.py"), script="train.py", python=sys.executable, env=env,
        envs=str(tmp_path / "envs"), environ={**os.environ, "PATH": "/usr/bin:/bin", **settings(tmp_path / "wheels")},
    )  # fmt: skip


def ended(launch: Launch) -> tuple[Outcome, str]:
    return run(launch), log(Path(launch.run_dir))


def built(tmp_path: Path) -> list[str]:
    """Everything in the folder of environments but locks."""
    return sorted(one.name for one in (tmp_path / "envs").glob("*") if one.suffix != ".lock")


def test_requirements_are_built_once_and_the_script_sees_them_alone(tmp_path: Path, index: Path) -> None:
    first = job(tmp_path, "requirements.txt", requirements__txt="alpha\n")
    outcome, said = ended(first)
    assert outcome.kind is Ending.SUCCEEDED, said
    (key,) = built(tmp_path)
    assert said.startswith("leyden: building the environment of requirements.txt\n")
    assert f"leyden: environment {key} built in " in said
    assert said.endswith(f"alpha 2.0 {tmp_path}/envs/{key} None 0.1.0\n")
    view = read_environment(first.folder)
    assert view is not None
    assert (view.env, view.key, view.packages) == ("requirements.txt", key, ("alpha==2.0", "beta==1.0"))
    assert view.version == ".".join(map(str, sys.version_info[:3]))
    at = (tmp_path / "envs" / key).stat().st_ctime_ns
    outcome, said = ended(job(tmp_path, "req.txt", name="second", req__txt="# the same\nalpha  # new\n"))
    assert (outcome.kind, said.count("\n"), said.split()[1]) == (Ending.SUCCEEDED, 1, "2.0")  # nothing but its own line
    assert built(tmp_path) == [key]
    assert (tmp_path / "envs" / key).stat().st_ctime_ns == at


def test_two_jobs_at_once_build_it_once(tmp_path: Path, index: Path) -> None:
    launches = [job(tmp_path, "requirements.txt", name=name, requirements__txt="alpha==1.0") for name in "abc"]
    workers = [start(launch) for launch in launches]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    said = [log(Path(launch.run_dir)) for launch in launches]
    assert sum("built in" in text for text in said) == 1
    assert all("alpha 1.0" in text for text in said)
    assert len(built(tmp_path)) == 1


def test_what_cannot_be_resolved_fails_in_the_resolvers_words(tmp_path: Path, index: Path) -> None:
    launch = job(tmp_path, "requirements.txt", requirements__txt="alpha==3\n")
    outcome, said = ended(launch)
    assert (outcome.kind, outcome.exit_code) == (Ending.FAILED, 1)
    assert "the environment of requirements.txt cannot be built; uv says: " in outcome.message
    assert "there is no version of alpha==3" in outcome.message
    assert "alpha==3" in said
    assert built(tmp_path) == []
    (Path(launch.run_dir) / "requirements.txt").write_text("alpha==1.0")  # what is left must not be in the way
    again = replace(launch, number=2, engine_ref="again")
    assert run(again).kind is Ending.SUCCEEDED


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """An index that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        one.settimeout(60)
        yield one


def hanging(tmp_path: Path, silent: socket.socket, name: str = "run") -> Launch:
    launch = job(tmp_path, "requirements.txt", name=name, requirements__txt="alpha")
    environ = {key: value for key, value in launch.environ.items() if key != "UV_CONFIG_FILE"}
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
    return replace(launch, environ={**environ, "UV_INDEX_URL": url, "UV_HTTP_TIMEOUT": "600"})


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_cancel_ends_a_build_that_hangs(tmp_path: Path, silent: socket.socket) -> None:
    launch = hanging(tmp_path, silent)
    worker = start(launch)
    with silent.accept()[0]:
        (uv,) = psutil.Process(worker.pid).children()
        said = record.read_worker(launch.folder)
        assert said is not None
        assert said.doing == "building the environment of requirements.txt"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome is not None
    assert (outcome.kind, outcome.message) == (Ending.CANCELLED, "cancelled while its environment was built")
    until(lambda: not lives(uv))
    assert built(tmp_path) == []


def test_a_build_counts_to_the_time_limit(tmp_path: Path, silent: socket.socket) -> None:
    outcome = run(replace(hanging(tmp_path, silent), time_s=0.5))
    assert outcome.kind is Ending.TIMED_OUT
    assert outcome.message == "stopped at its time limit of 0.5 s; its environment was still being built"
    assert built(tmp_path) == []


def test_nobody_builds_where_the_uv_of_a_killed_worker_still_writes(tmp_path: Path, silent: socket.socket) -> None:
    killed = hanging(tmp_path, silent)
    first = start(killed)
    with silent.accept()[0]:
        (uv,) = psutil.Process(first.pid).children()
        first.kill()
        first.wait()
        second = start(hanging(tmp_path, silent, name="second"))
        until(lambda: (tmp_path / "second/logs/a1-r0.log").exists() and "waiting" in log(tmp_path / "second"))
        assert lives(uv)
        kill_leftovers(None, killed.engine_ref)  # as the engine does for a worker that is gone
        assert not lives(uv)
    with silent.accept()[0]:
        second.terminate()
        assert second.wait(20) == 0


def test_a_killed_worker_leaves_nothing_that_is_taken_for_whole(tmp_path: Path, index: Path) -> None:
    launch = job(tmp_path, "requirements.txt", requirements__txt="alpha==1.0")
    key = make_recipe(launch).key
    (tmp_path / "envs" / f".{key}.draft" / "bin").mkdir(parents=True)
    assert ended(launch)[0].kind is Ending.SUCCEEDED
    assert built(tmp_path) == [key]


PROJECT = """
[project]
name = "mine"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["alpha<2"]
"""


def test_pyproject_and_its_lock(tmp_path: Path, index: Path) -> None:
    plain = job(tmp_path, "pyproject.toml", pyproject__toml=PROJECT)
    outcome, said = ended(plain)
    assert (outcome.kind, said.splitlines()[-1].split()[:2]) == (Ending.SUCCEEDED, ["alpha", "1.0"]), said
    locked = job(tmp_path, "pyproject.toml", name="locked", pyproject__toml=PROJECT.replace("<2", ">=1"))
    subprocess.run(["uv", "lock", "-q"], cwd=locked.run_dir, env=_with_uv(locked), check=True)
    wheel(index, "alpha", "2.1")  # newer than the lock
    outcome, said = ended(locked)
    assert (outcome.kind, said.splitlines()[-1].split()[:2]) == (Ending.SUCCEEDED, ["alpha", "2.0"]), said
    view = read_environment(locked.folder)
    assert view is not None
    assert view.packages == ("alpha==2.0", "beta==1.0")  # not "mine": its code is the job's copy
    assert make_recipe(replace(locked, env="uv.lock")).key == view.key
    export = ["uv", "export", "-q", "--frozen", "--format", "pylock.toml", "-o", "pylock.toml"]
    subprocess.run(export, cwd=locked.run_dir, env=_with_uv(locked), check=True)
    outcome = run(replace(locked, env="pylock.toml", number=2, engine_ref="a2"))
    said = (Path(locked.run_dir) / "logs/a2-r0.log").read_text()
    assert (outcome.kind, said.splitlines()[-1].split()[:2]) == (Ending.SUCCEEDED, ["alpha", "2.0"]), said


def test_a_block_in_the_script(tmp_path: Path, index: Path) -> None:
    block = '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "alpha==1.0",\n# ]\n# ///\n'
    outcome, said = ended(job(tmp_path, "script", block + SHOWS))
    assert (outcome.kind, said.splitlines()[-1].split()[:2]) == (Ending.SUCCEEDED, ["alpha", "1.0"]), said
    outcome = run(job(tmp_path, "script", name="none"))
    assert (outcome.kind, outcome.exit_code) == (Ending.FAILED, 1)
    assert "`# /// script` of train.py; there is none" in outcome.message
    outcome = run(job(tmp_path, "script", block.replace("3.11", "3.99") + SHOWS, name="new"))
    assert outcome.kind is Ending.FAILED
    assert "3.99" in outcome.message


def test_a_command_finds_the_programs_of_the_environment(tmp_path: Path, index: Path) -> None:
    launch = job(tmp_path, "requirements.txt", requirements__txt="alpha==1.0")
    program = "python -c 'import alpha; print(alpha.__file__)'; echo $VIRTUAL_ENV"
    outcome, said = ended(replace(launch, argv=("sh", "-c", program), script=""))
    assert outcome.kind is Ending.SUCCEEDED
    (key,) = built(tmp_path)
    assert said.splitlines()[-1] == f"{tmp_path}/envs/{key}"
    assert said.splitlines()[-2].startswith(f"{tmp_path}/envs/{key}/lib/")


def test_where_there_is_torch_the_trainer_finds_what_it_needs(tmp_path: Path, index: Path) -> None:
    wheel(index, "torch", "2.13.0")
    for name, version in (("numpy", "2.0"), ("psutil", "7.0"), ("rich", "14.0"), ("safetensors", "0.6")):
        wheel(index, name, version)
    launch = job(
        tmp_path, "requirements.txt", "import torch, numpy, psutil, safetensors, rich", requirements__txt="torch"
    )
    assert ended(launch)[0].kind is Ending.SUCCEEDED


def test_inherited_packages_are_on_record(tmp_path: Path) -> None:
    launch = job(tmp_path, "inherit", "print('x')")
    assert ended(launch)[0].kind is Ending.SUCCEEDED
    view = read_environment(launch.folder)
    assert view is not None
    assert (view.env, view.key, view.python) == ("inherit", "", sys.executable)
    assert any(one.startswith("click==") for one in view.packages)


def test_the_key_is_what_changes_the_packages(tmp_path: Path) -> None:
    launch = job(tmp_path, "requirements.txt", requirements__txt="alpha\n-r more.txt\n", more__txt="beta\n")
    run_dir, key = Path(launch.run_dir), make_recipe(launch).key
    (run_dir / "requirements.txt").write_text("# a comment\nalpha\n\n-r more.txt # x\n")
    assert make_recipe(launch).key == key
    assert make_recipe(replace(launch, environ={**launch.environ, "UV_CACHE_DIR": "/elsewhere"})).key == key
    assert make_recipe(replace(launch, environ={**launch.environ, "UV_INDEX_URL": "http://x"})).key != key
    (run_dir / "uv.toml").write_text("no-index = true\n")
    assert make_recipe(launch).key != key
    (run_dir / "uv.toml").unlink()
    (run_dir / "more.txt").write_text("beta==1\n")
    assert make_recipe(launch).key != key


@pytest.mark.parametrize(
    "line", ["-e .", ".", "./lib", "../lib[x]", "lib @ file:///x", "--editable=lib", "/opt/lib.whl"]
)
def test_code_of_this_machine_is_refused(tmp_path: Path, line: str) -> None:
    launch = job(tmp_path, "requirements.txt", requirements__txt=f"alpha\n{line}\n")
    with pytest.raises(SpecError, match="code of this machine"):
        make_recipe(launch)


def test_projects_that_only_a_build_system_knows_are_refused(tmp_path: Path) -> None:
    dynamic = PROJECT.replace('dependencies = ["alpha<2"]', 'dynamic = ["dependencies"]')
    with pytest.raises(SpecError, match="dynamic"):
        make_recipe(job(tmp_path, "pyproject.toml", pyproject__toml=dynamic))
    sources = PROJECT + '[tool.uv.sources]\nalpha = { path = "../alpha" }\n'
    with pytest.raises(SpecError, match="takes alpha from a folder"):
        make_recipe(job(tmp_path, "pyproject.toml", name="sources", pyproject__toml=sources))
    with pytest.raises(SpecError, match="no TOML"):
        make_recipe(job(tmp_path, "pyproject.toml", name="torn", pyproject__toml="[project"))


def test_without_uv_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = job(tmp_path, "requirements.txt", requirements__txt="alpha")
    launch.folder.mkdir(parents=True)
    monkeypatch.setattr(environment, "BESIDE", tmp_path)
    outcome = environment.enter(replace(launch, environ={"PATH": "/nowhere"}), Bell(), deadline_of(launch, 0.0))
    assert isinstance(outcome, Outcome)
    assert outcome.kind is Ending.FAILED
    assert "pip install 'leyden[env]'" in outcome.message


def _with_uv(launch: Launch) -> dict[str, str]:
    return {**launch.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
