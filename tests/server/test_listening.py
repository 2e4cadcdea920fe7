"""Does an answer on a connection that is kept leave at once?"""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

from leyden.core.home import Home
from leyden.server.embedded import listen


def test_connections_do_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    with (
        closing(listen(Home(tmp_path).create(), 0)) as listener,
        socket.create_connection(listener.getsockname()),
        closing(listener.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
