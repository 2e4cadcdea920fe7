"""How can a module be spread over devices? The words and objects that `Trainer(strategy=…)` takes.

"auto" and "ddp" copy the module to every rank, "fsdp" gives each rank a part of every tensor, "offload" trains on one
device what does not fit into it. Objects say the same with options. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

from leyden.core.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """What all strategies share; use one of those below.

    `activation_checkpointing`: what a block computes on the way is forgotten and computed again in the backward pass
    (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): about a third more arithmetic, and memory for
    one block's activations instead of all. True takes the blocks of `wrapping.blocks`; or name their classes. Works
    on one device as well.
    """

    name: ClassVar[str]
    spreads: ClassVar[bool] = False
    """Whether each of several ranks holds only a part of the module."""

    activation_checkpointing: bool | type[nn.Module] | tuple[type[nn.Module], ...] = False

    @property
    def ranks_per_batch(self) -> int:
        """Ranks that work on the same batch together."""
        return 1

    def check(self, ranks: int, precision: str) -> None:
        """Raise ConfigurationError where so many ranks, or this precision, cannot work with the strategy."""

    def choose_precision(self, asked: str) -> str:
        """What the Trainer's `precision` means under this strategy."""
        return asked

    def describe(self, ranks: int) -> str:
        """What people call it."""
        return self.name.upper()


@final
@dataclass(frozen=True, kw_only=True)
class DDP(Strategy):
    """A copy of the module on every rank, gradients averaged while backward runs (Li et al. 2020, VLDB, §3).

    The fields are those of `torch.nn.parallel.DistributedDataParallel`; `bucket_cap_mb` is in MiB. One rank alone
    needs none of it and trains without.
    """

    name: ClassVar[str] = "ddp"
    find_unused_parameters: bool = False
    gradient_as_bucket_view: bool = False
    static_graph: bool = False
    bucket_cap_mb: int | None = None

    def options(self) -> dict[str, Any]:
        """Keyword arguments for DistributedDataParallel."""
        return {
            "find_unused_parameters": self.find_unused_parameters,
            "gradient_as_bucket_view": self.gradient_as_bucket_view,
            "static_graph": self.static_graph,
            "bucket_cap_mb": self.bucket_cap_mb,
        }


@final
@dataclass(frozen=True, kw_only=True)
class FSDP(Strategy):
    """Each rank holds a part of every tensor: PyTorch's FSDP2 (`fully_shard`). One rank alone holds all and runs plain.

    `wrap` says which submodules are gathered on their own, just before they are called: "auto" (see `wrapping.blocks`),
    classes, or a function that is given each submodule and says yes or no. Call them, not their parts: outside of a
    call nothing is gathered. A module that optimizes by hand is gathered network by network.

    `cpu_offload` keeps parts, gradients and optimizer in host memory. `replicate` makes so many copies of the sharded
    module, gradients averaged between them (HSDP): with 8, 64 ranks shard in groups of 8, which are neighbours.
    `reshard_after_forward`: whether a block's weights are freed between its forward and its backward pass; a whole
    number frees them to groups of that size. `state_dict` says how checkpoints are written: "full" (whole tensors,
    gathered on rank 0) or "sharded" (every rank writes its part).
    """

    name: ClassVar[str] = "fsdp"
    spreads: ClassVar[bool] = True
    wrap: str | type[nn.Module] | tuple[type[nn.Module], ...] | Callable[[nn.Module], bool] = "auto"
    cpu_offload: bool = False
    replicate: int = 1
    reshard_after_forward: bool | int = True
    state_dict: str = "full"

    def __post_init__(self) -> None:
        if isinstance(self.wrap, str) and self.wrap != "auto":
            raise ConfigurationError(
                asked=f"FSDP(wrap={self.wrap!r})",
                found='the only word it takes is "auto"',
                do="Give classes of blocks, such as wrap=Block, or a function of a submodule.",
            )
        if self.state_dict not in ("full", "sharded"):
            raise ConfigurationError(
                asked=f"FSDP(state_dict={self.state_dict!r})",
                found="it is unknown",
                do=nearest(self.state_dict, ("full", "sharded")),
            )
        if self.replicate < 1:
            raise ConfigurationError(
                asked=f"FSDP(replicate={self.replicate})", found="it must be 1 or more", do="Set replicate=1."
            )

    def check(self, ranks: int, precision: str) -> None:
        """As `Strategy.check`."""
        if ranks == 1:
            return
        if ranks % self.replicate:
            raise ConfigurationError(
                asked=f"FSDP(replicate={self.replicate}) over {ranks} ranks",
                found=f"{ranks} ranks cannot be divided into {self.replicate} equal groups",
                do=f"Set replicate to {_divisors(ranks)}, or change devices.",
            )
        shards, group = ranks // self.replicate, self.reshard_after_forward
        if not isinstance(group, bool) and (group < 1 or shards % group):
            raise ConfigurationError(
                asked=f"FSDP(reshard_after_forward={group}) over {shards} ranks that share a tensor",
                found=f"{shards} ranks cannot be divided into groups of {group}",
                do="Set reshard_after_forward to True, False or the number of ranks of a node.",
            )

    def describe(self, ranks: int) -> str:
        """As `Strategy.describe`."""
        return "FSDP" if self.replicate == 1 else f"HSDP, {self.replicate} × {ranks // self.replicate}"


