"""What was this home's server told, once, that the next one must still know? A server starts by itself when needed.

settings.json  {"store": "s3://team/x", "keep_checkpoints": 2, "keep_days": 30, "fake_gpus": 0, "database": "local"}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

from leyden.core.errors import ServerError
from leyden.core.home import Home
from leyden.engines.record import replace as write_whole

LOCAL: Final = "local"  # the store of artifacts, or the database of jobs, in LEYDEN_HOME


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`keep_checkpoints` 0: checkpoints are never removed. `fake_gpus` 0: the machine's own, if it has any."""

    store: str = LOCAL
    keep_checkpoints: int = 0
    keep_days: float = 0.0
    fake_gpus: int = 0
    database: str = LOCAL  # a URL, or the path of an SQLite file


def settings_file(home: Home) -> Path:
    """Where they lie."""
    return home.root / "settings.json"


def load(home: Home) -> Settings:
    """Of the servers before. Raises ServerError where the file cannot be read."""
    try:
        plain = json.loads(settings_file(home).read_text())
        known = {one.name for one in fields(Settings)}
        return Settings(**{key: value for key, value in plain.items() if key in known})
    except FileNotFoundError:
        return Settings()
    except (ValueError, TypeError, AttributeError) as error:
        raise ServerError(
            asked=f"the settings in {settings_file(home)}", found=f"they cannot be read: {error}", do="Mend the file."
        ) from None


def told(
    home: Home,
    *,
    store: str | None,
    keep_checkpoints: int | None,
    keep_days: float | None,
    fake_gpus: int | None,
    database: str | None,
) -> Settings:
    """The settings of before with what is given now; not yet on record."""
    given = {"store": store, "keep_checkpoints": keep_checkpoints, "keep_days": keep_days}
    given |= {"fake_gpus": fake_gpus, "database": database}
    return replace(load(home), **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]


def save(home: Home, settings: Settings) -> None:
    """For the next server of this home."""
    if settings != load(home):
        write_whole(settings_file(home), json.dumps(asdict(settings)))
