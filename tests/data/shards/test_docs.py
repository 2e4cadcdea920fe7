"""Is the format as docs/reference/shards.md has it, byte by byte? Run as a program, it prints the page's example."""

from __future__ import annotations

import re
import struct
import tarfile
from pathlib import Path

import google_crc32c
import numpy as np

from leyden.data.shards import write_shards

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "shards.md"


def example(folder: Path) -> list[str]:
    """The three blocks of the page's example."""
    write_shards([{"text": "Sun", "label": 0}, {"text": "Moon", "label": 1}], folder / "sky", workers=0, progress=False)
    tar = folder / "sky" / "shard-000000.tar"
    with tarfile.open(tar) as opened:
        listed = [f"{one.name:<19} {one.size:>4} bytes at {one.offset_data}" for one in opened]
    return [
        (folder / "sky" / "dataset.json").read_text().strip(),
        hexdump(tar.with_name("shard-000000.tar.idx").read_bytes()),
        "\n".join(listed),
    ]


def hexdump(raw: bytes) -> str:
    """As `hexdump -C` prints it, equal lines too."""
    lines = []
    for at in range(0, len(raw), 16):
        row = raw[at : at + 16]
        halves = "  ".join(" ".join(f"{byte:02x}" for byte in row[half : half + 8]) for half in (0, 8))
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {halves:<48}  |{text}|")
    return "\n".join([*lines, f"{len(raw):08x}"])


def test_the_example_is_what_is_written(tmp_path: Path) -> None:
    shown = re.findall(r"^```\w*\n(.*?)\n```$", PAGE.read_text().split("## An example")[1], re.MULTILINE | re.DOTALL)
    assert shown[1:] == example(tmp_path)


def test_the_index_is_laid_out_as_the_table_says(tmp_path: Path) -> None:
    write_shards([{"text": "é" * n, "label": n} for n in range(7)], tmp_path, workers=0, progress=False)
    tar = (tmp_path / "shard-000000.tar").read_bytes()
    raw = (tmp_path / "shard-000000.tar.idx").read_bytes()
    n, f = 7, 2
    version, j = struct.unpack_from("<II", raw, 8)
    assert (raw[:8], version) == (b"\x89LEYIX\r\n", 1)
    assert struct.unpack_from("<QIIQ", raw, 16) == (n, f, 0, len(tar))
    offsets, sizes = np.frombuffer(raw, "<u8", n, 72).tolist(), np.frombuffer(raw, "<u8", n, 72 + 8 * n).tolist()
    for offset, size, crc32c in zip(offsets, sizes, np.frombuffer(raw, "<u4", n, 72 + 16 * n), strict=True):
        assert google_crc32c.value(tar[offset : offset + size]) == crc32c
    assert np.frombuffer(raw, "<u4", n, 72 + 20 * n).tolist() == list(range(7))
    assert np.frombuffer(raw, "<u4", n, 72 + 24 * n).tolist() == [1] * 7
    end = 72 + (20 + 4 * f) * n
    assert raw[end : end + j].startswith(b'{"text":{"kind":"text","member":"text"}')
    assert len(raw) == end + j + 4
    assert google_crc32c.value(raw[:-4]) == struct.unpack("<I", raw[-4:])[0]


if __name__ == "__main__":
    import tempfile

    print("\n\n".join(example(Path(tempfile.mkdtemp()))))
