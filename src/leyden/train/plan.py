"""What will training do? Every choice, settled and frozen before the first step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.ranks.world import World
from leyden.train.strategies import DDP, Strategy, choose

_MIXED = {"bf16-mixed": torch.bfloat16, "float8-mixed": torch.bfloat16, "16-mixed": torch.float16}
_TRUE = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
_PRECISIONS = ("32-true", "32", *_MIXED, *_TRUE)
_ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the user chose, checked; the fields are the Trainer's arguments."""

    strategy: Strategy
    precision: str
    max_epochs: int
    min_epochs: int
    max_steps: int
    min_steps: int
    overfit_batches: int | float
    accumulate_grad_batches: int | str
    accumulate_by: str
    truncated_bptt_steps: int
    gradient_clip_val: float | None
    gradient_clip_algorithm: str
    scale_lr: str | None
    lr_warmup: str | int
    val_check_interval: int | float
    check_val_every_n_epoch: int | None
    num_sanity_val_steps: int
    reload_dataloaders_every_n_epochs: int
    use_distributed_sampler: bool
    log_every_n_steps: int
    compile: bool | str
    deterministic: bool | str
    benchmark: bool | None
    detect_anomaly: bool
    inference_mode: bool
    sync_batchnorm: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Choices:
        """The choices among the Trainer's arguments."""
        strategy = choose(arguments["strategy"])
        precision = strategy.choose_precision(arguments["precision"])
        given = {**arguments, "strategy": strategy, "precision": precision}
        return cls(**{one.name: given[one.name] for one in fields(cls)})

    def __post_init__(self) -> None:
        known: dict[str, tuple[Any, ...]] = {
            "precision": _PRECISIONS,
            "gradient_clip_algorithm": ("norm", "value"),
            "accumulate_by": ("batches", "tokens"),
            "scale_lr": (None, "linear", "sqrt"),
            "compile": (False, True, "blocks"),
            "deterministic": (False, True, "warn"),
        }
        for name, options in known.items():
            value = getattr(self, name)
            if value not in options:
                raise ConfigurationError(
                    asked=f"{name}={value!r}", found="it is unknown", do=nearest(str(value), map(str, options))
                )
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
            number = getattr(self, name)
            if number in ({"accumulate_grad_batches": "auto", "check_val_every_n_epoch": None}.get(name, 1), 1):
                continue
            if not isinstance(number, int) or number < 1:
                raise ConfigurationError(asked=f"{name}={number}", found="it must be 1 or more", do=f"Set {name}=1.")
        interval = self.val_check_interval
        if self.check_val_every_n_epoch is None and not isinstance(interval, int):
            raise ConfigurationError(
                asked=f"check_val_every_n_epoch=None with val_check_interval={interval}",
                found="without epochs to count, validation is counted in batches",
                do="Give a whole number of batches as val_check_interval.",
            )
        if interval <= 0 or (isinstance(interval, float) and interval > 1):
            raise ConfigurationError(
                asked=f"val_check_interval={interval}",
                found="it is neither a number of batches nor a share of an epoch",
                do="Give a whole number, or a float above 0 and at most 1.0.",
            )


@dataclass(frozen=True, kw_only=True)
class Plan(Choices):
    """The engineering of one call: the choices, and what they meet here. Nothing in it changes once steps are taken."""

    device: torch.device
    world: World

    def __post_init__(self) -> None:
        super().__post_init__()
        self.strategy.check(self.world.size, self.precision)
        if self.window > 1 and self.world.size > 1 and isinstance(self.strategy, DDP) and self.strategy.static_graph:
            raise ConfigurationError(
                asked=f"DDP(static_graph=True) with accumulate_grad_batches={self.window}",
                found="PyTorch must exchange gradients in the first backward pass of a static graph",
                do="Leave static_graph out, or set accumulate_grad_batches=1.",
            )

    @property
    def sharded(self) -> bool:
        """Whether each rank holds only a part of the model."""
        return self.strategy.spreads and self.world.size > 1

    @property
    def data_rank(self) -> int:
        """Which share of the data this rank works on; ranks that compute layers together have the same."""
        return self.world.rank // self.strategy.ranks_per_batch

    @property
    def data_size(self) -> int:
        """Into how many shares the data is divided."""
        return self.world.size // self.strategy.ranks_per_batch

    @property
    def window(self) -> int:
        """Micro-batches to a step of the optimizer."""
        return 1 if isinstance(self.accumulate_grad_batches, str) else self.accumulate_grad_batches

    @property
    def fits_memory(self) -> bool:
        """Whether a batch that does not fit the memory is computed in parts."""
        return self.accumulate_grad_batches == "auto"

    @property
    def dtype(self) -> torch.dtype | None:
        """What parameters and batches are cast to; None leaves them as they are."""
        return _TRUE.get(self.precision)

    def forward_context(self) -> contextlib.AbstractContextManager[Any]:
        """Around every step: automatic mixed precision, another default dtype, or nothing."""
        if self.precision in _MIXED:
            return torch.autocast(self.device.type, dtype=_MIXED[self.precision])
        return DefaultDtype(self.dtype) if self.dtype else contextlib.nullcontext()

    def count_steps(self, batches: int | None) -> float:
        """Optimizer steps of the whole training, for epochs of so many batches; infinite where nothing bounds it."""
        bound = math.inf if self.max_steps == -1 else self.max_steps
        if batches is None or self.max_epochs == -1:
            return bound
        return min(bound, self.max_epochs * math.ceil(batches / self.window))

    def validation_period(self, batches: int | None) -> int:
        """Batches from one validation to the next within an epoch of so many; 0 for only at its end."""
        interval = self.val_check_interval
        if isinstance(interval, float) and interval == 1.0:
            return 0
        if isinstance(interval, int):
            if batches is not None and interval > batches and self.check_val_every_n_epoch is not None:
                raise ConfigurationError(
                    asked=f"val_check_interval={interval}",
                    found=f"an epoch has {batches} batches, so validation would never run",
                    do="Give a smaller number, or check_val_every_n_epoch=None to count on over epochs.",
                )
            return interval
        if batches is None:
            raise ConfigurationError(
                asked=f"val_check_interval={interval}",
                found="the loader has no length to take a share of",
                do="Give a whole number of batches.",
            )
        return max(1, int(batches * interval))

    def describe(self) -> str:
        """One line for people."""
        ranks = f" × {self.world.size} ranks ({self.strategy.describe(self.world.size)})" if self.world.size > 1 else ""
        offload = ", offload" * (self.strategy.name == "offload")
        return f"{self.device.type}{ranks}, {self.precision}{offload}"


