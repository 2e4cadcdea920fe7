"""Tests of loggers send nothing anywhere: set before the packages are imported."""

from __future__ import annotations

import os

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", WANDB_ERROR_REPORTING="false", WANDB_SILENT="true")
