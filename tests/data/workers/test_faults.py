"""What happens when a worker dies, hangs or cannot begin, and when a sample is bad?"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from leyden.data import Loader, Shards, write_shards
from leyden.data.errors import CorruptError, DataError, SampleError

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Items:
    """Item i is i."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def pids(loader: Loader) -> list[int]:
    assert loader._engine
    return [worker.pid for worker in loader._engine.crew.pool.workers]  # type: ignore[attr-defined]


def augment(item: int, rng: np.random.Generator) -> dict[str, Any]:
    return {"item": item, "noise": rng.random(5, dtype=np.float32)}


def test_killed_workers_are_replaced_and_nothing_is_lost_or_changed() -> None:
    def gather(loader: Loader, kill: bool) -> list[Any]:
        found, killed = [], 0
        for epoch in range(2):
            for step, batch in enumerate(loader):
                if kill and step % 11 == 3:
                    os.kill(pids(loader)[killed % 2], signal.SIGKILL)
                    killed += 1
                found.append((epoch, batch["item"].tolist(), batch["noise"].tolist()))
        return found

    with Loader(Items(150), batch_size=4, transform=augment, shuffle=True, workers=0) as loader:
        expected = gather(loader, kill=False)
    with Loader(Items(150), batch_size=4, transform=augment, shuffle=True, workers=2, kind="process") as loader:
        assert gather(loader, kill=True) == expected
        until(lambda: len(pids(loader)) == 2)


def test_a_batch_that_kills_its_workers_is_an_error_that_names_it() -> None:
    def crash(item: int) -> int:
        if item == 21:
            os.kill(os.getpid(), signal.SIGSEGV)
        return item

    with Loader(Items(40), batch_size=4, transform=crash, workers=2, kind="process") as loader:
        loop = iter(loader)
        assert [next(loop).tolist() for _ in range(5)] == [[*range(i, i + 4)] for i in range(0, 20, 4)]
        with pytest.raises(DataError, match=r"sample 21 \(position 21 of epoch 0\).*3 workers died.*SIGSEGV"):
            next(loop)


def test_a_transform_that_hangs_is_an_error_in_time() -> None:
    def hang(item: int) -> int:
        if item == 9:
            threading.Event().wait()
        return item

    for kind in ("process", "thread"):
        with Loader(Items(40), batch_size=4, transform=hang, workers=2, kind=kind, timeout_s=3) as loader:
            loop = iter(loader)
            assert [next(loop)[0].item() for _ in range(2)] == [0, 4]
            began = time.monotonic()
            with pytest.raises(
                DataError, match=r"nothing has moved for 3 s: worker .*sample 9 \(position 9 of epoch 0"
            ):
                next(loop)
            assert time.monotonic() - began < 9


def test_workers_that_cannot_load_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").write_text(
        "import os\nassert os.getpid() == int(os.environ['PARENT'])\ndef same(x): return x\n"
    )
    monkeypatch.setenv("PARENT", str(os.getpid()))
    monkeypatch.syspath_prepend(tmp_path)
    only_here = importlib.import_module("only_here")
    with (
        Loader(Items(4), batch_size=4, transform=only_here.same, workers=2, kind="process") as loader,
        pytest.raises(DataError, match=r"could not load(?s:.)*AssertionError"),
    ):
        next(iter(loader))
    monkeypatch.delitem(sys.modules, "only_here")


def test_workers_that_never_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        Loader(Items(4), batch_size=4, workers=2, kind="process") as loader,
        pytest.raises(DataError, match=r"8 in a row died before they were ready, the last one: worker .* exit code 1"),
    ):
        next(iter(loader))


def test_what_cannot_be_pickled_is_named_or_made_by_the_caller() -> None:
    lock = threading.Lock()

    def locked(item: int) -> int:
        with lock:
            return item

    with (
        Loader(Items(8), batch_size=4, transform=locked, workers=2, kind="process") as loader,
        pytest.raises(DataError, match="cannot be pickled"),
    ):
        next(iter(loader))
    with Loader(Items(8), batch_size=4, transform=locked, workers=2) as loader:
        with pytest.warns(UserWarning, match="the training's own thread"):
            loop = iter(loader)
        assert [batch.tolist() for batch in loop] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def picky(item: int) -> int:
    if item % 150 == 7:
        raise ValueError(f"no {item} here")
    return item