class DefaultDtype:
    """New tensors have another floating-point type inside; can be entered again and again."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype, self._before = dtype, torch.get_default_dtype()

    def __enter__(self) -> None:
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(self._before)


def choose_device(accelerator: str, world: World, devices: int | str | list[int] = "auto") -> torch.device:
    """The device of this rank: "auto" takes CUDA, then MPS, then the CPU; a list of devices names GPUs by index."""
    if accelerator not in _ACCELERATORS:
        raise ConfigurationError(
            asked=f"accelerator={accelerator!r}", found="it is unknown", do=nearest(accelerator, _ACCELERATORS)
        )
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    kind = accelerator
    if kind == "auto":
        kind = "cuda" if cuda else "mps" if mps else "cpu"
    if kind == "gpu":
        kind = "mps" if mps and not cuda else "cuda"
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise ConfigurationError(
            asked=f"accelerator={accelerator!r}",
            found=f"PyTorch {torch.__version__} sees no such device on this machine",
            do='Use accelerator="auto", a PyTorch built for it, or a machine with one: leyden run --gpus 1 train.py',
        )
    if kind != "cuda":
        return torch.device(kind)
    return torch.device("cuda", devices[world.local_rank] if isinstance(devices, list) else world.local_rank)


def count_devices(devices: int | str | list[int], accelerator: str) -> int:
    """Ranks a node runs for `devices`: a number, a list of indices, "auto" or -1 (all GPUs; one rank on a CPU)."""
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return max(1, torch.cuda.device_count()) if accelerator in ("auto", "gpu", "cuda") else 1
    try:
        count = int(devices)
    except ValueError:
        count = 0
    if count < 1:
        raise ConfigurationError(
            asked=f"devices={devices!r}", found="it is no number of devices", do='Use 1 or more, or "auto".'
        )
    seen = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and 0 < seen < count:
        raise ConfigurationError(
            asked=f"devices={count} with accelerator={accelerator!r}",
            found=f"this machine has {seen} GPUs",
            do=f"Use devices={max(1, seen)} here, or ask a platform for more: leyden run --gpus {count} train.py",
        )
    return count


def adopt_world(
    devices: int | str | list[int], accelerator: str, environ_world: World | None, num_nodes: int = 1
) -> World | None:
    """The launcher's world, checked against what the script asks for; None where the script runs alone.

    `devices="auto"` with num_nodes=1 takes whatever the launcher gives, on any number of nodes.
    """
    if environ_world is None:
        if num_nodes > 1:
            raise ConfigurationError(
                asked=f"Trainer(num_nodes={num_nodes})",
                found="no launcher has started ranks on several nodes",
                do="Start the script on every node by torchrun, in a Slurm job by `srun`, or use num_nodes=1.",
            )
        return None
    size, local_size, launcher = environ_world.size, environ_world.local_size, environ_world.launcher
    by_slurm = launcher == "srun"
    if devices in ("auto", -1, "-1"):
        asked = local_size
    else:
        asked = count_devices(devices, "cpu" if accelerator == "auto" else accelerator)
    if asked != local_size:
        start = f"start `srun --ntasks-per-node={asked}`" if by_slurm else "start that many ranks"
        raise ConfigurationError(
            asked=f"Trainer(devices={devices!r})",
            found=f"{launcher} started {local_size} ranks on this node",
            do=f'Use devices="auto" to take what {launcher} gives, or {start}.',
        )
    if size != num_nodes * asked and not (num_nodes == 1 and devices in ("auto", -1, "-1")):
        start = f"start `srun --nodes={num_nodes} --ntasks-per-node={asked}`" if by_slurm else f"start {asked} on each"
        raise ConfigurationError(
            asked=f"Trainer(devices={devices!r}, num_nodes={num_nodes})",
            found=f"{launcher} started {size} ranks, {local_size} of them on this node",
            do=f"Set num_nodes={max(1, size // asked)}, or {start}.",
        )
    return environ_world
