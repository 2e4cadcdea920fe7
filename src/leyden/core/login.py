"""Who is it that asks?"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping


def login(environ: Mapping[str, str] = os.environ) -> str:
    """LEYDEN_USER, for a login that several people share; else the login's name. A name, not a proof."""
    try:
        return environ.get("LEYDEN_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid{os.getuid()}"
