"""How does the embedded server start, and how does it end without touching the jobs?"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType

from leyden.core.errors import LeydenError
from leyden.core.home import Home
from leyden.server.embedded import listen, lock_home, publish, remember_port, withdraw
from leyden.server.settings import Settings, save, told

STOP_GRACE_S = 10.0  # as Docker and Kubernetes-minded people expect: 10 s between TERM and KILL


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m leyden.server", description="The embedded Leyden server.")
    parser.add_argument("--home", type=Path, help="folder it keeps everything in (default: $LEYDEN_HOME or ~/.leyden)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--url", help="what jobs are told of where this server answers, as through a proxy before it")
    parser.add_argument("--stop-grace-s", type=float, default=STOP_GRACE_S, help="between SIGTERM and SIGKILL of a job")
    parser.add_argument("--store", help="where artifacts are kept, from now on: local, a folder, s3://bucket/prefix, …")
    parser.add_argument("--keep-checkpoints", type=int, help="of each job, once it has ended so long ago; 0: all")
    parser.add_argument("--keep-days", type=float, help="how long ago")
    parser.add_argument("--keep-artifacts-days", type=float, help="so long after a job's end; 0: for ever")
    parser.add_argument("--clean-days", type=float, help="what was unused so long is cleaned away; 0: nothing is")
    parser.add_argument("--fake-gpus", type=int, help="so many, to try the platform with; 0: those there are")
    parser.add_argument("--price-gpu-hour", type=float, help="what an hour of a GPU costs; 0: nobody knows")
    parser.add_argument("--price-cpu-hour", type=float, help="and of a CPU")
    parser.add_argument(
        "--database", help="where jobs are kept: local, the path of a file, postgresql://user@host/name"
    )
    options = parser.parse_args(arguments)
    home = Home(options.home.expanduser().absolute()) if options.home else Home.from_environ()
    try:
        with lock_home(home.create()):
            settings = told(home, {one.name: getattr(options, one.name, None) for one in fields(Settings)})
            _serve(home, options, settings)
    except LeydenError as error:
        print(f"leyden server: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _serve(home: Home, options: argparse.Namespace, settings: Settings) -> None:
    listener = listen(home, options.port)  # before the heavy imports: a taken port is told at once
    gc.disable()  # what a start makes stays: to look through it again and again took a quarter of the time
    import uvicorn

    from leyden.server.app import create_app
    from leyden.server.services import Services

    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    told_url, grace_s = options.url or url, options.stop_grace_s
    services = Services.open(home, url=told_url, stop_grace_s=grace_s, settings=settings)
    save(home, settings)
    config = uvicorn.Config(
        create_app(services), http="h11", loop="asyncio", ws="none", lifespan="off", log_level="warning",
        access_log=False, timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=1 << 18,  # a long filter, many columns
    )  # fmt: skip

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            services.start()
            await super().startup(sockets=sockets)
            remember_port(home, listener)
            publish(home, url=url, token=services.token)
            gc.freeze()
            gc.enable()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            services.changes.close()  # lets followers of logs go, which uvicorn would wait for
            super().handle_exit(sig, frame)

    # uvicorn raises the signal again after its own clean stop; ours comes after that.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    try:
        Server(config).run(sockets=[listener])
    finally:
        withdraw(home, os.getpid())
        services.close()
