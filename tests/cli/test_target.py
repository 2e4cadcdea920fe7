"""Does a flag that cannot be meant say so by its own name, and do flags and a job file become one job?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leyden.cli import run, submit, target
from leyden.cli.usage import invoke
from leyden.core.environment import interpreter
from leyden.core.errors import UsageError


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--preempt", "soon", "'soon' is no duration"),
        ("--preempt", "0", "it must be more than nothing"),
        ("--time", "5x", "'5x' is no duration"),
        ("--time", "9" * 400, "that is too long"),
        ("--stall", "-1", "'-1' is no duration"),
        ("--idle", "nan", "'nan' is no duration"),
        ("--gpus", "8..2", "'8..2' is no number of GPUs"),
        ("--gpus", "-1", "'-1' is no number of GPUs"),
        ("--env", "everything", "neither a word Leyden knows nor a file"),
        ("--git", "-u", "no address of a repository"),
        ("--name", "x" * 121, "it has 121 characters, where 120 have room"),
        ("--name", "", "it is empty"),
        ("--name", "\udcff", "it is no UTF-8"),
        ("--cost", "nan", "that is no price"),
        ("--cost", "0", "not in the range"),
        ("--cpus", "0", "not in the range"),
        ("--ranks", "1025", "not in the range"),
        ("--priority", "101", "not in the range"),
        ("--retry", "-1", "not in the range"),
    ],
)
@pytest.mark.parametrize("name", ["run", "submit"])
def test_a_flag_that_cannot_be_meant_is_named(name: str, flag: str, value: str, words: str) -> None:
    command = {"run": run.command, "submit": submit.command}[name]
    with pytest.raises(UsageError) as caught:
        invoke(command, name, [flag, value, "train.py"])
    assert words in caught.value.found
    assert flag in f"{caught.value.asked} {caught.value.found}"
    assert caught.value.do


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        invoke(run.command, "run", ["--git", "https://ada:s3cret@host/@-x", "train.py"])
    assert "s3cret" not in str(caught.value)


def test_a_word_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="no UTF-8"):
        target.make(["echo", "\udcff"], {})
    with pytest.raises(UsageError, match="no UTF-8"):
        target.make(["echo", "x"], {"vars": {"A": "\udcff"}})


def test_an_interpreter_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python3", "python"):
        (tmp_path / name).symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    assert interpreter() == str(tmp_path / "python")
    (tmp_path / "python").unlink()
    (tmp_path / "python").write_text("of another")
    assert interpreter() == str(tmp_path / "python3")


def test_a_flag_goes_over_its_key_and_leaves_those_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('command = ["true"]\nlimits.stall = "5m"\nretry.infra = 3\npreempt.signal = "USR1"\nvars.A = "1"\n')
    flags = {"preempt": "90s", "retry": 2, "after": (), "hold": False, "stall": None, "cost": 5.0}
    job = target.make([str(file), "more"], {**target.policies(**flags), "vars": {"B": "2"}})  # type: ignore[arg-type]
    assert (job.limits.stall, job.limits.cost) == (300.0, 5.0)
    assert (job.retry.infra, job.retry.user) == (3, 2)
    assert job.preempt is not None
    assert (job.preempt.signal, job.preempt.grace_s) == ("USR1", 90.0)
    assert (job.vars, job.args) == ({"A": "1", "B": "2"}, ("more",))
