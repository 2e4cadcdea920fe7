"""Which weights can be set to zero while training goes on? By `torch.nn.utils.prune`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.utils import prune as torch_prune

from leyden import train
from leyden.core.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer

_METHODS: dict[str, Any] = {
    "l1_unstructured": torch_prune.L1Unstructured,
    "random_unstructured": torch_prune.RandomUnstructured,
    "ln_structured": torch_prune.LnStructured,
    "random_structured": torch_prune.RandomStructured,
}


class ModelPruning(train.Callback):
    """Prune after each epoch, or before its validation (`prune_on_train_epoch_end=False`).

    `pruning_fn`: a word for a method of torch.nn.utils.prune, or a class of one. `parameters_to_prune`: pairs of module
    and name; all weights and biases where none are given (`parameter_names` says which). `amount`: a share, a number,
    or a function of the epoch; so `apply_pruning` and the lottery ticket may be functions of the epoch.
    With `use_lottery_ticket_hypothesis` what is left goes back to its first values (Frankle and Carbin 2019, §1).
    """

    PARAMETER_NAMES = ("weight", "bias")

    def __init__(
        self,
        pruning_fn: Callable[..., Any] | str,
        parameters_to_prune: Sequence[tuple[nn.Module, str]] = (),
        parameter_names: list[str] | None = None,
        use_global_unstructured: bool = True,
        amount: int | float | Callable[[int], int | float] = 0.5,
        apply_pruning: bool | Callable[[int], bool] = True,
        make_pruning_permanent: bool = True,
        use_lottery_ticket_hypothesis: bool | Callable[[int], bool] = True,
        resample_parameters: bool = False,
        pruning_dim: int | None = None,
        pruning_norm: int | None = None,
        verbose: int = 0,
        prune_on_train_epoch_end: bool = True,
    ) -> None:
        if isinstance(pruning_fn, str) and pruning_fn not in _METHODS:
            raise ConfigurationError(
                asked=f"ModelPruning({pruning_fn!r})", found="it is unknown", do=nearest(pruning_fn, _METHODS)
            )
        self._method: Any = _METHODS[pruning_fn] if isinstance(pruning_fn, str) else pruning_fn
        self._global = use_global_unstructured and getattr(self._method, "PRUNING_TYPE", "") != "structured"
        if not self._global and getattr(self._method, "PRUNING_TYPE", "") == "structured" and pruning_dim is None:
            raise ConfigurationError(
                asked="ModelPruning of whole rows",
                found="pruning_dim is not given",
                do="Set pruning_dim=0 for outputs.",
            )
        self._parameters: list[tuple[nn.Module, str]] = list(parameters_to_prune)
        self._names = parameter_names or list(self.PARAMETER_NAMES)
        self._amount, self._apply, self._lottery = amount, apply_pruning, use_lottery_ticket_hypothesis
        self._permanent, self._at_train_end = make_pruning_permanent, prune_on_train_epoch_end
        self._options = {"dim": pruning_dim} if pruning_dim is not None else {}
        self._options |= {"n": pruning_norm if pruning_norm is not None else 1} if pruning_fn == "ln_structured" else {}
        self._verbose = verbose
        self._first: dict[tuple[int, str], Any] = {}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:  # type: ignore[override]
        if stage != "fit":
            return
        if not self._parameters:
            leaves = [one for one in pl_module.modules() if not list(one.children())]
            pairs = [(one, name) for one in leaves for name in self._names]
            self._parameters = [
                (one, name) for one, name in pairs if isinstance(getattr(one, name, None), nn.Parameter)
            ]
        for module, name in self._parameters:
            self._first[id(module), name] = getattr(module, name).detach().clone()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        if self._at_train_end:
            self._run(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        if not trainer.sanity_checking and not self._at_train_end:
            self._run(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        if self._permanent:
            self.make_pruning_permanent(pl_module)

    def make_pruning_permanent(self, module: nn.Module) -> None:
        """The zeros become part of the weights; masks go."""
        for one, name in self._parameters:
            if hasattr(one, f"{name}_mask"):
                torch_prune.remove(one, name)  # type: ignore[no-untyped-call]

    def apply_pruning(self, amount: int | float) -> None:
        """Prune once: over all parameters together, or each by itself."""
        if self._global:
            torch_prune.global_unstructured(self._parameters, pruning_method=self._method, amount=amount)
        else:
            for module, name in self._parameters:
                self._method.apply(module, name, amount=amount, **self._options)

    def apply_lottery_ticket_hypothesis(self) -> None:
        """What is left goes back to its first values."""
        for module, name in self._parameters:
            original = getattr(module, f"{name}_orig", None)
            if original is not None:
                original.data.copy_(self._first[id(module), name])

    def _run(self, trainer: Trainer) -> None:
        epoch = trainer.current_epoch
        amount = self._amount(epoch) if callable(self._amount) else self._amount
        wanted = self._apply(epoch) if callable(self._apply) else self._apply
        if not wanted or not amount:
            return
        self.apply_pruning(amount)
        if self._lottery(epoch) if callable(self._lottery) else self._lottery:
            self.apply_lottery_ticket_hypothesis()
        if self._verbose:
            zeros = sum(int((getattr(one, name) == 0).sum()) for one, name in self._parameters)
            total = sum(getattr(one, name).numel() for one, name in self._parameters)
            trainer.say(f"pruned {zeros} of {total} weights ({zeros / max(1, total):.1%})")
