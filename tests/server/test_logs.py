"""Where do the last lines of a log begin?"""

from __future__ import annotations

from pathlib import Path

import pytest

from leyden.server import logs
from leyden.server.logs import find_tail


@pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "a\nb", "\n\nab\n\nc\n", "ab\n" * 9, "é\n" * 5 + "é"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_a_tail_is_what_splitting_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, chunk: int) -> None:
    monkeypatch.setattr(logs, "CHUNK", chunk)
    file = tmp_path / "a1-r0.log"
    file.write_bytes(text.encode())
    for count in range(12):
        lines = text.encode().splitlines(keepends=True)
        wanted = b"".join(lines[len(lines) - min(count, len(lines)) :])
        assert file.read_bytes()[find_tail(file, count).offset :] == wanted, count


def test_of_a_line_that_is_too_long_only_the_end_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LONG_BYTES", 10)
    file = tmp_path / "a1-r0.log"
    file.write_bytes(b"x" * 95 + b"\nlast\n")
    assert [find_tail(file, count).offset for count in (0, 1, 2, 3, 20)] == [101, 96, 81, 71, 0]
    assert find_tail(tmp_path / "none.log", 3).size_bytes == 0
