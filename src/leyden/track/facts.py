"""What is known of a run besides its points: what it was given, what came out, what people call it?

config.json, summary.json and tags.json are each a dict in memory, and written whole, by a rename, on another thread.
NaN and infinities stand in them as Python's json writes them (`NaN`, `Infinity`), and are read back as numbers.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, final

from leyden.core.errors import RecordError

CONFIG, SUMMARY, TAGS = "config.json", "summary.json", "tags.json"
MOST_BYTES: Final = 16 << 20
_DEEPEST: Final = 32


@final
class Facts(MutableMapping[str, Any]):
    """A dict that is kept in a file; `later` has the writing done, and without it nothing is written.

    Begins with what the file holds, so that a resumed run goes on with it.
    """

    def __init__(self, path: Path, later: Callable[[Callable[[], None]], None] | None) -> None:
        self._path, self._later = path, later
        self._lock = threading.Lock()
        self._text: str | None = None  # that waits to be written
        self._values = read(path)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: object) -> None:
        self.put({name: value})

    def __delitem__(self, name: str) -> None:
        del self._values[name]
        self.put({})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def put(self, values: Mapping[str, Any]) -> None:
        """Add these, or replace those of the same name. Raises RecordError for more than a file should hold."""
        changed = {**self._values, **{str(name): plain(value) for name, value in values.items()}}
        text = json.dumps(changed, ensure_ascii=False)
        if len(text) > MOST_BYTES:
            asked, found = f"{len(values)} values for {self._path.name}", f"it would have {len(text):,} characters"
            raise RecordError(asked=asked, found=found, do="Keep what is large with log_table or log_artifact.")
        self._values = changed
        if self._later is None:
            return
        with self._lock:
            waits, self._text = self._text is not None, text
        if not waits:
            self._later(self._write)

    def _write(self) -> None:
        with self._lock:
            text, self._text = self._text, None
        if text is None:
            return
        try:
            write(self._path, text)
        except OSError:
            with self._lock:
                self._text = self._text or text  # for the next try
            raise


def read(path: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, text: str) -> None:
    """The file appears whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(text.encode(errors="replace"))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def plain(value: object, depth: int = 0) -> Any:
    """As JSON can hold it: numbers, text, lists and dicts; other things by their text.

    >>> plain({"net": Namespace(width=8), "sizes": (1, 2), "path": Path("a/b")})
    {'net': {'width': 8}, 'sizes': [1, 2], 'path': 'a/b'}
    """
    if type(value) in (bool, int, float, str, type(None)):
        return value
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, enum.Enum):
        value = value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping | Namespace):
        named = vars(value) if isinstance(value, Namespace) else value
        return {str(name): plain(part, depth + 1) for name, part in named.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part, depth + 1) for part in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # of NumPy or PyTorch
        return plain(value.item(), depth + 1)
    return value if isinstance(value, bool | int | float | str) else str(value)
