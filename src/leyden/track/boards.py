"""How does a folder of TensorBoard's become a run, a run one of TensorBoard's, and a sealed one a run with frames?"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from leyden.core.errors import RecordError
from leyden.core.ids import encode
from leyden.core.login import login
from leyden.track import facts, life, media, tables, tfevents
from leyden.track.blocks import WORKER
from leyden.track.frames import encode as encode_frame
from leyden.track.media import Media, Medium
from leyden.track.names import MAX_NAME_BYTES
from leyden.track.points import RunPoints
from leyden.track.sealed import KEPT, SEALED, is_sealed
from leyden.track.tfevents import Value
from leyden.track.writer import MAX_FRAME_NUMBERS, encode_rows

_EPOCH_S: Final = 1_767_225_600  # of ids: 2026-01-01
_ROWS: Final = 4096  # a frame
_PICTURES: Final = ((b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"\xff\xd8\xff", ".jpg"), (b"RIFF", ".webp"))


@dataclass(frozen=True, kw_only=True)
class Board:
    """One run of TensorBoard's: a folder that holds event files, and what it is called below where one looked."""

    path: Path
    name: str

    @property
    def files(self) -> list[Path]:
        """In the order they were begun: their names hold the time."""
        return sorted(self.path.glob(tfevents.PATTERN))


def find(root: Path) -> list[Board]:
    """Every run below a folder, as TensorBoard finds them; none where there are no event files."""
    folders = sorted({file.parent for file in root.rglob(tfevents.PATTERN) if file.is_file()})
    names = {folder: folder.relative_to(root).as_posix() for folder in folders}
    return [Board(path=folder, name=root.resolve().name if name == "." else name) for folder, name in names.items()]


def read(board: Board, into: Path) -> Path:
    """Write the record of a run of this name into a new folder below `into`. The same board gets the same id again.

    Raises RecordError where the files hold nothing, OSError where they cannot be read.
    """
    values = sorted((value for file in board.files for value in tfevents.read(file)), key=lambda one: one.at)
    if not values:
        asked = f"the TensorBoard run {board.path}"
        raise RecordError(asked=asked, found="its event files hold nothing", do="Wait until something was logged.")
    first, last = values[0].at, values[-1].at
    where = int(hashlib.sha256(str(board.path.resolve()).encode()).hexdigest(), 16) & 1023
    folder = into / encode((max(0, int((first - _EPOCH_S) * 1000)) << 10) | where)
    folder.mkdir(parents=True)
    about = {
        "id": folder.name, "name": board.name, "user": login(), "created_at": first,
        "from": "tensorboard", "cwd": str(board.path.resolve()),
    }  # fmt: skip
    facts.write(folder / "run.json", json.dumps(about))
    if given := {name: value for one in values if one.kind == "hparams" for name, value in one.data.items()}:
        facts.write(folder / facts.CONFIG, json.dumps(given))
    _write_points(folder, [one for one in values if one.kind == "scalar"])
    lost = Counter(one.data for one in values if one.kind == "other")
    lost += _write_media(folder, [one for one in values if one.kind in ("image", "text", "histogram")])
    note = f"Left out: {', '.join(f'{count} of {kind}' for kind, count in sorted(lost.items()))}" if lost else ""
    facts.write(folder / facts.TAGS, json.dumps({"tags": ["tensorboard"], "note": note, "project": ""}))
    facts.write(folder / life.FINISHED_FILE, json.dumps({"state": life.FINISHED, "at": last}))
    return folder


@dataclass(frozen=True, kw_only=True)
class Written:
    """How much of a run became TensorBoard's, and how many tables there are, which it does not know."""

    points: int
    media: int
    tables: int


def write(run_dir: Path, to: Path) -> Written:
    """Write a run as an event file into a folder, the metrics of each other rank into a folder below.

    Config becomes hparams. Raises RecordError where the run has nothing, OSError where it cannot be written.
    """
    points = RunPoints(run_dir)
    points.refresh(None)
    some = list(media.read(run_dir))
    values = [*_hparams_of(run_dir), *(value for one in some if (value := _value_of(run_dir, one)) is not None)]
    ranks = sorted({rank for rank, _ in points.metrics()})
    if not ranks and not values:
        asked, found = f"run {run_dir.name} for TensorBoard", "it has logged no metrics and no media"
        raise RecordError(asked=asked, found=found, do="Wait until it has logged something.")
    count = 0
    for rank in ranks or [0]:
        first = not ranks or rank == ranks[0]
        lines = sorted(_points_of(points, rank), key=lambda one: one[2])
        folder = to if first else to / ("worker" if rank == WORKER else f"rank{rank}")
        folder.mkdir(parents=True, exist_ok=True)
        begun = int(lines[0][2]) if lines else int(time.time())
        file = folder / f"events.out.tfevents.{begun}.leyden.{run_dir.name}.0"
        tfevents.write(file, lines, values if first else ())
        count += len(lines)
    left = sum(one.kind == "table" for one in some)
    return Written(points=count, media=sum(one.kind != "hparams" for one in values), tables=left)


