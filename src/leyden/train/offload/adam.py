"""How does Adam step while the backward pass is still running? Block by block, as gradients become complete.

`OffloadedAdam` stands where the user's Adam or AdamW stood and reads everything from its parameter groups, so that
schedules work. Most of a step is over when `step()` is called: it takes what is left and waits for the copies.
Arithmetic is in float32 and in the order of `torch.optim.Adam`'s, a few million parameters at a time.
Sources: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.train.offload.budget import check_host
from leyden.train.offload.lanes import free_on_host
from leyden.train.offload.moments import BLOCK, Moments
from leyden.train.offload.rounding import round_stochastically
from leyden.train.offload.weights import Unit, Weights


class OffloadedAdam(Optimizer):
    """The steps of `inner`, with its moments on the host. `clip` changes a block's gradients in place.

    `chunk` is how many rows of moments are worked on at a time: more hide a copy's latency better, and take
    more memory on the device.
    """

    def __init__(
        self,
        inner: Adam,
        weights: Weights,
        *,
        moments: Moments,
        chunk: int,
        clip: Callable[[list[Tensor]], None] | None = None,
        seed: int = 0,
    ) -> None:
        self._sealed = False
        super().__init__(inner.param_groups, inner.defaults)  # the groups themselves: schedules of `inner` write there
        self._sealed = True
        self._inner, self._weights, self._moments, self._chunk, self._clip = inner, weights, moments, chunk, clip
        rows = sum(-(-one.numel() // BLOCK) for group in self.param_groups for one in group["params"])
        check_host(rows * moments.row_bytes, free_on_host())
        self._generator = torch.Generator(weights.lanes.device).manual_seed(seed)
        self._group = {one: group for group in self.param_groups for one in group["params"]}
        self._unit: dict[nn.Parameter, Unit] = {}
        self._ready: dict[Unit, int] = {}
        self._stepped: set[Unit] = set()
        own = {one for unit in weights.units for one in unit.parameters}
        weights.units[-1].parameters += [one for one in self._group if one not in own]  # of a loss, say
        for unit in weights.units:
            self._adopt(unit)
        self._handles = [self._listen(one) for one in self._unit]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """What the backward pass has left to do; then every weight and moment is where it belongs."""
        output = None
        if closure is not None:
            with torch.enable_grad():
                output = closure()
        for unit in self._weights.units:
            if unit not in self._stepped and any(one.grad is not None for one in unit.trained):
                if unit.home is not None and unit.there is None:
                    self._weights.use(unit, backward=True)
                self._step(unit)
        self._ready.clear()
        self._stepped.clear()
        self._weights.go_home()
        self._inner._opt_called = True  # type: ignore[attr-defined]  # schedules ask whether a step came before them
        return output

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Raises ConfigurationError once training has begun: moments are laid out when it begins."""
        if self._sealed:
            raise ConfigurationError(
                asked='a parameter group was added to an optimizer under strategy="offload"',
                found="its moments have been laid out",
                do="Give configure_optimizers' optimizer every parameter, and freeze with requires_grad_(False).",
            )
        super().add_param_group(param_group)

    def let_go(self) -> None:
        """Training is over: gradients are left alone again."""
        for handle in self._handles:
            handle.remove()

    def state_dict(self) -> dict[str, Any]:
        """As every optimizer's; a parameter's state is its rows of moments and its steps. And the random numbers'."""
        return {**super().state_dict(), "rounding": self._generator.get_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state, torch's own Adam's as well; raises CheckpointError for one of another kind or size."""
        for parameter, saved in zip(self._all(), self._saved(state_dict), strict=True):
            if parameter in self._unit:
                self._load(
                    parameter, saved or {"step": 0, "moments": torch.zeros_like(self.state[parameter]["moments"])}
                )
        for group, settings in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({key: value for key, value in settings.items() if key != "params"})
        if "rounding" in state_dict:
            self._generator.set_state(state_dict["rounding"].cpu())

    def _all(self) -> list[nn.Parameter]:
        return [one for group in self.param_groups for one in group["params"]]

    def _saved(self, state_dict: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The saved state of every parameter, in order."""
        places = [place for group in state_dict["param_groups"] for place in group["params"]]
        if len(places) != len(self._all()) or len(state_dict["param_groups"]) != len(self.param_groups):
            raise _other(f"it has {len(places)} parameters, the optimizer now {len(self._all())}")
        return [state_dict["state"].get(place, {}) for place in places]

    def _load(self, parameter: nn.Parameter, saved: dict[str, Any]) -> None:
        own = self.state[parameter]
        if "exp_avg" in saved:
            rows = torch.empty_like(own["moments"], device=self._weights.lanes.device)
            first, second = (_blocks(saved[key].to(rows.device).reshape(-1)) for key in ("exp_avg", "exp_avg_sq"))
            self._moments.write(rows, first, second)
            saved = {"moments": rows, "step": saved["step"]}
        if "moments" not in saved or saved["moments"].shape != own["moments"].shape:
            raise _other("the moments of a parameter have another form or size")
        own["moments"].copy_(saved["moments"])
        own["step"] = int(saved["step"])

    def _adopt(self, unit: Unit) -> None:
        """Lay out zeroed moments for the unit's parameters, in one stretch of host memory."""
        unit.trained = [one for one in unit.parameters if one in self._group and one.numel()]
        counts = [-(-one.numel() // BLOCK) for one in unit.trained]
        memory = self._weights.lanes.host(sum(counts) * self._moments.row_bytes).view(-1, self._moments.row_bytes)
        for one, rows in zip(unit.trained, torch.split(memory, counts), strict=True):
            self._unit[one], self.state[one] = unit, {"moments": rows, "step": 0}

    def _listen(self, parameter: nn.Parameter) -> Any:
        """Hear of the parameter's gradients; it may be frozen now and thaw later."""
        trained = parameter.requires_grad
        parameter.requires_grad_(True)  # torch takes no such hook for one that does not require gradients
        handle = parameter.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]
        parameter.requires_grad_(trained)
        return handle

    def _on_gradient(self, parameter: Tensor) -> None:
        """A parameter's gradient is complete in this backward pass; with the unit's last one, the unit steps."""
        unit = self._unit[parameter]  # type: ignore[index]
        if unit in self._stepped:
            raise ConfigurationError(
                asked='more than one backward pass before a step under strategy="offload"',
                found=f"{unit.name} has taken its step in the first one, and its gradients are gone",
                do="Add the losses up and return their sum.",
            )
        self._ready[unit] = self._ready.get(unit, 0) + 1
        if self._ready[unit] == sum(one.requires_grad for one in unit.trained):
            self._step(unit)

    @torch.no_grad()
    def _step(self, unit: Unit) -> None:
        moved = [one for one in unit.trained if one.grad is not None]
        if self._clip is not None:
            self._clip([one.grad for one in moved if one.grad is not None])
        for one in moved:
            self.state[one]["step"] += 1
            self._update(one)
            one.grad = None
        self._stepped.add(unit)
        self._weights.done(unit)

    def _update(self, parameter: nn.Parameter) -> None:
        """One parameter's step, chunk by chunk."""
        lanes, moments, home = self._weights.lanes, self._moments, self.state[parameter]["moments"]
        values, gradient = parameter.detach().view(-1), parameter.grad.reshape(-1)  # type: ignore[union-attr]
        for rows, place in zip(home.split(self._chunk), _slices(values.numel(), self._chunk * BLOCK), strict=True):
            staged = lanes.stage(rows)
            first, second = moments.read(staged)
            weight, slope = _blocks(values[place]), _blocks(gradient[place])
            adam(weight, slope, first, second, self.state[parameter]["step"], self._group[parameter])
            moments.write(staged, first, second)
            lanes.unstage(staged, rows)
            moved = weight.view(-1)[: place.stop - place.start]
            exact = values.dtype == torch.float32
            values[place] = moved if exact else round_stochastically(moved, self._generator)


def adam(weight: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, group: Mapping[str, Any]) -> None:
    """One step of Adam, in place on float32 tensors of one shape, with the settings of a parameter group.

    `first` and `second` are the moments; the count of steps begins with 1.
    """
    lr, decay, (beta1, beta2) = float(group["lr"]), group["weight_decay"], map(float, group["betas"])
    if decay and group["decoupled_weight_decay"]:
        weight.mul_(1 - lr * decay)
    elif decay:
        gradient = gradient.add(weight, alpha=decay)
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    scale = (1 - beta2**step) ** 0.5
    weight.addcdiv_(first, (second.sqrt() / scale).add_(group["eps"]), value=-lr / (1 - beta1**step))


def _other(found: str) -> CheckpointError:
    return CheckpointError(
        asked='an optimizer\'s state was to go on under strategy="offload"',
        found=found,
        do="Use the strategy, its options and the optimizer it was written with, or load only the weights.",
    )


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _blocks(values: Tensor) -> Tensor:
    """A stretch of numbers as float32 (rows, BLOCK), zeros after its end; no copy where none is needed."""
    missing, values = -values.numel() % BLOCK, values.float()
    return (functional.pad(values, (0, missing)) if missing else values).view(-1, BLOCK)
