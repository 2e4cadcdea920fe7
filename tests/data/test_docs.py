"""Does the reference name every argument of the Loader, and no other, with its default?"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from leyden.data import Loader

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "loader.md"


def test_every_argument_has_its_row() -> None:
    arguments = dict(inspect.signature(Loader.__init__).parameters)
    del arguments["self"]
    told = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert sorted(name for name, _ in told) == sorted(arguments)
    for name, default in told:
        expected = arguments[name].default
        shown = "" if expected is inspect.Parameter.empty else repr(expected).replace("'", '"')
        assert default.strip().strip("`") == shown, name


def test_every_thing_it_can_be_asked_is_there() -> None:
    told = re.findall(r"^\| (`.+?`) \| [a-z]", PAGE.read_text().split("can be asked")[1], flags=re.MULTILINE)
    names = {re.match(r"\w+", one).group() for row in told for one in re.findall(r"`(?:len\()?([^`]+)`", row)}  # type: ignore[union-attr]
    assert {"state_dict", "load_state_dict", "set_epoch", "batches_left", "shard", "meter", "close"} <= names
    public = {name for name in vars(Loader) if not name.startswith("_")}
    assert public - {"place", "describe"} <= names | {"order"}
