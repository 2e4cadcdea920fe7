"""How big is a job that did not say, and could this machine ever run it?"""

from __future__ import annotations

from dataclasses import dataclass

from leyden.core.errors import PlacementError
from leyden.core.job import Resources
from leyden.core.units import format_size
from leyden.engines.base import Gpu, Machine


@dataclass(frozen=True, kw_only=True)
class Size:
    """What an attempt takes, all settled: `gpus` at the least, with `cpus` and `ranks` as for so many.

    `gpus_most` 0: exactly `gpus`. Else as many as are free, each further one with its rank and its part of the CPUs.
    `share` 4: a quarter of the one GPU.
    """

    gpus: int
    cpus: int
    ranks: int
    gpu_model: str = ""
    gpu_memory_bytes: int = 0
    gpus_most: int = 0
    share: int = 1

    def takes(self, gpu: Gpu) -> bool:
        """Whether the GPU is of the kind asked for."""
        return self.gpu_model.lower() in gpu.name.lower() and gpu.memory_bytes >= self.gpu_memory_bytes


def settle(wanted: Resources, machine: Machine) -> Size:
    """The size of a job on this machine.

    Unsized it takes one GPU with its share of the CPUs; without GPUs all CPUs, so that two such jobs queue. Who shares
    a GPU takes that part of all this, so that as many run at a time with GPUs and without.
    """
    gpus = wanted.gpus if wanted.gpus is not None else min(1, len(machine.gpus))
    share = machine.cpus * max(1, gpus) // (max(1, len(machine.gpus)) * wanted.share)
    return Size(
        gpus=gpus,
        cpus=wanted.cpus or min(machine.cpus, max(1, share)),
        ranks=wanted.ranks or max(1, gpus),
        gpu_model=wanted.gpu_model or "",
        gpu_memory_bytes=wanted.gpu_memory_bytes,
        gpus_most=wanted.gpus_most or 0,
        share=wanted.share if gpus else 1,
    )


def refuse_impossible(size: Size, machine: Machine) -> None:
    """Raise PlacementError where the job can never fit."""
    found = f"this machine has {describe(machine)}"
    fitting = sum(size.takes(gpu) for gpu in machine.gpus)
    if size.gpus > fitting:
        model, memory_bytes = size.gpu_model or None, size.gpu_memory_bytes
        gpus = Resources(gpus=size.gpus, gpu_model=model, gpu_memory_bytes=memory_bytes, share=size.share)
        no_gpu = "0, or submit it to a machine with GPUs"
        instead = f"{fitting} or fewer" if fitting else "0, or for another kind" if machine.gpus else no_gpu
        raise PlacementError(asked=f"the job asks for {gpus.describe()}", found=found, do=f"Ask for --gpus {instead}.")
    if size.cpus > machine.cpus:
        cpus = Resources(cpus=size.cpus).describe()
        raise PlacementError(
            asked=f"the job asks for {cpus}", found=found, do=f"Ask for --cpus {machine.cpus} or fewer."
        )


def describe(machine: Machine) -> str:
    """In words.

    >>> describe(Machine(node="n", cpus=2, memory_bytes=24_000_000_000))
    'no GPU (2 CPUs, 24 GB)'
    """
    rest = f"({_count(machine.cpus, 'CPU')}, {format_size(machine.memory_bytes)})"
    kinds: dict[str, int] = {}
    for gpu in machine.gpus:
        kind = f"{gpu.name} {format_size(gpu.memory_bytes)}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return f"{', '.join(f'{count} × {kind}' for kind, count in kinds.items()) or 'no GPU'} {rest}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
