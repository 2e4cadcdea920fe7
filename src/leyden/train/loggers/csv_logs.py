"""How does a table grow new columns without being rewritten over and over?

Rows wait in memory and are appended in batches. A name seen for the first time becomes a new last column, for which
the file is rewritten; but only while all rewriting together has cost no more than eight times what there is.
Beyond that the rows wait a little longer, until they make up an eighth of the file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from leyden.core.errors import ConfigurationError
from leyden.train.loggers.base import FolderLogger, prefixed

_REWRITING = 8  # times each row is rewritten on average, at most


class CSVLogger(FolderLogger):
    """Writes metrics.csv and hparams.yaml to `save_dir/name/version_<n>`; a row for each step that logs.

    Columns are `step` and the metrics in the order they came; a metric absent from a row is an empty cell. Rows are
    written every `flush_logs_every_n_steps` rows and by `save`. A version that is there already is gone on with.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "leyden_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        if flush_logs_every_n_steps < 1:
            asked, found = f"flush_logs_every_n_steps={flush_logs_every_n_steps}", "it must be at least 1"
            raise ConfigurationError(asked=asked, found=found, do="Use 1 to write every row at once.")
        super().__init__(save_dir, name, version, prefix)
        self._every = flush_logs_every_n_steps
        self._table: Table | None = None
        self._next_step = 0

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row; without a step, one more than the last."""
        if self._table is None:
            self._table = Table(self._folder() / "metrics.csv")
        step = self._next_step if step is None else step
        self._next_step = step + 1
        self._table.add({"step": step, **prefixed(metrics, self._prefix)})
        if len(self._table.waiting) % self._every == 0:
            self._table.flush()

    def save(self) -> None:
        """Write the rows that wait."""
        if self._table is not None:
            self._table.flush()

    def finalize(self, status: str) -> None:
        """Write the rows that wait, whatever it costs."""
        if self._table is not None:
            self._table.flush(at_any_cost=True)


class Table:
    """A CSV file whose columns are not known beforehand. `rewritten` counts rows that were written once more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.waiting: list[dict[str, Any]] = []
        self._header: list[str] = []  # as it is on disk
        self._rows = self.rewritten = 0
        if path.exists():
            with path.open(newline="") as file:
                rows = csv.reader(file)
                self._header = next(rows, [])
                self._rows = sum(1 for _ in rows)
        self._columns = dict.fromkeys(self._header)

    def add(self, row: dict[str, Any]) -> None:
        """Take a row; it is on disk after the next `flush`."""
        self._columns.update(dict.fromkeys(row))
        self.waiting.append(row)

    def flush(self, *, at_any_cost: bool = False) -> None:
        """Append what waits; if the header must grow, only within the budget for rewriting."""
        if not self.waiting:
            return
        if len(self._columns) > len(self._header):
            budget = _REWRITING * (self._rows + len(self.waiting))
            if self.rewritten + self._rows > budget and not at_any_cost:
                return
            self._widen(list(self._columns))
        lines = io.StringIO()
        csv.DictWriter(lines, self._header, lineterminator="\n").writerows(self.waiting)
        size = self._path.stat().st_size
        try:
            with self._path.open("a", newline="") as file:
                file.write(lines.getvalue())
        except OSError:
            os.truncate(self._path, size)  # half a row must not stand before whole ones; they are tried again
            raise
        self._rows += len(self.waiting)
        self.waiting.clear()

    def _widen(self, columns: list[str]) -> None:
        """Write the file anew under a longer header, old rows filled up with empty cells."""
        draft = self._path.with_name(f".{self._path.name}")
        with draft.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(columns)
            if self._header:
                with self._path.open(newline="") as old:
                    file.writelines(_filled(old, "," * (len(columns) - len(self._header))))
        draft.replace(self._path)
        self._header = columns
        self.rewritten += self._rows


def _filled(file: TextIO, cells: str) -> Iterator[str]:
    """The rows below the header; they hold numbers only, so a line is a row."""
    next(csv.reader(file))  # the header, which may hold line breaks
    for line in file:
        yield line.rstrip("\r\n") + cells + "\n"
