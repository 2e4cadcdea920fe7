"""Is a submitter's environment kept whole, however many requests bring it at the same time?"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from leyden.core.home import Home
from leyden.server.launching import keep_environ


def test_many_at_once_keep_one_environment(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    environs = [{"NAME": f"{number}", "LONG": "x" * 100_000} for number in range(20)]
    with ThreadPoolExecutor(16) as pool:
        for environ in environs:
            names = set(pool.map(lambda one: keep_environ(home, one), [environ] * 16))
            assert len(names) == 1
            kept = home.root / "environs" / f"{names.pop()}.json"
            assert json.loads(kept.read_text()) == environ
            assert kept.stat().st_mode & 0o777 == 0o600
    assert len([*home.root.joinpath("environs").iterdir()]) == len(environs)  # no draft is left
