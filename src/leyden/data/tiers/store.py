"""How is an object store opened and asked? obstore, with its own retries off: fetch.py's are the one policy."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import obstore
from obstore.store import LocalStore, MemoryStore, from_url

from leyden.data.errors import DataError, FetchError
from leyden.data.tiers.here import local_folder

CONNECT_S: Final = 5
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class RefusedError(Exception):
    """Asking again cannot help: no such object, no permission, a request the store does not understand."""


class OverloadedError(Exception):
    """The store says slow down: 429, 500, 502, 503, 504."""


class UnrangedError(Exception):
    """The store answered a request for a range with the whole object (status 200)."""


class BrokenError(Exception):
    """Anything that another try may mend: a reset connection, a body that ends early, no answer in time."""


def open_store(url: str, timeout_s: float, options: Mapping[str, str] | None = None) -> Any:
    """The store of a root's URL: s3, gs, az, http(s), file or memory. Credentials come from the environment or options.

    memory://name is one store a process, for trying things out. Raises DataError for what obstore cannot open.
    """
    if (folder := local_folder(url)) is not None:
        return LocalStore(folder.absolute())
    if urlsplit(url).scheme == "memory":
        return _memory(url)
    refuse_fork()
    client = {"timeout": timedelta(hours=6), "connect_timeout": timedelta(seconds=min(CONNECT_S, timeout_s))}
    config = _settings(url, options or {})
    if ("endpoint" in config and config["endpoint"].startswith("http://")) or url.startswith("http://"):
        client["allow_http"] = True  # type: ignore[assignment]
    try:
        return from_url(
            url,
            client_options=client,  # type: ignore[call-overload]
            retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
            **({"config": config} if config else {}),
        )
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise DataError(
            asked=f"{url} was to be opened",
            found=_first_line(error),
            do="Use a path, s3://, gs://, az://, http(s):// or file://, with credentials in the environment "
            "(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …) or in storage_options.",
        ) from error


def _settings(url: str, options: Mapping[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = dict(options)
    if not url.startswith(("s3://", "s3a://")):
        return config
    endpoint = config.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        config["endpoint"] = endpoint
        config.setdefault("region", os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")
        if "access_key_id" not in config and not any(name in os.environ for name in _CREDENTIALS):
            config.setdefault("skip_signature", True)  # a server of one's own: there is no instance role to ask for
    return config


@cache
def _memory(url: str) -> Any:
    return MemoryStore()


_first_pid: list[int] = []


def refuse_fork() -> None:
    """obstore's threads do not survive a fork, and a child that used them would wait for ever (seen, 0.12.1)."""
    if not _first_pid:
        _first_pid.append(os.getpid())
    if _first_pid[0] != os.getpid():
        raise FetchError(
            asked="an object store was to be read",
            found="this process was forked from one that had used an object store already",
            do="Start ranks as fresh processes (spawn), or fork before data is opened.",
        )


def classify(error: Exception) -> NoReturn:
    """Raise what the policy goes by instead of obstore's error."""
    line = _first_line(error)
    if isinstance(error, FileNotFoundError):
        raise RefusedError("there is no such object") from error
    if isinstance(error, (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)):
        raise RefusedError(f"access is denied (HTTP {_status(error) or 403})") from error
    if any(said in line for said in ("non-partial", "NotPartial", "Range request not supported")):  # S3; plain HTTP
        raise UnrangedError from error
    status = _status(error)
    if status in {429, 500, 502, 503, 504}:
        raise OverloadedError(f"HTTP {status}") from error
    if status and 400 <= status < 500 and status not in {408, 425}:
        raise RefusedError(f"HTTP {status}") from error
    raise BrokenError(f"HTTP {status}" if status else _cause(str(error))) from error


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found.group(1)) if found else None


def _cause(text: str) -> str:
    """The cause in few words, out of a nested Rust error."""
    known = {
        "ConnectionReset": "connection reset",
        "Connection reset": "connection reset",
        "ConnectionRefused": "connection refused",
        "Connection refused": "connection refused",
        "IncompleteMessage": "connection closed before the answer",
        "UnexpectedEof": "body ended early",
        "end of file": "body ended early",
        "IncompleteBody": "body ended early",
        "operation timed out": "no answer in time",
        "TimedOut": "no answer in time",
        "dns error": "the host's name is not known",
        "kind: Body": "body ended early",
        "kind: Decode": "body ended early",
    }
    return next((words for mark, words in known.items() if mark in text), text.strip().partition("\n")[0][:200])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
