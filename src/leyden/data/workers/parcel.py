"""How do data set, transform and collate come to all workers, large arrays among them only once?

Pickled into a file without a name, the arrays beside the pickle: workers map them, so a data set held in memory is
there once for all workers, copied by the page where one of them writes to it.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
from pathlib import Path
from typing import Final, final

from leyden.data.errors import DataError
from leyden.data.workers.messages import Setup

_ALIGN: Final = 64


@final
class Parcel:
    """The setup, and where modules are found. Functions and classes of the user's `__main__` go by value."""

    def __init__(self, setup: Setup) -> None:
        import cloudpickle

        arrays: list[pickle.PickleBuffer] = []
        try:
            body = cloudpickle.dumps(setup, protocol=5, buffer_callback=arrays.append)
        except Exception as error:
            raise DataError(
                asked="data set, transform and collate were to be sent to worker processes",
                found=f"they cannot be pickled: {error}",
                do='Create what cannot be pickled (locks, open files) on first use, or give kind="thread".',
            ) from error
        views = [array.raw() for array in arrays]
        paths = sys.path, os.environ.get("PYTHONPATH")
        head = pickle.dumps((paths, body, [view.nbytes for view in views]))
        self.fd = os.memfd_create("leyden-setup", os.MFD_CLOEXEC)
        with Path(f"/proc/self/fd/{self.fd}").open("r+b") as file:
            file.write(head)
            for view in views:
                file.seek(-(-file.tell() // _ALIGN) * _ALIGN)
                file.write(view)

    def close(self) -> None:
        """Twice does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def unpack(fd: int) -> Setup:
    """The setup, in a worker; its modules are found where the parent finds them."""
    parcel = mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
    os.close(fd)
    (sys.path[:], path), body, sizes = pickle.load(parcel)
    del os.environ["PYTHONPATH"]  # was set to find leyden
    if path is not None:
        os.environ["PYTHONPATH"] = path
    arrays, at = [], parcel.tell()
    for size in sizes:
        at = -(-at // _ALIGN) * _ALIGN
        arrays.append(memoryview(parcel)[at : at + size])
        at += size
    setup: Setup = pickle.loads(body, buffers=arrays)
    return setup
