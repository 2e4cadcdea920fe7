"""What may a script say about its run, besides numbers?

Names are those users of W&B look for: `init`, `config`, `summary`, `finish`, and `log_…` as in MLflow. All act on the
run of this process, which opens by itself when it is first used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, SupportsIndex, final

from leyden.core.errors import RecordError
from leyden.track import facts, keep, run
from leyden.track.facts import Facts
from leyden.track.media import Medium
from leyden.track.names import as_step, check_name
from leyden.track.run import Run

_LONGEST_TEXT = 16 << 20
_MOST_TAGS, _LONGEST_TAG = 1000, 200


def init(
    *,
    project: str | None = None,
    name: str | None = None,
    tags: Iterable[str] = (),
    notes: str | None = None,
    config: Mapping[str, Any] | None = None,
    dir: str | Path | None = None,  # noqa: A002  W&B's name
) -> Run:
    """Say what this run is, before anything is logged or later: nothing needs this call.

    `dir` is where leyden_runs/ stands (default: the current folder); a job's record is where the job's is. As a
    context, `with leyden.init() as run:`, it ends the run at the end of the block.
    """
    found = run.current() if dir is None or run.opened() else run.start(Path(dir) / run.RUNS_FOLDER)
    if name is not None:
        _rename(found, name)
    if project is not None:
        found.tags["project"] = str(project)
    if notes is not None:
        note(notes)
    tag(*tags)
    if config is not None:
        log_config(config)
    return found


def log_config(values: Mapping[str, Any]) -> None:
    """What the run was given, e.g. `{"lr": 0.1, "model": {"width": 64}}`: it can be filtered by and compared.

    Later values of a name replace earlier ones. Numbers, text, lists and dicts are kept as they are, other things by
    their text. The same as `leyden.config.update(values)`. The Trainer adds the hyperparameters of its module.
    """
    _mapping(values, "config")
    run.current().config.put(values)


def log_summary(values: Mapping[str, Any]) -> None:
    """What counts of the run, e.g. `{"best_accuracy": 0.97}`: stands in tables in place of the metric's last value."""
    _mapping(values, "summary")
    run.current().summary.put(_under_one_level(values))


def tag(*tags: str) -> None:
    """Add tags to the run, words to find it by. Raises RecordError for what is no text of 1 to 200 characters."""
    for one in tags:
        if not isinstance(one, str) or not 1 <= len(one.strip()) <= _LONGEST_TAG:
            found = f"tags are text of 1 to {_LONGEST_TAG} characters"
            raise RecordError(asked=f"tag {one!r:.60} was given", found=found, do="Choose another, or use note().")
    known = run.current().tags
    merged = list(dict.fromkeys([*known.get("tags", []), *(one.strip() for one in tags)]))
    if len(merged) > _MOST_TAGS:
        asked = f"{len(merged):,} tags"
        raise RecordError(asked=asked, found=f"a run has at most {_MOST_TAGS:,}", do="Use config for values.")
    if tags:
        known["tags"] = merged


def note(text: str) -> None:
    """Describe the run in words, of any length; replaces what was there."""
    run.current().tags["note"] = str(text)


def log_image(name: str, images: Any, step: SupportsIndex | None = None, *, caption: str = "") -> None:
    """Record a picture, or several, under a name.

    Arrays are H×W, H×W×C or N×H×W×C with 1, 3 or 4 channels; tensors of PyTorch H×W, C×H×W or N×C×H×W; uint8, or
    floats from 0 to 1. Pictures of Pillow, figures of Matplotlib and lists of all these are taken as well. Without a
    step, at the step logged last. The caller pays for a copy; a thread compresses to PNG.
    Raises RecordError for what is no picture, or more than 1000 of them.
    """
    from leyden.track import pictures

    give = _giver("image", name, step, caption)
    for pixels in pictures.copies(name, images):
        give(".png", partial(pictures.png, pixels, name), pixels.nbytes)


def log_table(name: str, data: Any, step: SupportsIndex | None = None, *, columns: Sequence[str] | None = None) -> None:
    """Record a table: rows with `columns`, a dict of columns, a list of dicts, or a frame of pandas.

    Cells are numbers, text or None; other things are kept by their text. Raises RecordError for what is no table, or
    has more than two million cells.
    """
    from leyden.track import tables

    give = _giver("table", name, step)
    heads, rows = tables.table(name, data, columns)
    give(".json", lambda: tables.table_json(heads, rows), 64 * len(heads) * len(rows))


