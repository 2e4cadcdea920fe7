"""What was this home's server told, once, that the next one must still know? A server starts by itself when needed.

settings.json  {"store": "s3://team/x", "keep_checkpoints": 2, "keep_days": 30, "clean_days": 30, "database": "local"}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from leyden.core.errors import ServerError, nearest
from leyden.core.home import Home
from leyden.engines.record import replace as write_whole

LOCAL: Final = "local"  # the store of artifacts, or the database of jobs, in LEYDEN_HOME


@dataclass(frozen=True, kw_only=True)
class Settings:
    """docs/how-to/artifacts.md explains every key."""

    store: str = LOCAL
    keep_checkpoints: int = 0  # 0: none is ever removed
    keep_days: float = 0.0
    keep_artifacts_days: float = 0.0  # 0: for ever
    clean_days: float = 30.0  # 0: the server cleans nothing by itself
    fake_gpus: int = 0  # 0: the machine's own, if it has any
    price_gpu_hour: float = 0.0  # in whatever money; 0: nobody said
    price_cpu_hour: float = 0.0
    database: str = LOCAL  # a URL, or the path of an SQLite file


def settings_file(home: Home) -> Path:
    """Where they lie."""
    return home.root / "settings.json"


def load(home: Home) -> Settings:
    """Of the servers before. Raises ServerError where the file cannot be read."""
    file = settings_file(home)
    try:
        plain = json.loads(file.read_text())
        return Settings(**{key: _checked(file, key, value) for key, value in plain.items()})  # type: ignore[arg-type]
    except FileNotFoundError:
        return Settings()
    except (ValueError, AttributeError) as error:
        raise _wrong(file, f"they cannot be read: {error}", "Mend the file, or remove it.") from None


def told(home: Home, given: Mapping[str, str | float | None]) -> Settings:
    """The settings of before with what is given now, by their names; not yet on record."""
    return replace(load(home), **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]


def save(home: Home, settings: Settings) -> None:
    """For the next server of this home."""
    if settings != load(home):
        write_whole(settings_file(home), json.dumps(asdict(settings)))


def _checked(file: Path, key: str, value: Any) -> str | float:
    kinds: dict[str, type[str | int | float]] = {name: type(default) for name, default in asdict(Settings()).items()}
    if key not in kinds:
        raise _wrong(file, f"{key!r} is none of them", f"Check it: {nearest(key, kinds)}")
    if kinds[key] is str and isinstance(value, str):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    if kinds[key] is str or not number or (kinds[key] is int and value != int(value)):
        wanted = {str: "a text", int: "a whole number, 0 or more", float: "a number, 0 or more"}[kinds[key]]
        raise _wrong(file, f"{key} is {json.dumps(value)}", f"Make it {wanted}.")
    return int(value) if kinds[key] is int else float(value)


def _wrong(file: Path, found: str, do: str) -> ServerError:
    return ServerError(asked=f"the settings in {file}", found=found, do=do)
