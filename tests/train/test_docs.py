"""Does the reference name every argument of the Trainer, and no other, with its default?"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import leyden

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "trainer.md"


def test_every_argument_has_its_row() -> None:
    arguments = dict(inspect.signature(leyden.Trainer.__init__).parameters)
    del arguments["self"]
    rows = [line.split(" | ")[:2] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = [(re.findall(r"`(\w+)`", names), default.strip("`")) for names, default in rows]
    assert sorted(name for names, _ in told for name in names) == sorted(arguments)
    alone = {names[0]: default for names, default in told if len(names) == 1 and names[0] != "default_root_dir"}
    assert alone == {name: repr(arguments[name].default).replace("'", '"') for name in alone}
