"""How are samples with len() and [] written? Shards are cut by number, so each can be made by itself, in any order."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from leyden.data.shards.crew import Crew, Items, Packer, Task
from leyden.data.shards.dataset import Dataset, describe
from leyden.data.shards.finished import kept, others, publish, shard_name
from leyden.data.shards.pack import Encoder
from leyden.data.shards.place import Place
from leyden.data.shards.progress import Bar


def write_sized(
    samples: Items,
    place: Place,
    encoder: Encoder,
    cut: int,
    workers: int,
    bar: Bar,
    *,
    resume: bool,
) -> list[Dataset]:
    """All shards, each of `cut` samples; every thread here drives one process."""
    total = len(samples)
    tasks = [
        Task(name=shard_name(at), start=start, stop=min(total, start + cut))
        for at, start in enumerate(range(0, total, cut))
    ]
    workers = workers if len(tasks) > 1 else 0
    crew = Crew(Packer(samples=samples, encoder=encoder, folder=place.scratch), min(workers, len(tasks)))

    def one(task: Task) -> Dataset:
        if resume and (found := _finished(crew, place, task)):
            bar.add(task.stop - task.start)
            return found
        told = _Told(bar)
        done = crew.do(task, told)
        assert isinstance(done, tuple)
        publish(place, done[0], task.name, done[1])
        bar.add(task.stop - task.start - told.samples)
        return describe(task.name, done[1])

    try:
        if not workers:
            return [one(task) for task in tasks]
        pool = ThreadPoolExecutor(workers, "leyden-shards")
        try:
            futures = [pool.submit(one, task) for task in tasks]
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((error for future in futures if future.done() and (error := future.exception())), None)
            if failed:
                raise failed
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            crew.close()
            pool.shutdown()
    finally:
        crew.close()


def _finished(crew: Crew, place: Place, task: Task) -> Dataset | None:
    found = kept(place, task.name)
    if found is None or len(found[1]) != task.stop - task.start:
        return None
    first = Task(name=task.name, start=task.start, stop=task.stop, kept_crc32c=int(found[1].crc32c[0]))
    if not crew.do(first, lambda _: None):
        raise others(task.name, place)
    return describe(task.name, found[0])


class _Told:
    """How many samples of a task the bar has counted already."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self.samples = bar, 0

    def __call__(self, samples: int) -> None:
        self.samples += samples
        self._bar.add(samples)
