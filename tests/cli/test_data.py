"""Does `leyden data` do what its help says, with the right exit codes, and load nothing for a look at the help?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leyden.cli.main import run
from tests.data.shards.made import Made, made, read


def leyden(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, output and errors of `leyden data …`."""
    code = run(["data", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The JSON it prints, and nothing else on stdout."""
    code, out, err = leyden(capsys, *arguments, "-o", "json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine JPEGs of two classes."""
    for number in range(9):
        path = tmp_path / "photos" / ["cat", "dog"][number % 3 == 0] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 60, 3), 20 * number, np.uint8)).save(path)
    return tmp_path / "photos"


def test_from_pictures_to_statistics(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = tmp_path / "shards"
    code, out, err = leyden(capsys, "convert", photos, shards, "--samples-per-shard", 4, "--workers", 0)
    assert code == 0
    assert out.startswith("9 samples in 3 shards, ")
    assert "9/9 samples in" in err
    assert [sample["label"] for sample in read(shards)] == [0] * 6 + [1] * 3
    assert read(shards)[0].raw("image") == (photos / "cat" / "1.jpg").read_bytes()
    code, out, _ = leyden(capsys, "inspect", shards)
    assert code == 0
    assert "9 samples in 3 shards" in out
    assert "uint8[40, 60, 3]" in out
    about = told(capsys, "inspect", shards, "--sample", 8)
    assert about["schema"]["label"] == {"kind": "int", "member": "label.cls", "names": ["cat", "dog"]}
    assert [shard["samples"] for shard in about["shards"]] == [4, 4, 1]
    assert about["sample"]["fields"][1] == {"name": "label", "size_bytes": 1, "value": "1"}
    code, out, _ = leyden(capsys, "stats", shards, "--pixels")
    assert code == 0
    assert "40×60 (9)" in out
    assert any(line.split()[:3] == ["1", "dog", "3"] for line in out.splitlines())
    assert told(capsys, "stats", shards)["labels"] == {"label": {"0": 6, "1": 3}}


def test_pictures_are_made_smaller_if_asked(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "convert", photos, tmp_path / "small", "--resize", 20, "--quality", 80, "--keep-keys", "--tile")
    assert read(tmp_path / "small")[0]["image"].shape == (20, 30, 3)
    assert read(tmp_path / "small")[0].key == "cat/1"


def test_a_data_set_of_another_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import webdataset

    (tmp_path / "tars").mkdir()
    for number in range(2):
        with webdataset.TarWriter(str(tmp_path / "tars" / f"{number}.tar")) as writer:
            for at in range(5):
                sample = made(5 * number + at)
                writer.write({"__key__": f"k{at}", "jpg": sample["image"], "cls": sample["label"]})
    assert told(capsys, "inspect", tmp_path / "tars")["format"] == "WebDataset"
    assert told(capsys, "verify", tmp_path / "tars", "--decode")["samples"] == 10
    told(capsys, "convert", f"{tmp_path}/tars/{{0..1}}.tar", tmp_path / "a")
    assert [sample["cls"] for sample in read(tmp_path / "a")] == list(range(10))
    assert told(capsys, "index", tmp_path / "tars")["samples"] == 10
    assert told(capsys, "inspect", tmp_path / "tars")["format"] == "Shards"
    told(capsys, "convert", tmp_path / "tars", tmp_path / "b", "--samples-per-shard", 5, "--keep-keys")
    assert [sample.key for sample in read(tmp_path / "b")] == [f"k{at}" for at in range(5)] * 2


def test_verify_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from leyden.data import write_shards

    write_shards(Made(20), tmp_path / "set", samples_per_shard=10, workers=0, progress=False)
    code, out, _ = leyden(capsys, "verify", tmp_path / "set")
    assert code == 0
    assert out.startswith("20 samples in 2 shards, ")
    assert out.endswith(": all as written\n")
    tar = tmp_path / "set" / "shard-000001.tar"
    raw = bytearray(tar.read_bytes())
    raw[1000] ^= 1
    tar.write_bytes(raw)
    code, out, _ = leyden(capsys, "verify", tmp_path / "set")
    assert code == 1
    assert "shard-000001.tar: its sha256 is not" in out
    assert "shard-000001.tar sample 0: its" in out
    assert "2 faults" in out
    code, out, _ = leyden(capsys, "verify", tmp_path / "set", "-o", "json")
    assert code == 1
    assert [fault["sample"] for fault in json.loads(out)["faults"]] == [None, 0]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["convert", "photos"], 2, "missing argument 'dest'"),
        (["convert", "nothing", "there"], 1, "there is no such file or folder"),
        (["convert", "photos", "there", "--format", "png", "--quality", "9"], 2, "PNG loses nothing"),
        (["convert", "photos", "there", "--shard-size", "big"], 2, "found 'big'"),
        (["convert", "set", "there", "--resize", "9"], 2, "it is no folder of pictures"),
        (["convert", "photos", "set"], 1, "there is a data set already"),
        (["inspect", "set", "--sample", "5"], 2, "it has 3"),
        (["inspect", "photos"], 1, "leyden data convert"),
        (["inspct"], 2, "no such command 'inspct'"),
        (["index", "photos"], 1, "there is none"),
        (["verify", "set", "--workres", "3"], 2, "Did you mean --workers?"),
    ],
)
def test_errors(photos: Path, capsys: pytest.CaptureFixture[str], line: list[str], code: int, said: str) -> None:
    from leyden.data import write_shards

    write_shards(Made(3), "set", workers=0, progress=False)
    found, _, err = leyden(capsys, *line)
    assert (found, said.lower() in err.lower()) == (code, True), err


def test_ctrl_c_and_once_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture that is broken stops the conversion; mended, it goes on and keeps what was written."""
    for number in range(6):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.jpg").write_bytes(made(number)["image"] if number != 5 else b"not yet")
    line = ["convert", tmp_path / "in", tmp_path / "out", "--samples-per-shard", 2, "--workers", 0]
    code, _, err = leyden(capsys, *line)
    assert code == 1
    assert "5.jpg was to be stored; it is no JPEG" in err
    first = (tmp_path / "out" / "shard-000000.tar").stat().st_ino
    (tmp_path / "in" / "5.jpg").write_bytes(made(5)["image"])
    assert leyden(capsys, *line)[0] == 0
    assert (tmp_path / "out" / "shard-000000.tar").stat().st_ino == first
    assert len(read(tmp_path / "out")) == 6


def test_help_is_cheap_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("convert", "index", "inspect", "verify", "stats"):
        code, out, _ = leyden(capsys, name, "--help")
        assert code == 0
        assert f"leyden data {name} " in out.split("Options:")[0].partition("\n")[2]
    program = (
        "import sys; from leyden.cli.main import run; run(['data', '--help']); print(*sys.modules, file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr.split()
    assert {"torch", "numpy", "PIL", "obstore", "rich", "pyarrow"} & set(loaded) == set()
