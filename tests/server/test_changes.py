"""Is everybody who waits for a job woken by what happens to it, and by nothing else?"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from leyden.jobs import life
from leyden.jobs.store import Store
from leyden.server.changes import Changes, wait_for
from tests.jobs.samples import a_job

SOON_S = 60.0


def test_who_waits_for_one_job_is_woken_by_that_one_alone(tmp_path: Path) -> None:
    changes = Changes()
    store = Store(tmp_path / "leyden.db", on_commit=changes.ring)

    async def wait() -> None:
        changes.attach()
        mine, other = a_job(), a_job()
        for job in (mine, other):
            with changes.of(job.id) as event:
                store.write(partial(life.submit, job=job))
                await wait_for(event, SOON_S)
                assert event.is_set()
        with changes.of(mine.id) as event:
            for what in (life.hold, life.release) * 5:
                with ExitStack() as stack:
                    any_, many = changes.next, [stack.enter_context(changes.of(other.id)) for _ in range(50)]
                    store.write(partial(what, job_id=other.id, at=1.0, who="ada"))
                    await asyncio.gather(*(asyncio.wait_for(one.wait(), SOON_S) for one in many), any_.wait())
            assert not event.is_set()
            store.write(partial(life.hold, job_id=mine.id, at=1.0, who="ada"))
            await wait_for(event, SOON_S)
            assert event.is_set()
        with changes.of(mine.id) as last:
            changes.close()
            await wait_for(last, SOON_S)
            assert last.is_set()
        assert not changes._jobs  # nobody who went away is told for ever

    try:
        asyncio.run(wait())
    finally:
        store.close()
