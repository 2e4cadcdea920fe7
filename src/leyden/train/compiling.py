"""What does `Trainer(compile=…)` compile? Networks, in place: names in checkpoints stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from leyden.core.errors import ConfigurationError
from leyden.train.module import Module
from leyden.train.parallel.wrapping import blocks


def compile_parts(module: Module, how: bool | str) -> list[nn.Module]:
    """Compile with `torch.compile` and return what was compiled.

    True takes the networks the Module is made of, each as a whole: the most is fused, and it takes the longest to
    compile. "blocks" takes the repeated blocks (elements of ModuleLists) alone: equal blocks share one compilation, so
    it takes as long for ninety layers as for one. Steps themselves stay Python, so that `self.log` and prints work.
    """
    if how == "blocks":
        parts = blocks(module)
        if not parts:
            raise ConfigurationError(
                asked='compile="blocks"',
                found=f"{type(module).__name__} has no ModuleList whose elements could be compiled",
                do="Use compile=True, or put the repeated layers into an nn.ModuleList.",
            )
    else:
        parts = [one for one in (*module.children(), module) if type(one).forward is not nn.Module.forward]
    for part in parts:
        if part._compiled_call_impl is None:
            part._compiled_call_impl = torch.compile(_caller(part))
    return parts


def _caller(part: nn.Module) -> Callable[..., Any]:
    """What `part.compile()` would compile, called from here: Dynamo skips what torch.nn calls, and so Sequentials."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return part._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    return call
