"""Which part of a long answer is sent, and what asks for the next one?"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from leyden.server.mlflow.faults import invalid

MOST: Final = 50_000


def page_of(found: Sequence[Any], body: Mapping[str, Any], default: int) -> tuple[Sequence[Any], dict[str, str]]:
    """So many from where the last page ended, and the word that asks for the next one. Raises MlflowError."""
    try:
        most = int(body.get("max_results") or default)
        first = int(base64.b64decode(str(body.get("page_token") or "MA=="), validate=True))
    except ValueError as error:
        raise invalid("max_results or page_token cannot be read.") from error
    if not 1 <= most <= max(MOST, default) or first < 0:
        raise invalid(f"max_results is 1 to {MOST}.")
    rest = first + most < len(found)
    token = {"next_page_token": base64.b64encode(str(first + most).encode()).decode()} if rest else {}
    return found[first : first + most], token
