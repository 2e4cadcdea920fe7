"""What does the name of a device say?

"gpu:0" is a GPU and "cpu:7" a CPU; "gpu:0/4.2" is part 2 of GPU 0, which is split in four for jobs that share it.
"""

from __future__ import annotations

from collections.abc import Iterable


def whole(device: str) -> str:
    """The device that it is, or is a part of.

    >>> whole("gpu:0/4.2"), whole("gpu:0")
    ('gpu:0', 'gpu:0')
    """
    return device.partition("/")[0]


def split_of(device: str) -> int:
    """In how many parts its GPU is split.

    >>> split_of("gpu:0/4.2"), split_of("gpu:0")
    (4, 1)
    """
    part = device.partition("/")[2]
    return int(part.partition(".")[0]) if part else 1


def index_of(device: str) -> int:
    """The number of the device that it is, or is a part of.

    >>> index_of("gpu:3/4.2"), index_of("cpu:12")
    (3, 12)
    """
    return int(whole(device).partition(":")[2])


def parts(device: str, share: int) -> list[str]:
    """What jobs of that share can take of it.

    >>> parts("gpu:0", 2), parts("gpu:0", 1)
    (['gpu:0/2.0', 'gpu:0/2.1'], ['gpu:0'])
    """
    return [f"{device}/{share}.{number}" for number in range(share)] if share > 1 else [device]


def exclude(one: str, other: str) -> bool:
    """Whether only one of them can be held: a GPU is held whole, or in parts of one split.

    >>> exclude("gpu:0", "gpu:0/4.2"), exclude("gpu:0/2.0", "gpu:0/4.2"), exclude("gpu:0/4.1", "gpu:0/4.2")
    (True, True, False)
    """
    return one == other or (whole(one) == whole(other) and split_of(one) != split_of(other))


def count_of(devices: Iterable[str]) -> tuple[float, int]:
    """GPUs, parts of them as fractions, and CPUs.

    >>> count_of(["gpu:0", "gpu:1/4.2", "cpu:0"]), count_of(["gpu:0", "gpu:1"])
    ((1.25, 1), (2, 0))
    """
    gpus: float = 0
    cpus = 0
    for device in devices:
        if device.startswith("gpu:"):
            gpus += 1 / split_of(device) if "/" in device else 1
        else:
            cpus += 1
    return (gpus if isinstance(gpus, int) else round(gpus, 9)), cpus  # seven sevenths are one
