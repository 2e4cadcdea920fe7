"""Which requests show and set what users may hold?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Path, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from leyden.core.machine_views import QuotaView
from leyden.jobs.quotas import Use, all_quotas, delete_quota, set_quota, usage_of
from leyden.jobs.snapshot import Quota
from leyden.server.bodies import TEXT, QuotaBody
from leyden.server.services import Services

User = Annotated[
    str,
    Path(min_length=1, max_length=120, pattern=TEXT, description='Whose; "*" is whoever has no quota of their own.'),
]


def add_quotas(app: FastAPI, services: Services) -> None:
    """GET /api/quotas, PUT and DELETE /api/quotas/{user}."""

    @app.get("/api/quotas", response_model=list[QuotaView])
    def get_quotas() -> Response:
        """Every user with a quota, or with something used of late."""
        found = services.store.read(lambda connection: _views(connection, services.clock()))
        return JSONResponse([asdict(one) for one in found])

    @app.put("/api/quotas/{user}", status_code=204)
    def put_quota(user: User, body: QuotaBody) -> Response:
        """The most that a user may hold at a time."""
        quota = Quota(gpus=body.gpus, cpus=body.cpus)
        services.store.write(lambda connection: set_quota(connection, user, quota))
        services.keeper.wake()
        return Response(status_code=204)

    @app.delete("/api/quotas/{user}", status_code=204)
    def remove_quota(user: User) -> Response:
        """The user has the quota of everybody again."""
        services.store.write(lambda connection: delete_quota(connection, user))
        services.keeper.wake()
        return Response(status_code=204)


def _views(connection: Connection, now: float) -> list[QuotaView]:
    quotas, used = all_quotas(connection), usage_of(connection, now)
    found = []
    for user in sorted(quotas.keys() | used.keys()):
        quota, use = quotas.get(user, Quota()), used.get(user, Use())
        found.append(
            QuotaView(
                user=user,
                gpus=quota.gpus,
                cpus=quota.cpus,
                held_gpus=use.gpus,
                held_cpus=use.cpus,
                used_device_s=use.used_s,
                share=use.share,
            )
        )
    return found
