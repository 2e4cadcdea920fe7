"""How is the server itself: what does it serve from, what does it keep, and is there room left?"""

from __future__ import annotations

import os
import shutil
import time
from typing import Final

from sqlalchemy import Connection, func, select

import leyden
from leyden.core.address import without_credentials
from leyden.core.devices import count_of
from leyden.core.house import ServerView
from leyden.jobs.rows import held_devices
from leyden.jobs.tables import jobs
from leyden.server.files.waste import disk_use
from leyden.server.services import Services

COUNT_S: Final = 0.3  # so long a request may count; a larger home was counted in the background


def server_view(services: Services) -> ServerView:
    """As it is now."""
    root, machine, settings = services.home.root, services.machine, services.settings
    held, states = services.store.read(lambda connection: (held_devices(connection), _states(connection)))
    disk = shutil.disk_usage(root)
    counted = disk_use(root, deadline=time.monotonic() + COUNT_S)
    gpus, cpus = count_of(held)
    return ServerView(
        version=leyden.__version__,
        pid=os.getpid(),
        started_at=services.started_at,
        home=str(root),
        database=services.store.shown,
        store=without_credentials(settings.store),
        trouble=services.files.keeping.trouble,
        home_bytes=services.files.keeping.home_bytes if counted is None else counted,
        disk_bytes=disk.total,
        free_bytes=disk.free,
        node=machine.node,
        gpus=len(machine.gpus),
        gpus_held=gpus,
        cpus=machine.cpus,
        cpus_held=cpus,
        jobs=states,
        warm=services.warm(),
        keep_checkpoints=settings.keep_checkpoints,
        keep_days=settings.keep_days,
        keep_artifacts_days=settings.keep_artifacts_days,
        clean_days=settings.clean_days,
    )


def _states(connection: Connection) -> dict[str, int]:
    query = select(jobs.c.state, func.count().label("jobs")).group_by(jobs.c.state).order_by(jobs.c.state)
    return {row.state: row.jobs for row in connection.execute(query)}
