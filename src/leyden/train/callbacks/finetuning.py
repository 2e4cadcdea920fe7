"""How are parts of a pretrained model thawed one after the other?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.base import Callback
from leyden.train.module import missing

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer

Modules = nn.Module | Iterable["Modules"]


class BaseFinetuning(Callback):
    """Base for thawing by epochs; override `freeze_before_training` and `finetune_function`.

    Build the optimizer over what requires gradients: `filter(lambda p: p.requires_grad, self.parameters())`. A resume
    brings back what was thawed and the parameter groups it was given. Raises ConfigurationError with strategy="fsdp".
    """

    def __init__(self) -> None:
        self._added: list[list[list[str]]] = []  # for each optimizer, the names in each group that was added
        self._thawed: list[str] = []  # the names of all parameters that require gradients,
        self._tracking: list[str] = []  # and of all batch normalizations that follow their data
        self._epoch = -1  # the last one that was prepared

    def freeze_before_training(self, pl_module: Module) -> None:
        """Freeze what must not be trained from the start; called before the optimizer is made."""
        raise missing(self, "freeze_before_training")

    def finetune_function(self, pl_module: Module, epoch: int, optimizer: Optimizer) -> None:
        """Thaw what is due at the beginning of this epoch; called for each optimizer."""
        raise missing(self, "finetune_function")

    def state_dict(self) -> dict[str, Any]:
        added = [list(groups) for groups in self._added]
        return {"added": added, "thawed": self._thawed, "tracking": self._tracking, "epoch": self._epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._added = [list(groups) for groups in state_dict["added"]]
        self._thawed, self._tracking = state_dict["thawed"], state_dict["tracking"]
        self._epoch = state_dict["epoch"]

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        if stage != "fit":
            return
        if trainer.plan.sharded:
            raise ConfigurationError(
                asked=f"{type(self).__name__} with strategy={trainer.plan.strategy.name!r}",
                found="parameters of a divided module keep from the start whether they are trained",
                do='Use strategy="ddp", or leave everything thawed and give the backbone a lower learning rate.',
            )
        self._added, self._epoch = [], -1
        self.freeze_before_training(pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Module, checkpoint: dict[str, Any]) -> None:
        """Before the optimizer's state is loaded, for it must find its groups."""
        if self._epoch < 0:  # a checkpoint from before the first epoch, or of a run without this callback
            return
        named, frozen = dict(pl_module.named_parameters()), _frozen(pl_module)
        for name, parameter in named.items():
            parameter.requires_grad_(name in self._thawed)
        self._spread(trainer, pl_module, frozen)
        for name, module in pl_module.named_modules():
            if isinstance(module, _BatchNorm):
                module.track_running_stats = name in self._tracking
        for optimizer, groups in zip(pl_module._running().optimization.optimizers, self._added, strict=True):
            for names in groups:
                optimizer.add_param_group({"params": [named[name] for name in names]})
                _widen_schedules(pl_module, optimizer, optimizer.param_groups[-1])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        if trainer.current_epoch <= self._epoch:  # a resume within an epoch that was prepared before
            return
        self._epoch, frozen = trainer.current_epoch, _frozen(pl_module)
        names = {id(one): name for name, one in pl_module.named_parameters()}
        optimizers = pl_module._running().optimization.optimizers
        self._added = self._added or [[] for _ in optimizers]
        for optimizer, added in zip(optimizers, self._added, strict=True):
            before = len(optimizer.param_groups)
            self.finetune_function(pl_module, trainer.current_epoch, optimizer)
            for group in optimizer.param_groups[before:]:
                added.append([names[id(one)] for one in group["params"]])
                _widen_schedules(pl_module, optimizer, group)
        self._thawed = [name for name, one in pl_module.named_parameters() if one.requires_grad]
        norms = [(name, one) for name, one in pl_module.named_modules() if isinstance(one, _BatchNorm)]
        self._tracking = [name for name, one in norms if one.track_running_stats]
        self._spread(trainer, pl_module, frozen)

    @staticmethod
    def _spread(trainer: Trainer, module: Module, frozen: set[str]) -> None:
        """Ranks exchange the gradients of what is trained now, where that has changed."""
        if trainer._fit is not None and _frozen(module) != frozen:
            trainer._fit.spread_again()

    @staticmethod
    def flatten_modules(modules: Modules) -> list[nn.Module]:
        """Every module in a module, or in nested lists of them, that has no parts, or parameters of its own."""
        if isinstance(modules, nn.Module):
            return [one for one in modules.modules() if not list(one.children()) or list(one.parameters(recurse=False))]
        return [part for one in modules for part in BaseFinetuning.flatten_modules(one)]

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Freeze all parameters, those of batch normalization only where `train_bn` is False, with its statistics."""
        for module in BaseFinetuning.flatten_modules(modules):
            _require_grad(module, isinstance(module, _BatchNorm) and train_bn)
            if isinstance(module, _BatchNorm):
                module.track_running_stats = train_bn

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Thaw all parameters."""
        for module in BaseFinetuning.flatten_modules(modules):
            _require_grad(module, True)
            if isinstance(module, _BatchNorm):
                module.track_running_stats = True

    @staticmethod
    def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Iterator[nn.Parameter]:
        """Parameters that do, or do not, require gradients; without those of batch normalization unless `train_bn`."""
        for module in BaseFinetuning.flatten_modules(modules):
            if train_bn or not isinstance(module, _BatchNorm):
                yield from (one for one in module.parameters(recurse=False) if one.requires_grad == requires_grad)

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Modules,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Thaw, and let the optimizer train what it did not yet, at `lr` or its first rate over `initial_denom_lr`."""
        BaseFinetuning.make_trainable(modules)
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else lr
        known = {id(one) for group in optimizer.param_groups for one in group["params"]}
        found = {id(one): one for one in BaseFinetuning.filter_params(modules, train_bn)}
        fresh = [one for key, one in found.items() if key not in known]
        if fresh:
            optimizer.add_param_group({"params": fresh, "lr": rate})


class BackboneFinetuning(BaseFinetuning):
    """Train without the Module's `backbone` until `unfreeze_backbone_at_epoch`, then with it at a rate of its own.

    That rate starts at `backbone_initial_lr`, or at `backbone_initial_ratio_lr` times the first group's, and is
    multiplied by `lambda_func(epoch)` each epoch; with `should_align` it never exceeds the first group's. With
    `train_bn` batch normalization is trained from the start. Raises ConfigurationError for a Module without backbone.
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = lambda epoch: 2.0,
        backbone_initial_ratio_lr: float = 0.1,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        self.unfreeze_backbone_at_epoch, self.lambda_func = unfreeze_backbone_at_epoch, lambda_func
        self.backbone_initial_ratio_lr, self.backbone_initial_lr = backbone_initial_ratio_lr, backbone_initial_lr
        self.should_align, self.initial_denom_lr, self.train_bn = should_align, initial_denom_lr, train_bn
        self.verbose, self.rounding = verbose, rounding
        self.previous_backbone_lr: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]

    def freeze_before_training(self, pl_module: Module) -> None:
        if not isinstance(getattr(pl_module, "backbone", None), nn.Module):
            raise ConfigurationError(
                asked=f"BackboneFinetuning of {type(pl_module).__name__}",
                found="it has no attribute backbone that is a module",
                do="Name the pretrained part self.backbone, or derive from BaseFinetuning.",
            )
        self.previous_backbone_lr = None
        self.freeze(pl_module.backbone, train_bn=self.train_bn)

    def finetune_function(self, pl_module: Module, epoch: int, optimizer: Optimizer) -> None:
        rate = optimizer.param_groups[0]["lr"]
        if epoch == self.unfreeze_backbone_at_epoch:
            mine = self.backbone_initial_lr or rate * self.backbone_initial_ratio_lr
            self.unfreeze_and_add_param_group(
                pl_module.backbone,
                optimizer,
                mine,
                self.initial_denom_lr,
                self.train_bn,
            )
        elif epoch > self.unfreeze_backbone_at_epoch and self.previous_backbone_lr is not None:
            mine = self.previous_backbone_lr * self.lambda_func(epoch + 1)
            mine = min(mine, rate) if self.should_align else mine
            optimizer.param_groups[-1]["lr"] = mine
        else:
            return
        self.previous_backbone_lr = mine
        if self.verbose:
            pl_module.print(f"epoch {epoch}: lr {round(rate, self.rounding)}, backbone {round(mine, self.rounding)}")


def _frozen(module: nn.Module) -> set[str]:
    return {name for name, one in module.named_parameters() if not one.requires_grad}


def _require_grad(module: nn.Module, wanted: bool) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad_(wanted)


def _widen_schedules(module: Module, optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Schedules keep a list with an entry for each group; PyTorch (2.13) fails where a group has none."""
    group.setdefault("initial_lr", group["lr"])
    waiting: list[Any] = [one.scheduler for one in module._running().optimization.schedules]
    while waiting:
        schedule = waiting.pop()
        waiting += getattr(schedule, "_schedulers", [])
        if schedule.optimizer is not optimizer:
            continue
        if hasattr(schedule, "base_lrs"):
            schedule.base_lrs.append(group["initial_lr"])
        for name in ("lr_lambdas", "min_lrs"):
            if getattr(schedule, name, None):
                getattr(schedule, name).append(getattr(schedule, name)[-1])
