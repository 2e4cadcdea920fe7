"""Do tables keep their columns, whatever stands in them?"""

from __future__ import annotations

import io

import pytest

from leyden.cli.screen import Cell, coloured, painter, table


def plain(text: str, *_: str) -> str:
    return text


def rows(*texts: tuple[str, ...]) -> list[list[Cell]]:
    return [[Cell(text=text) for text in row] for row in texts]


def test_columns_line_up_and_empty_ones_go() -> None:
    drawn = table(["ID", "NAME", "WHY"], rows(("1", "数据", ""), ("22", "x", "")), width=None, paint=plain)
    assert drawn.splitlines() == ["ID  NAME", "1   数据", "22  x"]


def test_the_widest_column_is_cut_to_the_window() -> None:
    drawn = table(["ID", "NAME", "WHY"], rows(("1", "n" * 50, "short")), width=30, paint=plain)
    assert [len(line) for line in drawn.splitlines()] == [28, 30]
    assert "n…" in drawn
    assert "short" in drawn


def test_paint_changes_no_width_and_numbers_stand_right() -> None:
    cell = Cell(text="7", paint=lambda text: f"<{text}>", right=True)
    drawn = table(["COUNT", "X"], [[cell, Cell(text="x")]], width=None, paint=plain)
    assert drawn.splitlines() == ["COUNT  X", "    <7>  x"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_where_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert painter(Terminal())("x", "1") == "\x1b[1mx\x1b[0m"
    assert painter(io.StringIO())("x", "1") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # https://no-color.org: empty counts as unset
    assert coloured(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())
