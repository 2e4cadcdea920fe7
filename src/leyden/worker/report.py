"""How does the server hear from the worker?

A push saves it waiting for the next look at the files. Nothing depends on it: a server that cannot be reached finds
worker.json and outcome.json later, so trying is bounded and never holds up a rank.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from dataclasses import asdict

from leyden.engines.base import Launch, Outcome

TIMEOUT_S = 5.0
ENDED_TRIES_S = 10.0


class Reporter:
    """Tells the server about one attempt, in its name and with its fence."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def started(self, pid: int, at: float) -> None:
        """The ranks run, since then; `pid` is rank 0's."""
        self._in_background("started", pid=pid, started_at=at)

    def heartbeat(self) -> None:
        """They still do."""
        self._in_background("heartbeat")

    def ended(self, outcome: Outcome) -> None:
        """Keep trying for a while: a server that is being restarted is back within seconds."""
        give_up, pause_s = time.monotonic() + ENDED_TRIES_S, 0.1
        while not self._post("ended", outcome=asdict(outcome)) and time.monotonic() < give_up:
            time.sleep(pause_s)
            pause_s = min(2.0, pause_s * 2)

    def _in_background(self, kind: str, **more: float) -> None:
        # A server that accepts and never answers must not delay a time limit or a cancel.
        threading.Thread(target=self._post, args=(kind,), kwargs=more, daemon=True).start()

    def _post(self, kind: str, **more: object) -> bool:
        """Whether the server has heard it: a refusal counts, as asking again would not help."""
        if not self._launch.api_url:
            return True
        import http.client  # 20 ms: imported while the ranks already start
        import urllib.parse

        url = urllib.parse.urlsplit(self._launch.api_url)
        body = {"fence": self._launch.fence, "kind": kind, **more}
        headers = {"Authorization": f"Bearer {self._launch.token}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", f"/api/attempts/{self._launch.uid}/report", json.dumps(body), headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            _say(f"{kind} not reported: {error}")
            return False
        finally:
            connection.close()
        if status >= 400:
            _say(f"{kind} refused with status {status}")
        return status < 500


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # worker.log lies on a disk that may be full
        print(text, file=sys.stderr, flush=True)
