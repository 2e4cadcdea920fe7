"""Where do downloads run? On one event loop in one thread of this process, which ends with the interpreter."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
WRITERS = 4  # threads for writing and hashing files; both let go of the GIL


def loop() -> asyncio.AbstractEventLoop:
    """The loop of this process (a forked child gets its own)."""
    return _start(os.getpid())


@cache
def _start(pid: int) -> asyncio.AbstractEventLoop:
    new = asyncio.new_event_loop()
    new.set_default_executor(concurrent.futures.ThreadPoolExecutor(WRITERS, "leyden-files"))
    thread = threading.Thread(target=new.run_forever, name="leyden-tiers", daemon=True)
    thread.start()
    atexit.register(_stop, pid, new, thread)
    return new


def _stop(pid: int, old: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Requests that still run are let go: none may call back into an interpreter that is gone."""
    if pid == os.getpid() and thread.is_alive():

        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=2) if tasks else None

        concurrent.futures.wait([asyncio.run_coroutine_threadsafe(cancel(), old)], timeout=3)
        old.call_soon_threadsafe(old.stop)
        thread.join(1)
        if not thread.is_alive():
            old.close()


def is_here() -> bool:
    """Whether this is the loop's thread, which must not wait for the loop."""
    with suppress(RuntimeError):
        return asyncio.get_running_loop() is loop()
    return False


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run it on the loop and wait, from any other thread; gives up when the interpreter ends."""
    future = asyncio.run_coroutine_threadsafe(work, loop())
    while True:
        try:
            return future.result(timeout=0.2)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            if not threading.main_thread().is_alive():
                future.cancel()
                raise concurrent.futures.CancelledError from None


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Run what waits for the network in a thread of its own, which does not keep the interpreter from its end."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(work(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="leyden-index", daemon=True).start()  # a pool's threads would be joined at exit
    return await asyncio.wrap_future(future)