def _hparams_of(run_dir: Path) -> list[Value]:
    config = _flat(facts.read(run_dir / facts.CONFIG))
    at = facts.read(run_dir / "run.json").get("created_at", 0.0)
    return [Value(tag=tfevents.SESSION, kind="hparams", step=0, at=float(at), data=config)] if config else []


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return found


def _value_of(run_dir: Path, one: Medium) -> Value | None:
    """None for tables, and for what is gone."""
    if one.kind not in ("image", "text", "histogram"):
        return None
    try:
        data: Any = (run_dir / one.file).read_bytes()
        if one.kind == "histogram":
            bars = json.loads(data)
            data = bars["counts"], bars["edges"]
    except (OSError, ValueError, KeyError):
        return None
    return Value(tag=one.name, kind=one.kind, step=one.step, at=one.at, data=data)


def _points_of(points: RunPoints, rank: int) -> Iterator[tuple[str, int, float, float]]:
    for own, name in points.metrics():
        curve = points.curve(own, name) if own == rank else None
        if curve is not None and curve.count:
            some = curve.points(0, curve.count)
            for step, at, value in zip(some.steps.tolist(), some.times.tolist(), some.values.tolist(), strict=True):
                yield name, step, at, value


def _write_points(folder: Path, values: Sequence[Value]) -> None:
    rows: list[tuple[int, float, dict[str, float]]] = []
    for one in values:
        name = one.tag.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
        # Points of one step within a tenth of a second were logged together; a row of them has one time.
        if not rows or rows[-1][0] != one.step or one.at - rows[-1][1] > 0.1 or name in rows[-1][2]:
            rows.append((one.step, one.at, {}))
        rows[-1][2][name] = one.number
    (folder / "metrics").mkdir()
    with (folder / "metrics" / "a1-r0.frames").open("wb") as file:
        for first in range(0, len(rows), _ROWS):
            file.writelines(encode_rows(rows[first : first + _ROWS], 0.0))


def _write_media(folder: Path, values: Sequence[Value]) -> Counter[str]:
    """How many of which kind could not be kept."""
    writer, lost = Media(folder, attempt=1, rank=0), Counter[str]()
    for one in values:
        name = one.tag.removesuffix("/text_summary")[:250] or "unnamed"
        about = Medium(kind=one.kind, name=name, step=one.step, at=one.at, file="")
        suffix = _suffix(one)
        if suffix:
            writer.write(about, suffix, lambda one=one: _content(one))  # type: ignore[misc]
        else:
            lost["images of another format"] += 1
    return lost


def _suffix(value: Value) -> str:
    """Of its file; empty for a picture that browsers do not know."""
    if value.kind != "image":
        return {"text": ".txt", "histogram": ".json"}[value.kind]
    return next((suffix for start, suffix in _PICTURES if value.data.startswith(start)), "")


def _content(value: Value) -> bytes:
    if value.kind != "histogram":
        data: bytes = value.data
        return data
    counts, edges = (np.array(part, np.float64) for part in value.data)
    return tables.bars_json(counts, edges)


def unsealed(folder: Path, into: Path) -> Path:
    """The record of a run whose points were sealed into one file, with frames again, as a folder of that name."""
    there = into / folder.name
    (there / "metrics").mkdir(parents=True)
    for one in folder.iterdir():
        if one.name not in ("metrics", SEALED, KEPT) and not one.name.startswith("."):
            (there / one.name).symlink_to(one.resolve())
    points = RunPoints(folder)
    points.refresh(None)
    for rank, name in sorted(points.metrics()):
        curve = points.curve(rank, name)
        own = "w" if rank == WORKER else f"r{rank}"
        with (there / "metrics" / f"a1-{own}.frames").open("ab") as file:
            for first in range(0, curve.count if curve else 0, MAX_FRAME_NUMBERS):
                assert curve is not None
                some = curve.points(first, min(curve.count, first + MAX_FRAME_NUMBERS))
                values = [[value] for value in some.values.tolist()]
                file.write(encode_frame([name], some.steps.tolist(), some.times.tolist(), values))
    return there


def is_run(path: Path) -> bool:
    """Whether the folder is the record of a run."""
    return (
        (path / "run.json").is_file()
        or is_sealed(path)
        or (path / "metrics").is_dir()
        or (path / media.FOLDER).is_dir()
    )


def about(path: Path) -> dict[str, Any]:
    """run.json of a run's folder."""
    return facts.read(path / "run.json")
