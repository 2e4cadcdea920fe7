"""What do Lightning's progress bars mean here? Leyden draws its own; these say whether, and which metrics it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leyden import train

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer


class ProgressBar(train.Callback):
    """Base of bars. `disable` hides it; an override of `get_metrics` chooses what it shows."""

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._enabled = True

    @property
    def trainer(self) -> Trainer:
        """The Trainer it belongs to; raises TypeError before the first call."""
        if self._trainer is None:
            raise TypeError(f"{type(self).__name__} has no Trainer yet; use it inside fit or evaluation")
        return self._trainer

    @property
    def is_disabled(self) -> bool:
        """Whether it is hidden."""
        return not self._enabled

    @property
    def is_enabled(self) -> bool:
        """Whether it is shown."""
        return self._enabled

    def disable(self) -> None:
        """Hide it from the next call on."""
        self._enabled = False

    def enable(self) -> None:
        """Show it from the next call on."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """A line beside the bar."""
        self.trainer.say(" ".join(str(one) for one in args))

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """What the bar shows."""
        return dict(trainer.progress_bar_metrics)

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:  # type: ignore[override]
        self._trainer = trainer
        if not self._enabled:
            trainer.enable_progress_bar = False


class TQDMProgressBar(ProgressBar):
    """Leyden's bar; rates of refreshing and places have no meaning for it."""

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        super().__init__()
        self.refresh_rate, self.process_position, self.leave = refresh_rate, process_position, leave
        self._enabled = refresh_rate > 0


@dataclass
class RichProgressBarTheme:
    """Colours of Lightning's bar, which Leyden's has no use for."""

    description: str = ""
    progress_bar: str = "#6206E0"
    progress_bar_finished: str = "#6206E0"
    progress_bar_pulse: str = "#6206E0"
    batch_progress: str = ""
    time: str = "dim"
    processing_speed: str = "dim underline"
    metrics: str = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


class RichProgressBar(ProgressBar):
    """Leyden's bar, which is drawn by rich on a terminal; the theme is its own."""

    def __init__(
        self,
        refresh_rate: int = 100,
        leave: bool = False,
        theme: RichProgressBarTheme = RichProgressBarTheme(),  # noqa: B008
        console_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.refresh_rate, self.leave, self.theme = refresh_rate, leave, theme
        self._enabled = refresh_rate > 0