@pytest.mark.parametrize("kind", ["none", "thread", "process"])
def test_an_exception_names_sample_and_line(kind: Any) -> None:
    line = picky.__code__.co_firstlineno + 2
    where = rf"sample 7 \(position 7 of epoch 0\).*ValueError: no 7 here \(.*test_faults.py:{line}, in picky: raise"
    with Loader(Items(40), batch_size=4, transform=picky, workers=2, kind=kind) as loader:
        loop = iter(loader)
        assert next(loop).tolist() == [0, 1, 2, 3]
        with pytest.raises(SampleError, match=where) as caught:
            next(loop)
    assert "Traceback (most recent call last)" in caught.value.__notes__[0]


def test_bad_samples_are_left_out_and_counted() -> None:
    with Loader(Items(1000), batch_size=10, transform=picky, workers=2, kind="process", on_error="skip") as loader:
        with pytest.warns(UserWarning, match="left out") as warned:
            batches = [*loader]
        assert len(warned) == 3  # at the 1st, 2nd, 4th
        assert [x for batch in batches for x in batch.tolist()] == [i for i in range(1000) if i % 150 != 7]
        assert loader.meter.read().skipped == 7
        assert loader.state_dict()["epoch"] == 1


def test_too_many_bad_samples_are_an_error() -> None:
    def odd(item: int) -> int:
        return item // (item % 2)

    with (
        Loader(Items(100), batch_size=4, transform=odd, workers=0, on_error="skip") as loader,
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(SampleError, match=r"6 of 12 were bad, more than 1 %.*ZeroDivisionError"),
    ):
        list(loader)


def test_samples_that_do_not_fit_together() -> None:
    def ragged(item: int) -> Any:
        return {"x": np.zeros(3 + item // 6)}

    with (
        Loader(Items(8), batch_size=4, transform=ragged, workers=0) as loader,
        pytest.raises(
            SampleError, match=r"position 6 .*\['x'\] has shape \(4,\), the first of the batch \(3,\).*collate="
        ),
    ):
        list(loader)


def test_a_flipped_byte_is_found_and_named(tmp_path: Path) -> None:
    write_shards(({"item": i, "x": np.full(500, i, np.int16)} for i in range(40)), str(tmp_path), samples_per_shard=20)
    source = Shards(str(tmp_path))
    shard = tmp_path / source.shard(1).name
    raw = bytearray(shard.read_bytes())
    raw[raw.index(np.full(500, 30, np.int16).tobytes()) + 7] ^= 1
    shard.write_bytes(raw)
    where = rf"position 30 of epoch 0, shard {source.shard(1).name}.*offset \d+"
    for kind in ("none", "process"):
        loader = Loader(source, batch_size=4, workers=1, kind=kind)
        with loader, pytest.raises(CorruptError, match=where):
            list(loader)
    loader = Loader(source, batch_size=4, workers=1, kind="process", on_error="skip")
    with loader, pytest.warns(UserWarning, match="position 30"):
        batches = [*loader]
    assert [x for batch in batches for x in batch["item"].tolist()] == [i for i in range(40) if i != 30]
    assert all((batch["x"] == batch["item"][:, None]).all() for batch in batches)


SCRIPT = """
import os, sys, time
from typing import NamedTuple
import torch
from leyden.data import Loader

class Point(NamedTuple):
    pid: int
    loaded: str

class Items:
    def __len__(self): return 64
    def __getitem__(self, index):
        print("made", index, file=sys.stderr)
        return Point(os.getpid(), ",".join(m for m in ("torch", "obstore", "pyarrow") if m in sys.modules))

if __name__ == "__main__":
    loader = Loader(Items(), batch_size=4, workers=2, kind="process")
    loop = iter(loader)
    batches = [next(loop) for _ in range(8)]
    assert all(type(batch) is Point for batch in batches)
    print(*{pid for b in batches for pid in b.pid.tolist()}, *{each for b in batches for each in b.loaded}, flush=True)
    if "wait" in sys.argv:
        time.sleep(60)
"""


def test_workers_of_a_script_are_free_of_torch_and_end_with_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    run = subprocess.Popen([sys.executable, script, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout
    assert run.stderr
    workers = [Path(f"/proc/{pid}") for pid in run.stdout.readline().split()]
    assert len(workers) == 2, workers  # and no module was loaded
    for worker in workers:
        os.kill(int(worker.name), signal.SIGINT)  # reaches them too, and is not theirs
        os.kill(int(worker.name), signal.SIGTERM)
    assert all(worker.exists() for worker in workers)
    run.kill()
    assert "made 5" in run.stderr.read()  # ends when the last worker has
    run.wait()
    until(lambda: not any(worker.exists() for worker in workers), 5)
    run.stdout.close()
    run.stderr.close()