@final
@dataclass(frozen=True, kw_only=True)
class TensorParallel(Strategy):
    """`size` neighbouring ranks compute each layer together (Shoeybi et al. 2019, §3), FSDP over the rest.

    `plan` maps names of submodules, `*` standing for one part of a name, to words or to a `ParallelStyle` of
    `torch.distributed.tensor.parallel`; or it is a function of (module, mesh of these ranks) that does it. Words for a
    Linear or Embedding: "colwise" (each rank computes a part of the outputs), "colwise_gather" (and gets all of them),
    "rowwise" (each takes a part of the inputs; outputs are summed). Where activations between such layers are divided
    along the sequence, (batch, sequence, features), it is "colwise_from_sequence", "rowwise_to_sequence", "sequence"
    for norms, and "gather_sequence" for any layer that takes the whole (Korthikanti et al. 2022, "Reducing Activation
    Recomputation", §4.2).

    Activations between a colwise and a rowwise layer are parts: reshape them with -1, not with the number of heads,
    and lay a fused projection out by heads first, (heads, 3, features), so that a rank gets whole heads.

    Ranks of one such group get the same batches; `size` must divide the number of ranks. `fsdp` has the options of
    the other dimension.
    """

    name: ClassVar[str] = "tensor_parallel"
    spreads: ClassVar[bool] = True
    plan: Mapping[str, Any] | Callable[[nn.Module, DeviceMesh], None]
    size: int
    fsdp: FSDP = field(default_factory=FSDP)

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ConfigurationError(
                asked=f"TensorParallel(size={self.size})",
                found="fewer than 2 ranks have nothing to share",
                do='Set size=2 or more, or use strategy="fsdp".',
            )
        if not callable(self.plan) and not self.plan:
            raise ConfigurationError(
                asked="TensorParallel(plan={})",
                found="it names no layer",
                do='Name some, such as plan={"blocks.*.up": "colwise", "blocks.*.down": "rowwise"}.',
            )

    @property
    def ranks_per_batch(self) -> int:
        """As `Strategy.ranks_per_batch`."""
        return self.size

    def check(self, ranks: int, precision: str) -> None:
        """As `Strategy.check`."""
        if ranks % self.size:
            raise ConfigurationError(
                asked=f"TensorParallel(size={self.size}) over {ranks} rank{'s' * (ranks > 1)}",
                found=f"{ranks} cannot be divided by {self.size}",
                do=f"Set devices (times num_nodes) to a multiple of {self.size}, or change size.",
            )
        if precision == "16-mixed":
            raise ConfigurationError(
                asked='TensorParallel with precision="16-mixed"',
                found="PyTorch scales 16-bit losses over one mesh of ranks only",
                do='Use precision="bf16-mixed".',
            )
        self.fsdp.check(ranks // self.size, precision)

    def describe(self, ranks: int) -> str:
        """As `Strategy.describe`."""
        rest = ranks // self.size
        return f"tensor parallel {self.size}" + (f"; {self.fsdp.describe(rest)} over {rest}" if rest > 1 else "")


@final
@dataclass(frozen=True, kw_only=True)
class Offload(Strategy):
    """Full-parameter training of a model several times larger than its device: 4.03 bytes a parameter in all.

    Weights are bf16 with stochastic rounding, Adam's moments 8 bits each in pinned host memory; the optimizer runs
    block by block inside the backward pass, so that gradients of the whole model never exist at once. Blocks are those
    of `wrapping.blocks`. Everything is computed in bf16: `precision="32-true"`, the Trainer's default, is read as
    "bf16-true"; "bf16-mixed" computes in autocast. `configure_optimizers` returns torch's AdamW or Adam.

    `device_memory`: what weights may take of the device, such as "80GB" (None: three quarters of it); those of blocks
    beyond that rest on the host and are brought in turn, which needs `activation_checkpointing`. `clip_each_block`:
    `gradient_clip_val` bounds the norm of each block's gradients, for that of all is known too late. `check_loss`:
    look at the loss before backward and raise where it is not finite; a block that has stepped cannot step back.
    `exact`: weights and moments are float32, equal to torch's own AdamW; to see what the rest costs.

    On a step's hooks: at `on_before_optimizer_step` the steps are taken and gradients are gone.
    """

    name: ClassVar[str] = "offload"
    activation_checkpointing: bool = True
    device_memory: int | str | None = None
    clip_each_block: bool = False
    check_loss: bool = False
    exact: bool = False

    def check(self, ranks: int, precision: str) -> None:
        """As `Strategy.check`."""
        if ranks > 1:
            raise ConfigurationError(
                asked=f'strategy="offload" over {ranks} ranks',
                found="it trains on one device",
                do="Set devices=1, or use strategy=FSDP(cpu_offload=True).",
            )
        fitting = ("32-true", "32", "bf16-mixed") if self.exact else ("bf16-true", "bf16-mixed")
        if precision not in fitting:
            raise ConfigurationError(
                asked=f'strategy="offload" with precision={precision!r}',
                found=f"weights are kept in {'float32' if self.exact else 'bf16'}",
                do=f'Use precision="{fitting[0]}" or "bf16-mixed".',
            )

    def choose_precision(self, asked: str) -> str:
        """As `Strategy.choose_precision`."""
        return "bf16-true" if asked in ("32", "32-true") and not self.exact else asked


_WORDS: dict[str, Strategy] = {
    "auto": DDP(),
    "ddp": DDP(),
    "ddp_find_unused_parameters_true": DDP(find_unused_parameters=True),
    "fsdp": FSDP(),
    "offload": Offload(),
}


def choose(strategy: str | Strategy) -> Strategy:
    """The strategy a word stands for, or the object as it is; raises ConfigurationError for anything else.

    >>> choose("fsdp").name
    'fsdp'
    """
    if isinstance(strategy, Strategy):
        return strategy
    if strategy not in _WORDS:
        raise ConfigurationError(asked=f"strategy={strategy!r}", found="it is unknown", do=nearest(strategy, _WORDS))
    return _WORDS[strategy]


def _divisors(number: int) -> str:
    found = [str(one) for one in range(1, number + 1) if number % one == 0]
    return " or ".join((", ".join(found[:-1]), found[-1]) if len(found) > 1 else found)
