"""Which signals end training with a checkpoint, and which exit code says why?"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

REQUEUE = 75  # Leyden's platform, and the sbatch script of docs, start a job again that ends so
_STOP = (signal.SIGINT, signal.SIGTERM)
_TIME_IS_UP = (signal.SIGUSR1, signal.SIGUSR2)  # as `sbatch --signal=USR2@120` sends them before the time limit


def caught() -> tuple[signal.Signals, ...]:
    """Signals that fit turns into "save, then stop": Ctrl-C, SIGTERM, and SIGUSR1/2 where nobody else listens."""
    return _STOP + tuple(one for one in _TIME_IS_UP if signal.getsignal(one) is signal.SIG_DFL)


def exit_code(number: int, environ: Mapping[str, str] = os.environ) -> int:
    """The exit code after a checkpoint was saved for a signal.

    128 + its number, as shells say it: 130 for Ctrl-C, 143 for SIGTERM. After SIGUSR1 or SIGUSR2 the time is up but the
    work is not: 75, "requeue me". So it is after SIGTERM where LEYDEN_REQUEUE=1 says that a SIGTERM is a preemption.

    >>> exit_code(signal.SIGINT, {}), exit_code(signal.SIGTERM, {}), exit_code(signal.SIGUSR1, {})
    (130, 143, 75)
    >>> exit_code(signal.SIGTERM, {"LEYDEN_REQUEUE": "1"})
    75
    """
    again = number in _TIME_IS_UP or (number == signal.SIGTERM and environ.get("LEYDEN_REQUEUE") == "1")
    return REQUEUE if again else 128 + number
