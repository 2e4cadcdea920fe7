"""What is the model made of? Lightning's names for Leyden's table."""

from __future__ import annotations

from typing import Any

from torch import nn

from leyden.train.callbacks import model_summary

summarize_parts = model_summary.summarize


class ModelSummary:
    """The parts of a model down to `max_depth`, and its totals; `str` gives the table."""

    def __init__(self, model: nn.Module, max_depth: int = 1) -> None:
        self._model, self._max_depth = model, max_depth
        self._summary = summarize_parts(model, max_depth)

    @property
    def total_parameters(self) -> int:
        """Trained or not."""
        return self._summary.trainable + self._summary.frozen

    @property
    def trainable_parameters(self) -> int:
        """Those that require gradients."""
        return self._summary.trainable

    @property
    def model_size(self) -> float:
        """Of the parameters, in 10⁶ bytes."""
        return self._summary.size_mb

    @property
    def layer_names(self) -> list[str]:
        """Of the parts, in order."""
        return [one.name for one in self._summary.parts]

    @property
    def layer_types(self) -> list[str]:
        """The class of each part."""
        return [one.type for one in self._summary.parts]

    @property
    def param_nums(self) -> list[int]:
        """The parameters of each part, those of its own parts too."""
        return [one.params or 0 for one in self._summary.parts]

    @property
    def max_depth(self) -> int:
        """As given."""
        return self._max_depth

    def __str__(self) -> str:
        return str(self._summary)

    __repr__ = __str__


def summarize(lightning_module: Any, max_depth: int = 1) -> ModelSummary:
    """The summary of a module."""
    return ModelSummary(lightning_module, max_depth)
