"""Who packs the shards of a map-style data set? Fresh processes, each a shard at a time, told so over a pipe.

`python -m leyden.data.shards.crew`, not multiprocessing: forking a process with threads can hang it, and spawning runs
the user's script again. What they need comes by cloudpickle, so a data set may be defined in the script itself.
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, final

import google_crc32c

from leyden.core.errors import LeydenError
from leyden.data.errors import DataError, SampleError
from leyden.data.shards.pack import Encoder, Pack

TELL_EVERY_S = 0.2
LEAVE_S = 1.0


class Items(Protocol):
    """Samples with len() and []."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Pack samples start:stop."""

    name: str
    start: int
    stop: int
    kept_crc32c: int | None = None  # of the first sample in a shard that is finished already: only compare


@dataclass(frozen=True, kw_only=True, slots=True)
class Packer:
    """Does a task: the path of the scratch file and its index. Sent to the workers."""

    samples: Items
    encoder: Encoder
    folder: Path

    def __call__(self, task: Task, tell: Callable[[int], None]) -> tuple[Path, bytes] | bool:
        """For a kept shard: whether its first sample is still the same."""
        if task.kept_crc32c is not None:
            return bool(google_crc32c.value(self._get(task.start)[1]) == task.kept_crc32c)
        pack = Pack(self.folder, task.name)
        try:
            for number in range(task.start, task.stop):
                pack.add(self._get(number))
                tell(1)
            return pack.path, pack.finish()
        except BaseException:
            pack.abandon()
            raise

    def _get(self, number: int) -> Any:
        return self.encoder(fetch(self.samples, number), number)


def fetch(samples: Items, number: int) -> Mapping[str, Any]:
    """One sample of the user's. Raises SampleError with the line in which the user's code failed."""
    try:
        return samples[number]
    except LeydenError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise SampleError(
            asked=f"sample {number} of {type(samples).__name__} was asked for",
            found=f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})",
            do="Mend the data set, or leave this sample out; run it again then: finished shards are kept.",
        ) from error


@final
class Crew:
    """So many processes; 0: the work is done here. `do` may be called by as many threads at the same time."""

    def __init__(self, packer: Packer, workers: int) -> None:
        self._packer = packer
        self._idle: queue.SimpleQueue[_Hand | None] = queue.SimpleQueue()
        self._hands: list[_Hand] = []
        self._job = _pickled(packer) if workers else b""
        for _ in range(max(1, workers)):
            self._idle.put(None)

    def do(self, task: Task, tell: Callable[[int], None]) -> tuple[Path, bytes] | bool:
        """The task's result; `tell` is called with numbers of samples done."""
        if not self._job:
            return self._packer(task, tell)
        hand = self._idle.get()
        if hand is None:
            hand = _Hand(self._job)
            self._hands.append(hand)
        try:
            return hand.do(task, tell)
        finally:
            self._idle.put(hand)

    def close(self) -> None:
        """End all processes: those with nothing to do by themselves, so that they leave nothing behind."""
        for hand in self._hands:
            hand.dismiss()
        give_up = time.monotonic() + LEAVE_S
        for hand in self._hands:
            hand.close(give_up - time.monotonic())
        self._hands.clear()


def _pickled(packer: Packer) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(packer))
    except Exception as error:
        raise DataError(
            asked=f"{type(packer.samples).__name__} was to be sent to worker processes",
            found=f"it cannot be pickled: {error}",
            do="Open files in __getitem__ rather than in __init__, or give workers=0.",
        ) from error


@final
class _Hand:
    """One process and the pipes to it."""

    def __init__(self, job: bytes) -> None:
        ours, to = os.pipe()
        back, answers = os.pipe()
        command = [sys.executable, "-m", "leyden.data.shards.crew", str(ours), str(answers)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            command, pass_fds=(ours, answers), stdin=subprocess.DEVNULL, stdout=sys.__stderr__, env=environ
        )
        os.close(ours)
        os.close(answers)
        self._write, self._read = os.fdopen(to, "wb"), os.fdopen(back, "rb")
        self._job = job

    def do(self, task: Task, tell: Callable[[int], None]) -> tuple[Path, bytes] | bool:
        try:
            if self._job:
                self._send(self._job)
                self._job = b""
            self._send(pickle.dumps(task))
            while True:
                kind, value = pickle.loads(_receive(self._read))
                if kind == "samples":
                    tell(value)
                elif kind == "error":
                    raise value
                else:
                    return value  # type: ignore[no-any-return]
        except (EOFError, BrokenPipeError):
            code = self._process.wait()
            how = f"killed by signal {-code}" if code < 0 else f"gone with exit code {code}"
            raise DataError(
                asked=f"a worker process was packing {task.name}",
                found=f"it was {how}",
                do="If memory ran out, give fewer workers. Run it again: finished shards are kept.",
            ) from None

    def dismiss(self) -> None:
        with suppress(BrokenPipeError):
            self._write.close()

    def close(self, within_s: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, within_s))
        self._process.kill()
        self._process.wait()
        self._read.close()

    def _send(self, raw: bytes) -> None:
        self._write.write(struct.pack("<Q", len(raw)) + raw)
        self._write.flush()


def _receive(stream: BinaryIO) -> bytes:
    (length,) = struct.unpack("<Q", _exactly(stream, 8))
    return _exactly(stream, length)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    raw = stream.read(length)
    if len(raw) < length:
        raise EOFError
    return raw


def _main() -> None:
    """In the process: tasks come, results go, until the pipe ends or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    read, write = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb")
    threading.Thread(target=_end_with, args=(read.fileno(),), daemon=True).start()

    def answer(kind: str, value: object) -> None:
        raw = pickle.dumps((kind, value))
        write.write(struct.pack("<Q", len(raw)) + raw)
        write.flush()

    try:
        packer: Packer = pickle.loads(_receive(read))
        while True:
            task: Task = pickle.loads(_receive(read))
            teller = _Teller(answer)
            try:
                answer("done", packer(task, teller))
            except Exception as error:
                answer("error", error if isinstance(error, LeydenError) else _foreign(error))
    except (EOFError, BrokenPipeError):
        return


def _end_with(pipe: int) -> None:
    """When the parent is gone, however it went, whatever the user's code is doing."""
    gone = select.poll()
    gone.register(pipe, 0)
    gone.poll()
    time.sleep(LEAVE_S)  # to end by itself, if it waits for a task
    os._exit(1)


def _foreign(error: Exception) -> DataError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return DataError(
        asked="a worker process was packing samples",
        found=f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})",
        do="Mend that; run it again then: finished shards are kept.",
    )


@final
class _Teller:
    """Passes numbers on a few times a second."""

    def __init__(self, answer: Callable[[str, object], None]) -> None:
        self._answer = answer
        self._count, self._last = 0, time.monotonic()

    def __call__(self, samples: int) -> None:
        self._count += samples
        if time.monotonic() - self._last >= TELL_EVERY_S:
            self._answer("samples", self._count)
            self._count, self._last = 0, time.monotonic()


if __name__ == "__main__":
    _main()
