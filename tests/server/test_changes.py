"""Is everybody who waits for a job woken by what happens to it, and by nothing else?"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from functools import partial
from pathlib import Path

from leyden.jobs import life
from leyden.jobs.store import Store
from leyden.server.changes import Changes, look, wait_for
from tests.jobs.samples import a_job

SOON_S = 60.0


def test_who_waits_for_one_job_is_woken_by_that_one_alone(tmp_path: Path) -> None:
    changes, looks = Changes(), list[int | None]()
    store = Store(tmp_path / "leyden.db", on_commit=changes.ring)

    def counted(after: int | None) -> tuple[int, Set[str]]:
        looks.append(after)
        return store.read(partial(look, after=after))

    async def wait() -> None:
        changes.attach(counted)
        mine, other = a_job(), a_job()
        for job in (mine, other):
            event = changes.of(job.id)
            store.write(partial(life.submit, job=job))
            await wait_for(event, SOON_S)
        event = changes.of(mine.id)
        for what in (life.hold, life.release) * 5:
            any_, many = changes.next, [changes.of(other.id) for _ in range(50)]
            store.write(partial(what, job_id=other.id, at=1.0, who="ada"))
            await asyncio.gather(*(asyncio.wait_for(one.wait(), SOON_S) for one in many), any_.wait())
        assert not event.is_set()
        assert len(looks) <= 3 + 10  # not one for each who waits
        store.write(partial(life.hold, job_id=mine.id, at=1.0, who="ada"))
        await wait_for(event, SOON_S)
        assert event.is_set()
        last = changes.of(mine.id)
        changes.close()
        await wait_for(last, SOON_S)
        assert last.is_set()

    try:
        asyncio.run(wait())
    finally:
        store.close()


def test_trouble_with_the_database_leaves_nobody_asleep(tmp_path: Path) -> None:
    changes = Changes()

    def fails(after: int | None) -> tuple[int, Set[str]]:
        if after is None:
            return 7, frozenset()
        raise OSError("away")

    async def wait() -> None:
        changes.attach(fails)
        for _ in range(2):
            event = changes.of("a")
            changes.ring()
            await wait_for(event, SOON_S)
            assert event.is_set()

    asyncio.run(wait())
