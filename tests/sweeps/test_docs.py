"""Does docs/reference/sweeps.md say what happens?"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from leyden.core.errors import SpecError
from leyden.core.sweep import make_sweep
from leyden.sweeps.forms import FORMS
from leyden.sweeps.rows import read_rows, split_rows
from leyden.sweeps.space import Space

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "sweeps.md").read_text()
EXAMPLES = re.findall(r"^```\n\$ train.py (.*)\n((?:.*\n)+?)```$", PAGE, re.MULTILINE)
CALLS = re.findall(r"`(\w+\([^`…]*\)|\[[^`]+\])`", PAGE)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_the_grid_is_as_shown(command: str, shown: str, tmp_path: Path) -> None:
    args, file = split_rows(shlex.split(command))
    rows: tuple[dict[str, str], ...] = ()
    if file:
        (csv,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
        (tmp_path / file).write_text(csv)
        rows = read_rows(tmp_path / file)
    space = Space.parse(args, rows=rows)
    assert "".join(f"{' '.join(space.args(space.point(at)))}\n" for at in range(space.size or 0)) == shown


def test_every_form_is_told_and_parses() -> None:
    assert len(EXAMPLES) == 6
    assert {one.partition("(")[0] for one in CALLS if one[0] != "["} - {"unifomr"} == set(FORMS)
    for one in CALLS:
        if one == "unifomr(0, 1)":
            continue
        space = Space.parse(["--x", one])
        assert space.names == ("x",), one
        continuous = re.match(r"(log)?(uniform|normal)\([^,]*,[^,]*\)", one)
        assert space.finite == (continuous is None), one


def test_what_the_lists_hold() -> None:
    for one in re.findall(r"^\| `(logspace|geomspace)(.*?)`", PAGE, re.MULTILINE):
        space = Space.parse(["--x", "".join(one)])
        assert [space.point(at)["x"] for at in range(4)] == [0.0001, 0.001, 0.01, 0.1]
    assert Space.parse(["--alpha", "uniform(1e-5, 1e-1, 3)", "--beta", "[1, 2, 3, 4]"]).size == 12


def test_the_job_file_and_the_error() -> None:
    (file,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    sweep = make_sweep(tomllib.loads(file)["sweep"])
    assert Space.parse(["--width", "1"], space=sweep.space).args({"lr": 0.5, "width": 64}) == (
        "--width",
        "64",
        "--lr",
        "0.5",
    )
    with pytest.raises(SpecError) as caught:
        Space.parse(["--lr", "loguniform(1e-4,)"])
    assert f"```\n{caught.value}\n```" in PAGE
