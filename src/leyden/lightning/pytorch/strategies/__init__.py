"""What do Lightning's strategies mean in Leyden's words? Each object keeps its options and translates them.

Where several options of one mean nothing here, they are accepted: Leyden chooses (backend, time-out, launching).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from leyden.lightning.errors import not_kept
from leyden.train import strategies
from leyden.train.strategies import DDP, FSDP

__all__ = [
    "DDPStrategy",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "ModelParallelStrategy",
    "ParallelStrategy",
    "SingleDeviceStrategy",
    "Strategy",
]
_TIMEOUT = timedelta(seconds=1800)


class Strategy:
    """Options before the run; while it runs, the device of this rank and its talk with the others.

    Leyden's ranks run Leyden's loop: a strategy of one's own, derived from these, is refused by the Trainer.
    """

    def __init__(self, accelerator: Any = None, checkpoint_io: Any = None, precision_plugin: Any = None) -> None:
        self.accelerator, self.checkpoint_io, self.precision_plugin = accelerator, checkpoint_io, precision_plugin
        self.trainer: Any = None  # the Trainer that was given this object

    def leyden(self) -> Any:
        """The same choice for `leyden.Trainer(strategy=…)`."""
        return "auto"

    @property
    def root_device(self) -> torch.device:
        """The device of this rank."""
        found: torch.device = self.trainer.root_device
        return found

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""
        return self.global_rank == 0

    @property
    def global_rank(self) -> int:
        """This rank among all."""
        return int(self.trainer.global_rank)

    @property
    def local_rank(self) -> int:
        """This rank among those of its node."""
        return int(self.trainer.local_rank)

    @property
    def node_rank(self) -> int:
        """Which machine this is."""
        return int(self.trainer.node_rank)

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        return int(self.trainer.world_size)

    @property
    def num_processes(self) -> int:
        """Ranks on this node."""
        return int(self.trainer.num_devices)

    @property
    def model(self) -> Any:
        """The module."""
        return self.trainer.lightning_module

    @property
    def lightning_module(self) -> Any:
        """The module."""
        return self.trainer.lightning_module

    @property
    def optimizers(self) -> list[Any]:
        """Those of the running or last fit."""
        return list(self.trainer.optimizers)

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """Those of the running or last fit."""
        return list(self.trainer.schedules)

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks. Collective."""
        if self.world_size > 1:
            dist.barrier()

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """The object of rank `src`, on every rank. Collective."""
        if self.world_size == 1:
            return obj
        box = [obj]
        dist.broadcast_object_list(box, src=src)
        return box[0]

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """Mean or sum of a tensor over all ranks, on every rank. Collective."""
        if self.world_size == 1 or not isinstance(tensor, Tensor):
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total / self.world_size if str(reduce_op).lower() in ("mean", "avg") else total

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """The tensors of all ranks, stacked. Collective."""
        gathered: Tensor = self.model.all_gather(tensor, sync_grads=sync_grads)
        return gathered.unsqueeze(0) if self.world_size == 1 else gathered

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:  # noqa: A002  Lightning's name
        """Whether all ranks, or any, say yes. Collective."""
        everyone = self.trainer.plan.world.gather(decision)
        return sum(everyone) == len(everyone) if all else any(everyone)


class SingleDeviceStrategy(Strategy):
    """One rank on one device."""

    def __init__(
        self, device: Any = "cpu", accelerator: Any = None, checkpoint_io: Any = None, precision_plugin: Any = None
    ) -> None:
        super().__init__(accelerator, checkpoint_io, precision_plugin)
        self.device = device


class ParallelStrategy(Strategy):
    """Base of strategies for several ranks."""

    def __init__(
        self,
        accelerator: Any = None,
        parallel_devices: Any = None,
        cluster_environment: Any = None,
        checkpoint_io: Any = None,
        precision_plugin: Any = None,
    ) -> None:
        super().__init__(accelerator, checkpoint_io, precision_plugin)
        self.parallel_devices, self.cluster_environment = parallel_devices, cluster_environment


class DDPStrategy(ParallelStrategy):
    """A copy of the module on every rank; `kwargs` are DistributedDataParallel's."""

    def __init__(
        self,
        accelerator: Any = None,
        parallel_devices: Any = None,
        cluster_environment: Any = None,
        checkpoint_io: Any = None,
        precision_plugin: Any = None,
        ddp_comm_state: Any = None,
        ddp_comm_hook: Callable[..., Any] | None = None,
        ddp_comm_wrapper: Callable[..., Any] | None = None,
        model_averaging_period: int | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = _TIMEOUT,
        start_method: str = "popen",
        **kwargs: Any,
    ) -> None:
        super().__init__(accelerator, parallel_devices, cluster_environment, checkpoint_io, precision_plugin)
        if ddp_comm_hook is not None or model_averaging_period is not None:
            raise not_kept("DDPStrategy(ddp_comm_hook=…, model_averaging_period=…)", 'Use strategy="ddp" without them.')
        self._ddp_kwargs = kwargs

    def leyden(self) -> Any:
        """As `Strategy.leyden`; raises ConfigurationError for options that `leyden.train.strategies.DDP` has not."""
        known = set(DDP.__dataclass_fields__)
        if unknown := set(self._ddp_kwargs) - known:
            raise not_kept(f"DDPStrategy({', '.join(sorted(unknown))}=…)", f"Known are {', '.join(sorted(known))}.")
        return DDP(**self._ddp_kwargs)