def log_histogram(
    name: str,
    values: Any = None,
    step: SupportsIndex | None = None,
    *,
    bins: int = 64,
    counts: Any = None,
    edges: Any = None,
) -> None:
    """Record how values are distributed: the values themselves (an array or tensor of any shape), or counts and edges.

    `bins` have one width from the least to the greatest; NaN and infinities are counted apart. Counted by a thread, the
    caller pays for a copy. Raises RecordError for what are no numbers, or edges that do not fit.
    """
    from leyden.track import tables

    give = _giver("histogram", name, step)
    if (values is None) == (counts is None or edges is None):
        asked, found = f"histogram {name!r} was logged", "it needs either values, or counts and edges"
        raise RecordError(asked=asked, found=found, do="Give one of them.")
    if values is None:
        heights, bounds = tables.counted(name, counts, edges)
        give(".json", lambda: tables.bars_json(heights, bounds), heights.nbytes)
        return
    tables.check_bins(name, bins)
    flat = tables.numbers(name, values)
    give(".json", lambda: tables.histogram_json(flat, bins), flat.nbytes)


def log_text(name: str, text: str, step: SupportsIndex | None = None) -> None:
    """Record a text, such as what a model wrote. Raises RecordError for one of more than 16 MB."""
    data = str(text).encode(errors="replace")
    if len(data) > _LONGEST_TEXT:
        asked, found = f"text {name!r} was logged", f"it has {len(data):,} bytes"
        raise RecordError(asked=asked, found=found, do="Write it to a file and log_artifact it.")
    _giver("text", name, step)(".txt", lambda: data, len(data))


def log_artifact(path: str | Path, name: str | None = None, *, link: bool = False) -> Path:
    """Keep a copy of a file or folder with the run, as artifacts/<name>, and return where it lies.

    `name` is the file's own by default and may hold folders (`models/best.pt`); what had that name is replaced at
    once. With `link`, a file that will never change again is linked rather than copied where the file system can.
    Raises RecordError where it cannot be read or kept.
    """
    return keep.keep(run.current().path, path, name, link=link)


def finish() -> None:
    """End this process's run; what is logged later opens another. Without it a run ends with its process."""
    run.finish()


@final
class OfCurrentRun(MutableMapping[str, Any]):
    """A dict of the current run, whichever that is. Items are also readable as attributes, as W&B's are."""

    __slots__ = ("_find", "_put")

    def __init__(self, find: Callable[[Run], Facts], put: Callable[[Mapping[str, Any]], None]) -> None:
        self._find, self._put = find, put

    def __call__(self, values: Mapping[str, Any]) -> None:
        """The same as `update`."""
        self._put(values)

    def __getitem__(self, name: str) -> Any:
        return self._find(run.current())[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the run has no {name!r}") from None

    def __setitem__(self, name: str, value: object) -> None:
        self._put({name: value})

    def __delitem__(self, name: str) -> None:
        del self._find(run.current())[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._find(run.current()))

    def __len__(self) -> int:
        return len(self._find(run.current()))

    def __repr__(self) -> str:
        return repr(dict(self))

    def update(self, *others: Any, **values: Any) -> None:
        """As a dict's; written once, not once a value."""
        self._put(dict(*others, **values))


config = OfCurrentRun(lambda one: one.config, log_config)
summary = OfCurrentRun(lambda one: one.summary, log_summary)


def _giver(
    kind: str, name: str, step: SupportsIndex | None, caption: str = ""
) -> Callable[[str, Callable[[], bytes], int], None]:
    """Has the clerk write media of that name and step."""
    check_name(name, kind)
    one = run.current()
    at = one.last_step if step is None else as_step(step)
    about = Medium(kind=kind, name=name, step=at, at=time.time(), file="", caption=str(caption))

    def give(suffix: str, encode: Callable[[], bytes], size_bytes: int) -> None:
        one.clerk.give(lambda: one.media.write(about, suffix, encode), size_bytes)

    return give


def _mapping(values: object, what: str) -> None:
    if not isinstance(values, Mapping):
        found = f"it is a {type(values).__name__}"
        raise RecordError(asked=f"{what} was given {values!r:.60}", found=found, do='Give a dict, such as {"lr": 0.1}.')


def _under_one_level(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested names as metrics have them, as the summary stands in for these."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _under_one_level(value, f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _rename(one: Run, name: str) -> None:
    file = one.path / "run.json"
    about = facts.read(file)
    if about and one.rank == 0:
        facts.write(file, json.dumps({**about, "name": str(name)}, indent=1))
