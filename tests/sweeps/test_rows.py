"""Is a file of trials read as it was meant?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.core.errors import SpecError
from leyden.sweeps.rows import read_rows, split_rows


def test_rows(tmp_path: Path) -> None:
    file = tmp_path / "trials.csv"
    file.write_bytes('\ufeff\r\n--lr, model.width ,note\r\n1e-3,32,"a, ""b"""\r\n\r\n0.10,64,\r\n'.encode())
    assert read_rows(file) == (
        {"lr": "1e-3", "model.width": "32", "note": 'a, "b"'},
        {"lr": "0.10", "model.width": "64", "note": ""},
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no header"),
        ("\n\n", "no header"),
        ("1e-3,32\n0.1,64\n", "no header"),
        ("lr,width\n", "no rows"),
        ("lr,,width\n1,2,3\n", "a column has no name"),
        ("lr,--lr\n1,2\n", "the column lr stands there twice"),
        ("lr,width\n1,2\n\n3\n", "line 4 has 1 values, and there are 2 columns"),
        ("lr,width\n1,2,3\n", "line 2 has 3 values"),
        ('lr\n"1\n', "no CSV in UTF-8"),
        ("lr\n" + "1\n" * 100_001, "more than 100,000 rows"),
    ],
)
def test_what_is_no_file_of_trials(text: str, found: str, tmp_path: Path) -> None:
    file = tmp_path / "trials.csv"
    file.write_text(text)
    with pytest.raises(SpecError, match=found):
        read_rows(file)


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"lr\n\xff\n")
    with pytest.raises(SpecError, match="UTF-8"):
        read_rows(tmp_path / "a.csv")
    with pytest.raises(SpecError, match="no such file"):
        read_rows(tmp_path / "b.csv")
    with pytest.raises(SpecError, match="is a directory"):
        read_rows(tmp_path)


def test_the_file_among_arguments() -> None:
    assert split_rows(["--a", "@b", "@x/trials.CSV", "@.csv"]) == (("--a", "@b", "@.csv"), Path("x/trials.CSV"))
    assert split_rows(["--a", "@b.json"]) == (("--a", "@b.json"), None)
    with pytest.raises(SpecError, match="one file of trials"):
        split_rows(["@a.csv", "@b.csv"])


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from([*'a1,"\n\r\x00;= '])))
def test_any_file_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text(text, newline="")
    try:
        rows = read_rows(file)
    except SpecError:
        return
    assert rows
    assert len({tuple(row) for row in rows}) == 1