class FSDPStrategy(ParallelStrategy):
    """A part of every tensor on each rank, by PyTorch's FSDP2."""

    def __init__(
        self,
        accelerator: Any = None,
        parallel_devices: Any = None,
        cluster_environment: Any = None,
        checkpoint_io: Any = None,
        precision_plugin: Any = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = _TIMEOUT,
        cpu_offload: Any = None,
        mixed_precision: Any = None,
        auto_wrap_policy: Any = None,
        activation_checkpointing: Any = None,
        activation_checkpointing_policy: Any = None,
        sharding_strategy: Any = "FULL_SHARD",
        state_dict_type: str = "full",
        device_mesh: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(accelerator, parallel_devices, cluster_environment, checkpoint_io, precision_plugin)
        if mixed_precision is not None:
            raise not_kept("FSDPStrategy(mixed_precision=…)", 'Give the Trainer precision="bf16-mixed" or "bf16-true".')
        self._cpu_offload, self._wrap, self._mesh = cpu_offload, auto_wrap_policy, device_mesh
        self._checkpointing = activation_checkpointing_policy or activation_checkpointing
        self._sharding, self._state_dict_type = getattr(sharding_strategy, "name", sharding_strategy), state_dict_type

    def leyden(self) -> Any:
        """As `Strategy.leyden`."""
        if self._sharding == "NO_SHARD":
            return DDP()
        hybrid = self._sharding.startswith(("HYBRID", "_HYBRID"))
        if hybrid and not isinstance(self._mesh, tuple):
            raise not_kept(
                f"FSDPStrategy(sharding_strategy={self._sharding!r}) without device_mesh",
                "Say how many copies there are and how many ranks share one: device_mesh=(2, 4).",
            )
        kinds = self._checkpointing
        return FSDP(
            wrap="auto" if self._wrap is None else wrap_of(self._wrap),
            cpu_offload=bool(getattr(self._cpu_offload, "offload_params", self._cpu_offload)),
            replicate=self._mesh[0] if isinstance(self._mesh, tuple) else 1,
            reshard_after_forward="SHARD_GRAD_OP" not in self._sharding and "ZERO2" not in self._sharding,
            state_dict=self._state_dict_type,
            activation_checkpointing=tuple(kinds) if isinstance(kinds, set | list) else kinds or False,
        )


def wrap_of(policy: Any) -> Any:
    """A wrapping policy of PyTorch's FSDP1 as Leyden's `wrap`: classes, or a function of a submodule."""
    if isinstance(policy, set | frozenset | list | tuple):
        return tuple(policy)
    if (classes := getattr(policy, "_module_classes", None)) is not None:  # ModuleWrapPolicy
        return tuple(classes)
    options = policy.keywords if isinstance(policy, functools.partial) else {}
    if "transformer_layer_cls" in options:
        return tuple(options["transformer_layer_cls"])

    def wraps(module: nn.Module) -> bool:
        count = sum(one.numel() for one in module.parameters())
        return bool(policy(module=module, recurse=False, nonwrapped_numel=count))

    return wraps


class ModelParallelStrategy(ParallelStrategy):
    """Tensor parallelism in `configure_model`, which Leyden asks for as a plan."""

    def __init__(
        self,
        data_parallel_size: Any = "auto",
        tensor_parallel_size: Any = "auto",
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = _TIMEOUT,
    ) -> None:
        super().__init__()

    def leyden(self) -> Any:
        """Raises ConfigurationError naming the plan."""
        raise not_kept(
            "ModelParallelStrategy",
            "Give the plan: leyden.train.strategies.TensorParallel(size=…, plan={'blocks.*.up': 'colwise', …}).",
        )


class DeepSpeedStrategy(ParallelStrategy):
    """DeepSpeed, whose stages Leyden reaches by FSDP2 and offloading."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self._offloads = any(bool(value) for name, value in kwargs.items() if name.startswith("offload_"))

    def leyden(self) -> Any:
        """Raises ConfigurationError naming what to use."""
        do = (
            'Use strategy="offload" on one device, or FSDP(cpu_offload=True).'
            if self._offloads
            else 'Use strategy="fsdp".'
        )
        raise not_kept("DeepSpeedStrategy", do)


_DDP = ("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook")  # how ranks are started Leyden settles itself
_OWN = (
    Strategy,
    SingleDeviceStrategy,
    ParallelStrategy,
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    DeepSpeedStrategy,
)


def choose(given: Any) -> Strategy:
    """The strategy for a word or an object; raises ConfigurationError for one that Leyden cannot run."""
    if isinstance(given, strategies.Strategy):
        return _Given(given)
    if isinstance(given, Strategy):
        if type(given) not in _OWN:
            raise not_kept(
                f"strategy={type(given).__name__}()", "Use one of leyden.train.strategies, which take options."
            )
        return given
    return _choose_word(str(given))


def _choose_word(word: str) -> Strategy:
    if word in ("auto", "single_device"):
        return Strategy()
    if word.startswith("deepspeed"):
        return DeepSpeedStrategy(offload_optimizer="offload" in word)
    start, _, unused = word.partition("_find_unused_parameters_")
    if start in _DDP and unused in ("", "true", "false"):
        return DDPStrategy(find_unused_parameters=unused == "true")
    if word in ("fsdp", "fsdp_cpu_offload"):
        return FSDPStrategy(cpu_offload=word != "fsdp")
    return _Given(strategies.choose(word))


class _Given(Strategy):
    """One of Leyden's own."""

    def __init__(self, given: strategies.Strategy) -> None:
        super().__init__()
        self._given = given

    def leyden(self) -> Any:
        return self._given
